"""Fetched documents: where they lie, how many at once, and that they go again."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from app.domain.documents import Document, DocumentState, Fetched, Locator
from app.domain.errors import SourceUnavailableError
from app.pipeline.spool import LOCK, PREFIX, open_spool
from app.sources.fetching import FULL_BYTES, fetch_each

LIVES_AND_DIES = """
import asyncio, os, pathlib, sys
from app.pipeline.spool import open_spool
async def main():
    async with open_spool(pathlib.Path(sys.argv[1])) as folder:
        (folder / "fetched").write_text("x")
        print("ready", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


def documents(number: int) -> list[Document]:
    """Documents of a source that does not say how large they are."""
    return [
        Document(
            id=uuid4(),
            collection_id=uuid4(),
            source_id=uuid4(),
            uri=f"https://example.com/{place}",
            path=str(place),
            locator=Locator(path=f"https://example.com/{place}"),
            size=0,
            modified_ns=0,
            state=DocumentState.PROCESSING,
        )
        for place in range(number)
    ]


async def test_a_folder_that_is_full_gets_no_further_document(tmp_path: Path) -> None:
    """What was not begun is asked for again; each go begins with the first that is left."""

    async def write(_: Document, file: Path) -> Fetched:
        with file.open("wb") as written:
            written.truncate(FULL_BYTES // 3)
        return Fetched(path=str(file))

    left: Sequence[Document] = documents(10)
    goes: list[int] = []
    while left:
        fetched = await fetch_each(left, tmp_path / str(len(goes)), write, at_once=2)
        assert left[0].id in fetched
        goes.append(len(fetched))
        left = [document for document in left if document.id not in fetched]

    assert sum(goes) == 10
    # four fill it, and one more may have been begun beside the last of them
    assert max(goes) <= 5


async def test_a_source_that_fails_stops_all_fetching(tmp_path: Path) -> None:
    """The error is the source's own, not a group of them."""

    async def fail(document: Document, _: Path) -> Fetched:
        raise SourceUnavailableError(document.uri)

    with pytest.raises(SourceUnavailableError):
        await fetch_each(documents(8), tmp_path / "into", fail)


async def test_folders_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    """A killed worker leaves its folder behind, and the next one that starts clears it away."""
    process = subprocess.Popen([sys.executable, "-c", LIVES_AND_DIES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        async with open_spool(tmp_path) as beside:
            while_it_lives = set(await asyncio.to_thread(lambda: list(tmp_path.glob(f"{PREFIX}*"))))
            assert len(while_it_lives) == 2
            assert beside.stat().st_mode & 0o077 == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    async with open_spool(tmp_path) as after:
        assert await asyncio.to_thread(lambda: list(tmp_path.glob(f"{PREFIX}*"))) == [after]
        assert [file.name for file in after.iterdir()] == [LOCK]
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []

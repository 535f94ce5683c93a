"""Files that change between the scan that sees them and the child that reads them."""

import asyncio
import io
import os
import tarfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from tests.harness import Api, wait_until
from tests.pipeline.test_prepare import pdf

pytestmark = pytest.mark.usefixtures("worker")

KEY = 20_321
STOP = f"""
CREATE FUNCTION wait_to_read() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared({KEY}); RETURN NEW; END $$
"""
TRIGGER = """
CREATE TRIGGER wait_to_read BEFORE UPDATE ON documents FOR EACH ROW
WHEN (NEW.state = 'processing') EXECUTE FUNCTION wait_to_read()
"""
OLD, NEW = b"Whales sing under the ice.", b"Lava flows in the darkness"
"""Of one length."""
Stop = Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[None]]]]
HOUR_NS = 3_600_000_000_000


@pytest.fixture
async def stop(parts: Parts) -> Stop:
    """Holds whoever has scanned and is about to read, while a block runs."""
    async with parts.database.begin() as connection:
        for statement in (STOP, TRIGGER):
            await connection.execute(text(statement))
    address = parts.database.engine.url.render_as_string(hide_password=False)

    @asynccontextmanager
    async def hold() -> AsyncIterator[Callable[[], Awaitable[None]]]:
        connection = await asyncpg.connect(address.replace("postgresql+asyncpg", "postgresql"))
        try:
            await connection.execute(f"SELECT pg_advisory_lock({KEY})")

            async def came() -> bool:
                query = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND $1 = ANY(pg_blocking_pids(pid)))"
                return bool(await connection.fetchval(query, connection.get_server_pid()))

            async def somebody_waits() -> None:
                await wait_until(came)

            yield somebody_waits
        finally:
            await connection.close()

    return hold


def put(path: Path, content: bytes, *, hours: int) -> Path:
    """Write a file that was changed so long after the epoch, as ``cp -p`` does with a backup."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(hours * HOUR_NS, hours * HOUR_NS))
    return path


async def reads(api: Api, stop: Stop, begin: Awaitable[dict[str, Any]], path: Path, content: bytes) -> dict[str, Any]:
    """An operation that reads a content, two hours old, where its scan saw something else; gives its end."""
    async with stop() as somebody_waits:
        operation = await begin
        await somebody_waits()
        await asyncio.to_thread(put, path, content, hours=2)
    return await api.wait(operation)


async def find(api: Api, *words: str) -> list[bool]:
    """Which words are found."""
    return [bool(await api.search("notes", word, mode="bm25")) for word in words]


def packed(name: str, content: bytes) -> bytes:
    """An archive of one file."""
    out = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(zipfile.ZipInfo("in.txt"), content)
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as archive_of_tapes:
            info = tarfile.TarInfo("in.txt")
            info.size = len(content)
            archive_of_tapes.addfile(info, io.BytesIO(content))
    return out.getvalue()


VERSIONS = {
    "a.txt": (OLD, NEW),
    "a.pdf": (pdf(OLD.decode()), pdf("")),
    "a.zip": (packed("a.zip", OLD), packed("a.zip", NEW)),
    "a.tar.gz": (packed("a.tar.gz", OLD), packed("a.tar.gz", NEW)),
}


@pytest.mark.parametrize("name", VERSIONS)
async def test_a_file_put_back_with_its_old_time_is_read_again(api: Api, tmp_path: Path, stop: Stop, name: str) -> None:
    """What was read, a text or no text at all, was not what the scan saw, so the manifest does not say that it was."""
    old, new = VERSIONS[name]
    path = put(tmp_path / "docs" / name, old, hours=1)
    first = await reads(api, stop, api.create("notes", path.parent), path, new)
    as_read = await find(api, "whales", "lava")
    put(path, old, hours=1)
    await api.wait(await api.append("notes"))
    (document,) = (await api.documents("notes")).values()

    assert (first["state"], as_read[0]) == ("completed", False)
    assert (document["state"], document["error_code"]) == ("completed", None)
    assert await find(api, "whales", "lava") == [True, False]
    await api.assert_consistent("notes")


async def test_a_file_that_was_as_before_when_it_was_read_is_read_again(api: Api, tmp_path: Path, stop: Stop) -> None:
    """The scan saw a new content, the child the one that is indexed; the new one comes back as the scan saw it."""
    path = put(tmp_path / "docs" / "a.txt", OLD, hours=1)
    await api.wait(await api.create("notes", path.parent))
    put(path, NEW, hours=3)
    between = await reads(api, stop, api.append("notes"), path, OLD)
    put(path, NEW, hours=3)
    again = await api.wait(await api.append("notes"))

    assert between["result"]["documents_changed"] == 0
    assert again["result"]["documents_changed"] == 1
    assert await find(api, "whales", "lava") == [False, True]


async def test_a_file_that_stays_as_it_was_read_is_not_read_again(api: Api, tmp_path: Path, stop: Stop) -> None:
    """The next scan compares with what was read, so it costs nothing."""
    path = put(tmp_path / "docs" / "a.txt", OLD, hours=1)
    await reads(api, stop, api.create("notes", path.parent), path, NEW)

    again = await api.wait(await api.append("notes"))

    assert (again["result"]["unchanged"], again["result"]["stages"]["read"]["items"]) == (1, 0)


async def test_what_is_tried_again_is_what_is_there(api: Api, tmp_path: Path) -> None:
    """Nothing has scanned between the failure and the new content: that, too, is not what the last scan saw."""
    path = put(tmp_path / "docs" / "a.txt", b"", hours=1)
    await api.wait(await api.create("notes", path.parent))
    put(path, NEW, hours=2)
    failed = (await api.documents("notes"))["a.txt"]
    answer = await api.client.post("/api/v1/collections/notes/documents/retry", json={"ids": [failed["id"]]})
    await api.wait(answer.json())
    as_retried = await find(api, "lava")
    put(path, b"", hours=1)
    await api.wait(await api.append("notes"))

    assert (failed["error_code"], as_retried) == ("empty_document", [True])
    assert (await api.documents("notes"))["a.txt"]["error_code"] == "empty_document"

"""The same cases for every adapter of ``DocumentSource``."""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest

from app.domain.documents import (
    Chunking,
    Document,
    DocumentState,
    Fetched,
    PreparedDocument,
    PrepareRequest,
    ScannedDocument,
)
from app.domain.errors import SourceNotFoundError, SourceVanishedError, TransientError
from app.domain.identity import document_id, locator_of
from app.domain.ports import DocumentSource
from app.pipeline.fetch import prepare_fetched
from app.pipeline.prepare import prepare_documents
from tests.sources.contract.places import MOST_BYTES, Choice, Place

COLLECTION = uuid4()
CONTENT = {"a.txt": b"first\r\n", "guides/b.md": b"# second \xc3\xa9\n", "guides/deep/c.txt": b"third"}


async def scan(place: Place, source: DocumentSource) -> dict[str, ScannedDocument]:
    """All documents of a scan by name; no URI and no path twice."""
    batches = [batch async for batch in source.scan()]
    found = [document for batch in batches for document in batch]
    assert all(len(batch) <= 1000 for batch in batches)
    assert len({document.uri for document in found}) == len({document.path for document in found}) == len(found)
    return {place.name_of(document.path): document for document in found}


async def scan_once(place: Place, choice: Choice | None = None) -> dict[str, ScannedDocument]:
    """What a fresh adapter finds."""
    async with aclosing(place.open(choice or Choice())) as source:
        return await scan(place, source)


def to_documents(scanned: Sequence[ScannedDocument]) -> list[Document]:
    """The rows that the manifest would have of them: all that a worker elsewhere gets to know."""
    return [
        Document(
            id=document_id(COLLECTION, item.uri),
            collection_id=COLLECTION,
            source_id=COLLECTION,
            uri=item.uri,
            path=item.path,
            locator=locator_of(item.uri, offset=item.locator.offset, length=item.locator.length),
            size=item.size,
            modified_ns=item.modified_ns,
            state=DocumentState.PROCESSING,
            etag=item.etag,
        )
        for item in scanned
    ]


async def read(
    place: Place,
    source: DocumentSource,
    scanned: Sequence[ScannedDocument],
    spool: Path,
    *,
    max_bytes: int = MOST_BYTES,
) -> dict[str, PreparedDocument]:
    """Read documents as a lane does, by name."""
    documents = to_documents(scanned)

    async def prepare(here: Sequence[Document]) -> list[PreparedDocument]:
        requests = [
            PrepareRequest(
                document_id=document.id,
                uri=document.uri,
                path=document.path,
                locator=document.locator,
                known_hash=None,
                max_bytes=max_bytes,
            )
            for document in here
        ]
        return prepare_documents(requests, Chunking())

    prepared = await prepare_fetched(source, documents, spool=spool, prepare=prepare, note_seconds=lambda _: None)
    outcomes = {item.document_id: item for item in prepared}
    assert len(outcomes) == len(prepared) == len(documents)
    return {place.name_of(document.path): outcomes[document.id] for document in documents}


def version_of(item: ScannedDocument) -> object:
    """What the manifest compares; see ``JUDGED``."""
    return item.etag if item.etag is not None else item.content_hash or (item.size, item.modified_ns)


@pytest.fixture
def filled(place: Place) -> Place:
    """A place with three documents."""
    for path, content in CONTENT.items():
        place.write(path, content)
    return place


async def test_a_scan_is_stable(filled: Place) -> None:
    """The same documents in the same order under the same names and versions, also for another process."""
    first, second = await scan_once(filled), await scan_once(filled)

    assert set(first) == set(CONTENT)
    assert [(item.uri, version_of(item)) for item in first.values()] == [
        (item.uri, version_of(item)) for item in second.values()
    ]


async def test_a_changed_document_has_another_version(filled: Place) -> None:
    """The others keep theirs."""
    before = await scan_once(filled)
    filled.write("a.txt", b"changed completely")

    after = await scan_once(filled)

    changed = {path for path in before if version_of(before[path]) != version_of(after[path])}
    assert changed == {"a.txt"}


async def test_fetching_gives_the_exact_bytes(filled: Place, tmp_path: Path) -> None:
    """Also to an adapter that has not scanned, as on another machine; nothing is left behind."""
    found = await scan_once(filled)
    spool = tmp_path / "spool"

    async with aclosing(filled.open(Choice())) as source:
        prepared = await read(filled, source, list(found.values()), spool)

    assert {path: item.content_hash for path, item in prepared.items()} == {
        path: hashlib.sha256(content).digest() for path, content in CONTENT.items()
    }
    assert not spool.exists() or list(spool.iterdir()) == []


async def test_a_fetched_file_lies_in_the_folder_that_was_asked_for(filled: Place, tmp_path: Path) -> None:
    """Only a local source may answer with a file of its own."""
    found = await scan_once(filled)
    into = tmp_path / "into"

    async with aclosing(filled.open(Choice())) as source:
        fetched = await source.fetch(to_documents(list(found.values())), into)
        is_local = source.is_local

    assert all(isinstance(item, Fetched) and item.path is not None for item in fetched.values())
    assert is_local or all(Path(str(item.path)).parent == into for item in fetched.values())


async def test_documents_are_fetched_while_the_scan_goes_on(filled: Place, tmp_path: Path) -> None:
    """Where an adapter says so, what is found can be had before all is found, and all is still found."""
    async with aclosing(filled.open(Choice())) as source:
        if not source.can_fetch_while_scanning:
            pytest.skip("its documents are fetched after the scan")
        readers: list[asyncio.Task[dict[str, PreparedDocument]]] = []
        async with asyncio.TaskGroup() as tasks:
            async for batch in source.scan():
                readers.append(tasks.create_task(read(filled, source, batch, tmp_path / str(len(readers)))))
        prepared = {path: item for reader in readers for path, item in reader.result().items()}

    assert {path: item.content_hash for path, item in prepared.items()} == {
        path: hashlib.sha256(content).digest() for path, content in CONTENT.items()
    }


async def test_a_document_that_vanished_costs_itself(filled: Place, tmp_path: Path) -> None:
    """The others are read, and the source is still there; who has scanned may have kept a copy."""
    async with aclosing(filled.open(Choice())) as source, aclosing(filled.open(Choice())) as other:
        found = await scan(filled, source)
        filled.remove("a.txt")

        prepared = await read(filled, other, list(found.values()), tmp_path / "spool")
        await source.require_present()

    assert {path: item.error_code for path, item in prepared.items()} == {
        "a.txt": "file_vanished",
        "guides/b.md": None,
        "guides/deep/c.txt": None,
    }


async def test_a_document_that_cannot_be_read_costs_itself(filled: Place, tmp_path: Path) -> None:
    """Found or fetched, it has a code of its own."""
    filled.deny("denied.txt")

    async with aclosing(filled.open(Choice())) as source:
        found = await scan(filled, source)
        readable = [item for item in found.values() if item.error_code is None]
        prepared = await read(filled, source, readable, tmp_path / "spool")

    codes = {path: item.error_code or prepared[path].error_code for path, item in found.items()}
    assert codes == {**dict.fromkeys(CONTENT), "denied.txt": "unreadable_file"}


async def test_a_document_that_is_too_large_is_not_read(filled: Place, tmp_path: Path) -> None:
    """Whether the source says how large it is or not."""
    filled.write("large.txt", b"x" * (MOST_BYTES + 1))
    filled.write("largest.txt", b"y" * MOST_BYTES)

    async with aclosing(filled.open(Choice())) as source:
        found = await scan(filled, source)
        small = [item for item in found.values() if item.error_code is None]
        prepared = await read(filled, source, small, tmp_path / "spool")

    codes = {path: item.error_code or prepared[path].error_code for path, item in found.items()}
    assert codes == {**dict.fromkeys(CONTENT), "large.txt": "document_too_large", "largest.txt": None}


async def test_globs_choose_documents(filled: Place) -> None:
    """Over the path below the root; what they leave out is counted."""
    async with aclosing(filled.open(Choice(include=["**/*.txt"], exclude=["guides/deep/"]))) as source:
        found = await scan(filled, source)
        skipped = dict(source.skipped)

    assert list(found) == ["a.txt"]
    assert skipped["filtered"] >= 1


async def test_what_could_not_be_looked_into_is_not_gone(filled: Place) -> None:
    """The scan says under which beginnings of URIs documents of before may still be, or fails."""
    filled.add_part(b"inner")
    before = await scan_once(filled)
    filled.hide_part()

    async with aclosing(filled.open(Choice())) as source:
        if filled.is_seen_whole:
            with pytest.raises(TransientError):
                await scan(filled, source)
            return
        after = await scan(filled, source)
        unseen = list(source.unseen)

    missing = [before[path].uri for path in before.keys() - after.keys()]
    assert missing
    assert all(any(uri.startswith(beginning) for beginning in unseen) for uri in missing)
    assert set(CONTENT) <= set(after)


async def test_a_place_that_is_not_there_is_an_error(filled: Place) -> None:
    """Of the scan, before any document is called gone."""
    filled.vanish()

    with pytest.raises(SourceNotFoundError):
        await scan_once(filled)


async def test_a_place_that_vanishes_is_told_from_a_document_that_does(filled: Place) -> None:
    """Who could not read a document can ask."""
    async with aclosing(filled.open(Choice())) as source:
        await scan(filled, source)
        filled.vanish()

        with pytest.raises(SourceVanishedError):
            await source.require_present()

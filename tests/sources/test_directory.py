"""Scanning folders."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.domain.documents import ScannedDocument
from app.domain.errors import SourceNotAllowedError, SourceNotFoundError, SourceVanishedError, UnsupportedSourceError
from app.pipeline.records import is_record_file, scan_records
from app.processes.pool import ProcessPool
from app.sources.directory import DirectorySource, RecordReader, resolve_source_path


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """One slot, for record files."""
    opened = ProcessPool(1, memory_bytes=2**32)
    yield opened
    await opened.aclose()


def source(path: Path, pool: ProcessPool, **options: list[str]) -> DirectorySource:
    """A source over a folder."""
    records = RecordReader(is_record_file=is_record_file, scan_records=scan_records)
    return DirectorySource(
        str(path),
        include=options.get("include", []),
        exclude=options.get("exclude", []),
        max_bytes=1000,
        processes=pool,
        records=records,
    )


async def scan(scanned: DirectorySource) -> dict[str, ScannedDocument]:
    """All documents by path."""
    return {item.path: item async for batch in scanned.scan() for item in batch}


async def test_a_folder_is_scanned_in_order_without_junk(tmp_path: Path, pool: ProcessPool) -> None:
    """Hidden files, dependency folders and formats without text are left out and counted."""
    for name in ("b.txt", "a/z.md", ".git/config", "node_modules/x.js", "photo.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    scanned = source(tmp_path, pool)

    found = await scan(scanned)

    assert list(found) == ["b.txt", "a/z.md"]
    assert dict(scanned.skipped) == {"hidden": 1, "dependencies": 1, "binary": 1}
    assert found["b.txt"].uri == (tmp_path / "b.txt").as_uri()


async def test_links_are_followed_inside_the_source_alone(tmp_path: Path, pool: ProcessPool) -> None:
    """A loop ends, a link outside and a dangling one are documents with a code."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (root / "a.txt").write_text("a")
    (root / "again.txt").symlink_to(root / "a.txt")
    (root / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")

    found = await scan(source(root, pool))

    assert {path: item.error_code for path, item in found.items()} == {
        "a.txt": None,
        "again.txt": None,
        "out.txt": "symlink_outside_source",
        "self": "unreadable_file",
    }


async def test_globs_choose_documents(tmp_path: Path, pool: ProcessPool) -> None:
    """``include`` keeps, ``exclude`` drops, over the path below the root."""
    for name in ("a.md", "deep/er/b.md", "deep/c.txt", "drafts/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    found = await scan(source(tmp_path, pool, include=["**/*.md"], exclude=["drafts/**"]))

    assert set(found) == {"a.md", "deep/er/b.md"}


async def test_strange_names_survive(tmp_path: Path, pool: ProcessPool) -> None:
    """New lines and bytes that are not UTF-8 are percent-encoded in the URI and printable in the path."""
    (tmp_path / "new\nline.txt").write_text("x")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")

    found = await scan(source(tmp_path, pool))

    assert all(path.isprintable() for path in found)
    assert {item.uri.rpartition("/")[2] for item in found.values()} == {"new%0Aline.txt", "%FF.txt"}


async def test_a_large_or_special_file_is_never_opened(tmp_path: Path, pool: ProcessPool) -> None:
    """Size comes from the file system, and a FIFO would block for ever."""
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(2**30)
    os.mkfifo(tmp_path / "pipe.txt")
    scanned = source(tmp_path, pool)

    found = await scan(scanned)

    assert found["huge.txt"].error_code == "document_too_large"
    assert dict(scanned.skipped) == {"special": 1}


async def test_records_get_their_own_uris(tmp_path: Path, pool: ProcessPool) -> None:
    """Each line is a document; an id used twice is said; a file of other JSON lines is one document."""
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a b", "text": "1"}\n{"_id": "a b", "text": "2"}\n')
    (tmp_path / "log.jsonl").write_text('{"level": "info"}\n')

    found = await scan(source(tmp_path, pool))

    assert {path: item.error_code for path, item in found.items()} == {
        "corpus.jsonl#a b": None,
        "corpus.jsonl#a b~2": "duplicate_record",
        "log.jsonl": None,
    }
    assert found["corpus.jsonl#a b"].uri.endswith("corpus.jsonl#a%20b")


async def test_many_files_come_in_bounded_batches(tmp_path: Path, pool: ProcessPool) -> None:
    """No batch is larger than 1 000."""
    for number in range(2500):
        (tmp_path / f"{number}.txt").touch()

    sizes = [len(batch) async for batch in source(tmp_path, pool).scan()]

    assert sum(sizes) == 2500
    assert max(sizes) <= 1000


async def test_a_missing_root_is_an_error(tmp_path: Path, pool: ProcessPool) -> None:
    """Nothing there is not an empty folder."""
    with pytest.raises(SourceNotFoundError):
        await scan(source(tmp_path / "nowhere", pool))


async def test_a_root_that_vanishes_in_the_middle_is_an_error(tmp_path: Path, pool: ProcessPool) -> None:
    """A scan that did not see everything says so, for otherwise documents would be removed."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    for number in range(1500):
        (root / f"{number}.txt").touch()

    async def remove_while_scanning() -> None:
        async for _ in source(root, pool).scan():
            shutil.rmtree(root, ignore_errors=True)

    with pytest.raises(SourceVanishedError):
        await remove_while_scanning()


def test_only_allowed_folders_are_read(tmp_path: Path) -> None:
    """A link out of an allowed folder does not help, and other schemes are refused."""
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to("/etc")

    assert resolve_source_path(allowed.as_uri(), [allowed]) == allowed
    with pytest.raises(SourceNotAllowedError):
        resolve_source_path(str(allowed / "link"), [allowed])
    with pytest.raises(UnsupportedSourceError):
        resolve_source_path("s3://bucket/x", [])

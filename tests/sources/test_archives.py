"""Archives as folders."""

import io
import os
import random
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.documents import Chunking, PrepareRequest, ScannedDocument
from app.domain.identity import locator_of
from app.pipeline.prepare import prepare_documents
from app.pipeline.records import is_record_file, scan_records
from app.processes.pool import ProcessPool
from app.sources.archive_scan import scan_archive
from app.sources.archives import ArchiveLimits, MemberError, archive_kind, read_member
from app.sources.directory import DirectorySource, RecordReader

TARS = {"b.tar": "w", "b.tar.gz": "w:gz", "b.tgz": "w:gz", "b.tar.bz2": "w:bz2", "b.tar.xz": "w:xz"}
FILES = {"inner/path.md": b"# Whales\n\nsing", "top.txt": b"top", "lines.jsonl": b'{"text": "one document"}\n'}
MTIME = 1_600_000_000


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """One slot."""
    opened = ProcessPool(1, memory_bytes=2**32)
    yield opened
    await opened.aclose()


def zip_of(files: dict[str, bytes]) -> bytes:
    """A ``.zip``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 9, 13, 12, 26, 40)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_of(files: dict[str, bytes], mode: str = "w", *, prefix: str = "./") -> bytes:
    """A ``.tar``, packed as ``mode`` says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # any mode
        for name, content in files.items():
            info = tarfile.TarInfo(f"{prefix}{name}")
            info.size, info.mtime = len(content), MTIME
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def source_of(path: Path, pool: ProcessPool, **options: Any) -> DirectorySource:
    """A source over a folder or an archive."""
    records = RecordReader(is_record_file=is_record_file, scan_records=scan_records)
    return DirectorySource(path, **{"max_bytes": 2**20, "processes": pool, "records": records, **options})


async def scan(source: DirectorySource) -> dict[str, ScannedDocument]:
    """All documents by path."""
    return {item.path: item async for batch in source.scan() for item in batch}


def read(documents: list[ScannedDocument]) -> dict[str, str | None]:
    """The text of each document's first chunk, or its error, by path; located as the manifest does, by URI."""
    requests = []
    for item in documents:
        locator = locator_of(item.uri, offset=item.locator.offset, length=item.locator.length)
        assert locator == item.locator
        requests.append(
            PrepareRequest(
                document_id=uuid4(), uri=item.uri, path=item.path, locator=locator, known_hash=None, max_bytes=2**20
            )
        )
    prepared = prepare_documents(requests, Chunking())
    return {
        item.path: outcome.error_code or outcome.chunks[0].text
        for item, outcome in zip(documents, prepared, strict=True)
    }


@pytest.mark.parametrize("name", ["b.zip", *TARS])
async def test_the_members_of_an_archive_are_documents(name: str, tmp_path: Path, pool: ProcessPool) -> None:
    """Each has a URI, a path and its text; a ``.jsonl`` inside is one document."""
    (tmp_path / name).write_bytes(zip_of(FILES) if name == "b.zip" else tar_of(FILES, TARS[name]))

    found = await scan(source_of(tmp_path, pool))

    assert set(found) == {f"{name}/{member}" for member in FILES}
    document = found[f"{name}/inner/path.md"]
    assert document.uri == f"{(tmp_path / name).as_uri()}!/inner/path.md"
    assert (document.size, document.modified_ns // (2 * 10**9)) == (14, MTIME // 2)
    assert read(list(found.values())) == {
        f"{name}/inner/path.md": "# Whales\n\nsing",
        f"{name}/top.txt": "top",
        f"{name}/lines.jsonl": '{"text": "one document"}',
    }


async def test_archives_in_archives_are_read_to_a_limit(tmp_path: Path, pool: ProcessPool) -> None:
    """The way to a member names every archive; one too deep is a document with a code."""
    deep = zip_of({"deeper.zip": zip_of({"c.md": b"deep"}), "b.md": b"two"})
    (tmp_path / "outer.tgz").write_bytes(tar_of({"a/inner.zip": deep, "a.md": b"one"}, "w:gz"))

    found = await scan(source_of(tmp_path, pool, archives=ArchiveLimits(depth=2)))

    assert found["outer.tgz/a/inner.zip/b.md"].uri.endswith("/outer.tgz!/a/inner.zip!/b.md")
    assert found.pop("outer.tgz/a/inner.zip/deeper.zip").error_code == "archive_too_deep"
    assert read(list(found.values())) == {"outer.tgz/a.md": "one", "outer.tgz/a/inner.zip/b.md": "two"}


async def test_names_with_signs_of_the_scheme_come_back(tmp_path: Path, pool: ProcessPool) -> None:
    """``!``, ``#``, ``%`` and bytes that are no UTF-8 in names are told from what the URI means by them."""
    (tmp_path / "odd!").mkdir()
    files = {"x!/y #1%.md": b"odd", "\udcff.md": b"bytes"}
    (tmp_path / "odd!" / "b.tar").write_bytes(tar_of(files))

    found = await scan(source_of(tmp_path, pool))

    assert sorted(text or "" for text in read(list(found.values())).values()) == ["bytes", "odd"]


async def test_nothing_in_an_archive_leads_out_of_it(tmp_path: Path, pool: ProcessPool) -> None:
    """Names with ``..``, links and devices are left out and counted; an absolute name is one inside."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("../../evil.md", tarfile.REGTYPE), ("/etc/ok.md", tarfile.REGTYPE), ("l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, 2 if kind == tarfile.REGTYPE else 0, "/etc/passwd"
            archive.addfile(info, io.BytesIO(b"ok"))
    (tmp_path / "b.tar").write_bytes(buffer.getvalue())
    link = zipfile.ZipInfo("link.md")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr(link, "/etc/passwd")
        packed.writestr("../up.md", "up")
    source = source_of(tmp_path, pool)

    found = await scan(source)

    assert set(found) == {"b.tar/etc/ok.md"}
    assert read(list(found.values())) == {"b.tar/etc/ok.md": "ok"}
    assert source.skipped["special"] == 4


async def test_rules_for_folders_hold_inside_archives(tmp_path: Path, pool: ProcessPool) -> None:
    """Globs, hidden names, dependencies and formats without text."""
    names = ("docs/a.md", "docs/b.txt", ".git/x.md", "node_modules/y.md", "docs/p.gif", "drafts/d.md")
    (tmp_path / "b.zip").write_bytes(zip_of(dict.fromkeys(names, b"x")))
    chosen = source_of(tmp_path, pool, include=["**/*.md"], exclude=["b.zip/drafts/"])

    assert set(await scan(chosen)) == {"b.zip/docs/a.md"}
    assert dict(chosen.skipped) == {"hidden": 1, "dependencies": 1, "filtered": 3}
    assert set(await scan(source_of(tmp_path, pool, include=["*.zip"]))) == {
        "b.zip/docs/a.md",
        "b.zip/docs/b.txt",
        "b.zip/drafts/d.md",
    }
    assert not await scan(source_of(tmp_path, pool, exclude=["*.zip"]))


async def test_an_archive_may_be_the_source(tmp_path: Path, pool: ProcessPool) -> None:
    """Paths and globs begin inside it."""
    (tmp_path / "docs.zip").write_bytes(zip_of(FILES))

    found = await scan(source_of(tmp_path / "docs.zip", pool, include=["inner/*"]))

    assert read(list(found.values())) == {"inner/path.md": "# Whales\n\nsing"}


BOMBS = {
    "members": ArchiveLimits(members=2),
    "bytes": ArchiveLimits(bytes=10),
}


@pytest.mark.parametrize("limits", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz"])
async def test_an_archive_beyond_its_limits_is_one_document(
    name: str, limits: ArchiveLimits, tmp_path: Path, pool: ProcessPool
) -> None:
    """It is not read at all, and what it held before is not gone."""
    (tmp_path / name).write_bytes(zip_of(FILES) if name == "b.zip" else tar_of(FILES, "w:gz"))
    (tmp_path / "good.md").write_text("good")
    source = source_of(tmp_path, pool, archives=limits)

    found = await scan(source)

    assert {path: item.error_code for path, item in found.items()} == {name: "archive_bomb", "good.md": None}
    assert list(source.unseen) == [f"{(tmp_path / name).as_uri()}!"]


@pytest.mark.parametrize("name", ["b.zip", "b.tar.xz"])
async def test_an_archive_that_unpacks_to_far_more_is_a_bomb(name: str, tmp_path: Path, pool: ProcessPool) -> None:
    """Its ratio gives it away, long before all of it is unpacked."""
    files = {"zeros.txt": bytes(40 * 1024 * 1024)}
    (tmp_path / name).write_bytes(zip_of(files) if name == "b.zip" else tar_of(files, "w:xz"))

    found = await scan(source_of(tmp_path, pool))

    assert [item.error_code for item in found.values()] == ["archive_bomb"]


@pytest.mark.parametrize("name", ["b.zip", *TARS])
async def test_a_broken_archive_is_one_document(name: str, tmp_path: Path, pool: ProcessPool) -> None:
    """Wherever it is cut: nothing it held before is taken for gone, and its neighbours are found."""
    files = {f"{number}.txt": os.urandom(3000) for number in range(9)}
    whole = zip_of(files) if name == "b.zip" else tar_of(files, TARS[name], prefix="")
    source = source_of(tmp_path, pool)
    (tmp_path / "good.md").write_text("good")
    for share in (0.01, 0.3, 0.55):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])

        found = await scan(source)

        assert {path: item.error_code for path, item in found.items()} == {name: "corrupt_archive", "good.md": None}
        assert source.unseen


async def test_a_broken_archive_inside_costs_itself_alone(tmp_path: Path, pool: ProcessPool) -> None:
    """Its neighbours in the outer archive are read."""
    (tmp_path / "b.zip").write_bytes(zip_of({"a.md": b"fine", "broken.tar.gz": b"\x1f\x8bnothing"}))

    found = await scan(source_of(tmp_path, pool))

    assert {path: item.error_code for path, item in found.items()} == {
        "b.zip/a.md": None,
        "b.zip/broken.tar.gz": "corrupt_archive",
    }


async def test_a_member_with_a_password_is_one_document(tmp_path: Path, pool: ProcessPool) -> None:
    """The flag of its entry says so; the others are read."""
    content = bytearray(zip_of({"locked.md": b"x", "open.md": b"open"}))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(mark) + place] |= 1
    (tmp_path / "b.zip").write_bytes(content)

    found = await scan(source_of(tmp_path, pool))

    assert found.pop("b.zip/locked.md").error_code == "encrypted_document"
    assert read(list(found.values())) == {"b.zip/open.md": "open"}


async def test_a_damaged_member_is_one_document(tmp_path: Path, pool: ProcessPool) -> None:
    """Its checksum gives it away; its neighbour is read."""
    content = bytearray(zip_of({"a.md": os.urandom(50).hex().encode(), "b.md": b"fine"}))
    content[content.find(b"a.md") + 10] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(content)

    found = await scan(source_of(tmp_path, pool))

    assert read(list(found.values())) == {"b.zip/a.md": "corrupt_archive", "b.zip/b.md": "fine"}


@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz"])
async def test_only_what_has_changed_in_an_archive_is_changed(name: str, tmp_path: Path, pool: ProcessPool) -> None:
    """Same size and same time, other words: the checksum tells; the rest stays as it was."""
    marks = []
    for word in (b"old", b"new"):
        files = {"changed.md": word, "same.md": b"same"}
        (tmp_path / name).write_bytes(zip_of(files) if name == "b.zip" else tar_of(files, "w:gz"))
        found = await scan(source_of(tmp_path, pool))
        marks.append({path: (item.size, item.modified_ns) for path, item in found.items()})

    assert marks[0][f"{name}/same.md"] == marks[1][f"{name}/same.md"]
    assert marks[0][f"{name}/changed.md"] != marks[1][f"{name}/changed.md"]


async def test_an_archive_that_changes_between_scan_and_reading_gives_no_wrong_text(
    tmp_path: Path, pool: ProcessPool
) -> None:
    """Places of a ``.tar`` that are no places any more are documents that vanished."""
    (tmp_path / "b.tar").write_bytes(tar_of({"a.md": b"a", "b.md": b"bbb"}))
    found = await scan(source_of(tmp_path, pool))

    (tmp_path / "b.tar").write_bytes(tar_of({"long.md": b"x" * 5000}))

    assert read(list(found.values())) == {"b.tar/a.md": "file_vanished", "b.tar/b.md": "file_vanished"}


async def test_many_members_of_a_packed_tar_are_unpacked_once(tmp_path: Path, pool: ProcessPool) -> None:
    """All 3 000 members cost about as much as one pass, not one pass each."""
    files = {f"{number}.txt": f"member {number} ".encode() * 100 for number in range(3000)}
    (tmp_path / "b.tar.xz").write_bytes(tar_of(files, "w:xz"))
    found = await scan(source_of(tmp_path, pool))

    texts = read(list(found.values()))

    assert len(texts) == 3000
    assert all((texts[f"b.tar.xz/{number}.txt"] or "").startswith(f"member {number} ") for number in range(3000))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.ZIP", "zip"), ("a.tar.gz", "gz"), ("a.gz", None), ("zip", None), ("a.docx", None)]
)
def test_an_archive_is_known_by_its_name(name: str, kind: str | None) -> None:
    """Office files and single packed files are none."""
    assert archive_kind(name) == kind


CODES = {None, "archive_bomb", "archive_too_deep", "corrupt_archive", "encrypted_document", "unsupported_format"}


@pytest.mark.parametrize("name", ["b.zip", *TARS])
def test_no_damage_breaks_more_than_an_archive(name: str, tmp_path: Path) -> None:
    """Cut anywhere, or with bytes changed anywhere, an archive gives members or codes and nothing else."""
    whole = zip_of({**FILES, "in.zip": zip_of(FILES)}) if name == "b.zip" else tar_of(FILES, TARS[name])
    chance = random.Random(name)  # noqa: S311 — a repeatable choice of damage
    path = tmp_path / name
    for _ in range(60):
        content = bytearray(whole[: chance.randrange(1, len(whole) + 1)])
        for _ in range(chance.randrange(8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)

        found, _skipped = scan_archive(str(path), name, ((), ()), ArchiveLimits(bytes=2**24), frozenset())

        assert {entry.error_code for _, entry in found} <= CODES
        for names, entry in found:
            if names and entry.error_code is None:
                with suppress(MemberError):  # anything else fails this test
                    read_member(str(path), names, offset=entry.offset, length=entry.size, max_bytes=2**20)

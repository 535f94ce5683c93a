"""Folders as they are in the wild: links, strange names, denied access, things that change during the scan."""

import asyncio
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from app.domain.documents import ScannedDocument
from app.domain.errors import SourceNotFoundError, SourceVanishedError
from app.processes.pool import ProcessPool
from app.sources.directory import DirectorySource, RecordReader
from tests.sources.record_files import (
    is_never_a_record_file,
    is_record_file,
    is_record_file_at_second_sight,
    scan_broken_records,
    scan_records,
    scan_records_at_second_sight,
    scan_records_never,
)

Result = TypeVar("Result")
NOBODY = 65534
READER = RecordReader(is_record_file=is_record_file, scan_records=scan_records)


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    """One child process."""
    opened = ProcessPool(1, memory_bytes=2**32)
    yield opened
    await opened.aclose()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder to scan."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def source_of(path: Path | str, pool: ProcessPool, **options: Any) -> DirectorySource:
    """A source of documents of at most 1 000 bytes."""
    return DirectorySource(path, **{"max_bytes": 1000, "processes": pool, "records": READER, **options})


async def scan(source: DirectorySource) -> list[ScannedDocument]:
    """All documents in the order of the scan."""
    return [document async for batch in source.scan() for document in batch]


def codes(documents: list[ScannedDocument]) -> dict[str, str | None]:
    """Error codes by path; every path once."""
    assert len({document.uri for document in documents}) == len(documents)
    return {document.path: document.error_code for document in documents}


def write(root: Path, *names: str) -> None:
    """Small files, with the folders they lie in."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


async def test_a_folder_behind_a_link_is_seen_at_its_own_place(root: Path, pool: ProcessPool) -> None:
    """A link that sorts before its target does not rename the documents, so adding one changes nothing."""
    write(root, "real/a.txt")
    (root / "alias").symlink_to(root / "real")
    source = source_of(root, pool)

    documents = await scan(source)

    assert codes(documents) == {"real/a.txt": None}
    assert source.skipped == {"walked_before": 1}


async def test_a_link_to_a_hidden_folder_inside_is_followed(root: Path, pool: ProcessPool) -> None:
    """What is linked on purpose is wanted, under the name of the link."""
    write(root, ".store/v1/a.txt")
    (root / "current").symlink_to(".store/v1")

    documents = await scan(source_of(root, pool))

    assert codes(documents) == {"current/a.txt": None}


async def test_links_that_lead_nowhere_cost_one_document_each(root: Path, tmp_path: Path, pool: ProcessPool) -> None:
    """Outside, dangling, in a circle and up: each ends, and the rest is scanned."""
    write(root, "deep/er/a.txt")
    write(tmp_path, "root-not/secret.txt", "secret.txt")
    (root / "deep" / "up").symlink_to(root)
    (root / "beside").symlink_to(tmp_path / "root-not")
    (root / "secret.txt").symlink_to("../secret.txt")
    (root / "dangling.txt").symlink_to("nothing")
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")

    documents = await scan(source_of(root, pool))

    assert codes(documents) == {
        "beside": "symlink_outside_source",
        "dangling.txt": "unreadable_file",
        "one": "unreadable_file",
        "secret.txt": "symlink_outside_source",
        "two": "unreadable_file",
        "deep/er/a.txt": None,
    }


async def test_a_link_that_no_glob_wants_is_no_error(root: Path, pool: ProcessPool) -> None:
    """A dangling picture is as uninteresting as a picture."""
    write(root, "a.md")
    (root / "b.png").symlink_to("nothing")
    (root / "c.txt").symlink_to("nothing")
    source = source_of(root, pool, include=["**/*.md", "**/*.png"])

    documents = await scan(source)

    assert codes(documents) == {"a.md": None}
    assert source.skipped == {"binary": 1, "filtered": 1}


async def test_a_root_that_is_a_link_is_one_folder(root: Path, tmp_path: Path, pool: ProcessPool) -> None:
    """Its documents are named by the link, and links inside it still stay inside."""
    write(root, "a.txt")
    (root / "b.txt").symlink_to(root / "a.txt")
    (tmp_path / "link").symlink_to(root)

    documents = await scan(source_of(tmp_path / "link", pool))

    assert codes(documents) == {"a.txt": None, "b.txt": None}
    assert documents[0].uri == (tmp_path / "link" / "a.txt").as_uri()


async def test_a_name_of_any_bytes_comes_back_from_its_uri(root: Path, pool: ProcessPool) -> None:
    """The URI keeps every byte; the path can be stored, shown, and read in any script."""
    names = [b"new\nline.txt", b"not-utf8-\xff.txt", "پیش\u200cنویس.txt".encode(), b"50% #1?.txt", b"back\\slash.txt"]
    for name in names:
        (root / os.fsdecode(name)).write_text("x")

    documents = await scan(source_of(root, pool))

    found = {unquote_to_bytes(urlsplit(document.uri).path).rpartition(b"/")[2] for document in documents}
    assert found == set(names)
    assert {document.path for document in documents} == {
        r"new\nline.txt", r"not-utf8-\udcff.txt", "پیش\u200cنویس.txt", "50% #1?.txt", r"back\slash.txt",
    }  # fmt: skip
    assert all(document.uri.isascii() and document.path.encode("utf-8") for document in documents)
    assert {os.fsencode(document.locator.path) for document in documents} == {
        os.fsencode(root) + b"/" + n for n in names
    }


async def test_a_large_file_is_judged_by_its_size_alone(root: Path, pool: ProcessPool) -> None:
    """A sparse GiB is an error at once; a record file may be larger than a document."""
    with (root / "huge.txt").open("wb") as file:
        file.truncate(2**30)
    (root / "limit.txt").write_bytes(b"x" * 1000)
    (root / "long.jsonl").write_text("".join(f'{{"_id": "{number}"}}\n' for number in range(200)))

    documents = await scan(source_of(root, pool))

    assert documents[0].size == 2**30
    assert codes(documents[:2]) == {"huge.txt": "document_too_large", "limit.txt": None}
    assert len(documents) == 202


async def test_a_large_file_that_only_looks_like_records_is_too_large(root: Path, pool: ProcessPool) -> None:
    """The exception is for records, not for the ending of a name."""
    (root / "log.jsonl").write_bytes(b"x" * 1001)
    records = RecordReader(is_record_file=is_never_a_record_file, scan_records=scan_records)

    documents = await scan(source_of(root, pool, records=records))

    assert codes(documents) == {"log.jsonl": "document_too_large"}


async def test_a_single_file_is_a_source(root: Path, pool: ProcessPool) -> None:
    """Its document has the file's name, whatever the globs are."""
    write(root, "a.txt")

    documents = await scan(source_of((root / "a.txt").as_uri(), pool, include=["b"]))

    assert codes(documents) == {"a.txt": None}
    assert documents[0].uri == (root / "a.txt").as_uri()


async def test_a_single_record_file_is_a_source(root: Path, pool: ProcessPool) -> None:
    """Its records are its documents."""
    (root / "c.jsonl").write_text('{"_id": "1"}\n')

    documents = await scan(source_of(root / "c.jsonl", pool))

    assert codes(documents) == {"c.jsonl#1": None}


async def test_no_name_of_a_record_is_taken_for_another(root: Path, pool: ProcessPool) -> None:
    """Ids with marks, twice the same id, no id and no JSON all have a URI of their own."""
    lines = [
        '{"_id": "a"}',
        '{"_id": "a"}',
        '{"_id": "a&duplicate=2"}',
        '{"_id": "@5"}',
        "{}",
        "no json",
        '{"_id": "a"}',
    ]
    (root / "c.jsonl").write_text("\n".join(lines) + "\n")

    documents = await scan(source_of(root, pool))

    assert [(document.uri.partition("#")[2], document.error_code) for document in documents] == [
        ("a", None),
        ("a&duplicate=2", "duplicate_record"),
        ("a%26duplicate%3D2", None),
        ("%405", None),
        ("@5", None),
        ("@6", "invalid_record"),
        ("a&duplicate=3", "duplicate_record"),
    ]


async def test_a_record_says_where_it_lies(root: Path, pool: ProcessPool) -> None:
    """Offset, length and hash are those of its line."""
    (root / "c.jsonl").write_text('{"_id": "one"}\n{"_id": "zwei"}\n')

    second = (await scan(source_of(root, pool)))[1]

    assert (second.locator.offset, second.locator.length, second.size) == (15, 16, 16)
    assert second.content_hash is not None
    assert len(second.content_hash) == 32


async def test_a_record_file_that_breaks_off_is_said(root: Path, pool: ProcessPool) -> None:
    """What was read counts, the file is an error, and its other records are not called gone."""
    (root / "c.jsonl").write_text('{"_id": "1"}\n{"_id": "2"}\n{"_id": "3"}\n')
    records = RecordReader(is_record_file=is_record_file, scan_records=scan_broken_records)
    source = source_of(root, pool, records=records)

    documents = await scan(source)

    assert codes(documents) == {"c.jsonl#1": None, "c.jsonl#2": None, "c.jsonl": "unreadable_file"}
    assert source.unseen == [f"{(root / 'c.jsonl').as_uri()}#"]


async def test_a_scan_survives_killed_children(root: Path, pool: ProcessPool) -> None:
    """Each call of it is made once more, and its records are all there once."""
    (root / "c.jsonl").write_text("".join(f'{{"_id": "{number}"}}\n' for number in range(5)))
    records = RecordReader(is_record_file=is_record_file_at_second_sight, scan_records=scan_records_at_second_sight)
    source = source_of(root / "c.jsonl", pool, records=records)

    documents = await scan(source)

    assert codes(documents) == {f"c.jsonl#{number}": None for number in range(5)}
    assert source.unseen == []
    # one death at the look into the file, three at its parts
    assert len(await asyncio.to_thread(lambda: list(root.glob("c.jsonl.*")))) == 4


async def test_a_record_file_that_kills_every_child_is_one_error(root: Path, pool: ProcessPool) -> None:
    """The second death in a row is the file's own; its records are not called gone, and other files are scanned."""
    (root / "c.jsonl").write_text('{"_id": "1"}\n')
    write(root, "a.txt")
    records = RecordReader(is_record_file=is_record_file, scan_records=scan_records_never)
    source = source_of(root, pool, records=records)

    documents = await scan(source)

    assert codes(documents) == {"a.txt": None, "c.jsonl": "process_died"}
    assert source.unseen == [f"{(root / 'c.jsonl').as_uri()}#"]


async def test_thousands_of_files_come_in_the_same_order_each_time(root: Path, pool: ProcessPool) -> None:
    """5 000 files and records in full batches, records in place of their file."""
    for number in range(4000):
        (root / f"{number:04}.txt").touch()
    (root / "0000.jsonl").write_text("".join(f'{{"_id": "{number}"}}\n' for number in range(1000)))
    source = source_of(root, pool)

    batches = [batch async for batch in source.scan()]
    again = await scan(source)

    assert [len(batch) for batch in batches] == [1000] * 5
    documents = [document for batch in batches for document in batch]
    assert [document.uri for document in documents] == [document.uri for document in again]
    assert documents[0].path == "0000.jsonl#0"
    assert documents[1000].path == "0000.txt"


async def test_a_root_replaced_during_the_scan_has_vanished(root: Path, pool: ProcessPool) -> None:
    """An empty folder in its place, as when a disk is unmounted, does not make all documents gone."""
    for number in range(1500):
        (root / f"{number}.txt").touch()

    replaced = 0

    def replace() -> None:
        root.rename(root.with_name("moved"))
        root.mkdir()

    async def replace_while_scanning() -> None:
        nonlocal replaced
        async for _ in source_of(root, pool).scan():
            replace()
            replaced += 1

    with pytest.raises(SourceVanishedError):
        await replace_while_scanning()

    assert replaced == 1


async def test_a_folder_removed_during_the_scan_is_gone_without_error(root: Path, pool: ProcessPool) -> None:
    """Its documents are not there any more, which is no error of the scan."""
    for number in range(1001):
        (root / f"{number:04}.txt").touch()
    write(root, "later/a.txt")
    source = source_of(root, pool)
    scanning = source.scan()

    first = await anext(scanning)
    shutil.rmtree(root / "later")
    rest = [document async for batch in scanning for document in batch]

    assert len(first) == 1000
    assert codes(rest) == {"1000.txt": None}
    assert source.unseen == []


@pytest.mark.parametrize("name", ["fifo", "nothing"])
async def test_a_root_that_is_no_folder_and_no_file_is_not_found(tmp_path: Path, pool: ProcessPool, name: str) -> None:
    """A FIFO is never opened, for that would block."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SourceNotFoundError):
        await scan(source_of(tmp_path / name, pool))


class InProcess:
    """``Processes`` for a process that has given up its rights."""

    size = 1

    async def run(self, function: Callable[..., Result], *args: object, timeout_seconds: float) -> Result:
        """Call the function here, where nothing can stop it."""
        del timeout_seconds
        return function(*args)


def _scan_without_rights(folder: str, answers: "multiprocessing.SimpleQueue[Any]") -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    source = DirectorySource(folder, max_bytes=1000, processes=InProcess(), records=READER)
    try:
        answers.put((codes(asyncio.run(scan(source))), list(source.unseen)))
    except SourceNotFoundError as error:
        answers.put(error.code)


def scan_without_rights(folder: Path) -> Any:
    """What a user without any rights finds; in a forked process, for root may read everything."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_scan_without_rights, args=(str(folder), answers))
    child.start()
    child.join(timeout=30)
    assert child.exitcode == 0
    return answers.get()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="vecloom-sources-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_denied_files_and_folders_cost_one_document_each(public: Path) -> None:
    """Each comes with a code, the rest is scanned, and what lies in the folder is not called gone."""
    write(public, "open.txt", "closed.txt", "closed.jsonl", "closed/a.txt", "closed/b.txt")
    for name in ("closed.txt", "closed.jsonl", "closed"):
        (public / name).chmod(0)

    found, unseen = scan_without_rights(public)

    assert found == {
        "closed.jsonl": "unreadable_file",
        "closed.txt": "unreadable_file",
        "open.txt": None,
        "closed": "unreadable_file",
    }
    assert unseen == [f"{(public / 'closed').as_uri()}/", f"{(public / 'closed.jsonl').as_uri()}#"]
    (public / "closed").chmod(0o700)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_denied_root_is_not_found(public: Path) -> None:
    """A source that cannot be read at all is an error of the source, not an empty one."""
    write(public, "root/a.txt")
    (public / "root").chmod(0)

    answer = scan_without_rights(public / "root")

    assert answer == "source_not_found"
    (public / "root").chmod(0o700)

"""File systems elsewhere: archives behind other places, what may be opened, and where it may lead."""

import asyncio
import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from app.domain.documents import Document, DocumentState, ScannedDocument, SourceKind
from app.domain.errors import (
    AddressNotAllowedError,
    InvalidSourceError,
    SourceLibraryMissingError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceUnavailableError,
    UnsupportedSourceError,
)
from app.domain.identity import locator_of
from app.sources.filesystem import FilesystemSource
from app.sources.kinds import check_source, kind_of, split_login
from app.sources.protocols import Guard, check_filesystem
from tests.sources.site import Site

CONTENT = {"a.txt": b"first", "guides/b.md": b"# second"}


def source_of(url: str, **options: Any) -> FilesystemSource:
    """A source of documents of at most 1 000 bytes that may be on this machine."""
    return FilesystemSource(url, **{"max_bytes": 1000, "allow_private": True, **options})


async def scan(source: FilesystemSource) -> dict[str, ScannedDocument]:
    """All documents by path."""
    return {item.path: item async for batch in source.scan() for item in batch}


async def read_all(source: FilesystemSource, into: Path) -> dict[str, bytes]:
    """What is in the documents that can be read, by path."""
    found = [item for item in (await scan(source)).values() if item.error_code is None]
    documents = [
        Document(
            id=uuid4(),
            collection_id=uuid4(),
            source_id=uuid4(),
            uri=item.uri,
            path=item.path,
            locator=locator_of(item.uri),
            size=item.size,
            modified_ns=item.modified_ns,
            state=DocumentState.PROCESSING,
            etag=item.etag,
        )
        for item in found
    ]
    fetched = await source.fetch(documents, into)
    paths = {document.path: str(fetched[document.id].path) for document in documents}
    return {path: await asyncio.to_thread(Path(place).read_bytes) for path, place in paths.items()}


def make_zip() -> bytes:
    """An archive of the content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in CONTENT.items():
            archive.writestr(path, content)
    return packed.getvalue()


def make_tar() -> bytes:
    """Another one."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in CONTENT.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    """A server of files."""
    with Site().running() as running:
        running.put("/docs.zip", make_zip(), content_type="application/zip")
        running.put("/docs.tar.gz", make_tar(), content_type="application/gzip")
        yield running


async def test_an_archive_of_this_machine_is_a_source(tmp_path: Path) -> None:
    """The whole of it, or a folder in it."""
    await asyncio.to_thread((tmp_path / "docs.zip").write_bytes, make_zip())

    async with aclosing(source_of(f"zip://::{tmp_path / 'docs.zip'}")) as whole:
        everything = await read_all(whole, tmp_path / "whole")
    async with aclosing(source_of(f"zip://guides::file://{tmp_path / 'docs.zip'}")) as part:
        guides = await read_all(part, tmp_path / "part")

    assert everything == CONTENT
    assert guides == {"b.md": CONTENT["guides/b.md"]}


@pytest.mark.parametrize("chain", ["zip://::{}/docs.zip", "tar://::{}/docs.tar.gz"])
async def test_an_archive_on_a_server_is_a_source(site: Site, tmp_path: Path, chain: str) -> None:
    """Read through HTTP; its documents keep their names and versions."""
    url = chain.format(site.url)

    async with aclosing(source_of(url)) as source:
        content = await read_all(source, tmp_path / "into")
        first = await scan(source)
    async with aclosing(source_of(url)) as source:
        second = await scan(source)

    assert content == CONTENT
    assert [(item.uri, item.etag) for item in first.values()] == [(item.uri, item.etag) for item in second.values()]
    assert first["a.txt"].uri == url.replace("://::", "://a.txt::")


async def test_a_login_is_sent_to_the_server(site: Site) -> None:
    """As a secret, not in the URL."""
    async with aclosing(source_of(f"zip://::{site.url}/docs.zip", secrets={"token": "s3cret"})) as source:
        await scan(source)

    assert {request.headers.get("authorization") for request in site.requests} == {"Bearer s3cret"}


async def test_private_addresses_are_refused(site: Site) -> None:
    """At the connection itself, whatever the name is; nothing reaches the server."""
    port = site.url.rpartition(":")[2]

    for host in ("127.0.0.1", "localhost"):
        async with aclosing(source_of(f"zip://::http://{host}:{port}/docs.zip", allow_private=False)) as source:
            with pytest.raises(AddressNotAllowedError):
                await scan(source)
    async with aclosing(source_of(f"ftp://localhost:{port}/", allow_private=False)) as source:
        with pytest.raises(AddressNotAllowedError):
            await scan(source)

    assert site.requests == []


async def test_archives_of_this_machine_lie_where_the_operator_says(tmp_path: Path) -> None:
    """As folders do, also behind a link."""
    (tmp_path / "allowed").mkdir()
    await asyncio.to_thread((tmp_path / "docs.zip").write_bytes, make_zip())
    (tmp_path / "allowed" / "link.zip").symlink_to(tmp_path / "docs.zip")

    for place in ("docs.zip", "allowed/../docs.zip", "allowed/link.zip"):
        async with aclosing(source_of(f"zip://::{tmp_path}/{place}", roots=[tmp_path / "allowed"])) as source:
            with pytest.raises(SourceNotAllowedError):
                await scan(source)


async def test_a_scan_leaves_out_what_folders_leave_out() -> None:
    """Hidden files, dependencies and files without text; an archive is a document that says what to do."""
    files, root = MemoryFileSystem(), f"/junk-{uuid4().hex}"
    for name in ("a.txt", ".hidden", ".git/config", "node_modules/x.js", "x.png", "b/c.zip"):
        files.pipe_file(f"{root}/{name}", b"content")

    async with aclosing(source_of(f"memory:/{root}")) as source:
        found = await scan(source)
        skipped = dict(source.skipped)
    files.rm(root, recursive=True)

    assert {path: item.error_code for path, item in found.items()} == {
        "a.txt": None,
        "b/c.zip": "archive_not_supported",
    }
    assert skipped == {"hidden": 2, "dependencies": 1, "binary": 1}
    assert f"zip://::memory:/{root}/b/c.zip" in (found["b/c.zip"].error_message or "")


async def test_gitignore_files_are_honoured_where_that_is_said() -> None:
    """By the rules for folders: a folder counts as one, a nearer file overrules, one that is too large is an error."""
    files, root = MemoryFileSystem(), f"/ignoring-{uuid4().hex}"
    rules = {".gitignore": "*.log\nbuild/\n", "docs/.gitignore": "!kept.log\n", "odd/.gitignore": "a" * 5000}
    for name in ("a.md", "x.log", "build/b.md", "docs/kept.log", "docs/deep/c.md", "docs/deep/y.log", "odd/d.md"):
        files.pipe(f"{root}/{name}", b"x")
    for name, content in rules.items():
        files.pipe(f"{root}/{name}", content.encode())

    async with aclosing(source_of(f"memory:/{root}", options={"gitignore": True})) as source:
        found = await scan(source)
        skipped, unseen = dict(source.skipped), list(source.unseen)
    async with aclosing(source_of(f"memory:/{root}")) as source:
        everything = await scan(source)

    assert {path: item.error_code for path, item in found.items()} == {
        "a.md": None,
        "docs/kept.log": None,
        "docs/deep/c.md": None,
        "odd/.gitignore": "unreadable_gitignore",
    }
    assert (skipped, unseen) == ({"hidden": 2, "gitignore": 3}, [f"memory:/{root}/odd/"])
    assert len(everything) == 7


async def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    """With its own name."""
    files, name = MemoryFileSystem(), f"/single-{uuid4().hex}.txt"
    files.pipe_file(name, b"content")

    async with aclosing(source_of(f"memory:/{name}")) as source:
        content = await read_all(source, tmp_path / "into")
    files.rm_file(name)

    assert content == {name.lstrip("/"): b"content"}


async def test_names_of_all_sorts_survive(tmp_path: Path) -> None:
    """Blanks, percent signs, other scripts and question marks lead back to their files."""
    files, root = MemoryFileSystem(), f"/names-{uuid4().hex}"
    names = {f"{root}/{name}": name.encode() for name in ("a b.txt", "50%25.txt", "ünï/c d.txt", "what?#x.txt")}
    for name, content in names.items():
        files.pipe_file(name, content)

    async with aclosing(source_of(f"memory:/{root}")) as source:
        found = await read_all(source, tmp_path / "into")
    files.rm(root, recursive=True)

    assert found == {name.removeprefix(f"{root}/"): body for name, body in names.items()}


async def test_a_damaged_archive_is_an_error_of_the_source(site: Site) -> None:
    """And one that is not there another."""
    site.put("/docs.zip", b"no archive")

    async with aclosing(source_of(f"zip://::{site.url}/docs.zip")) as damaged:
        with pytest.raises(SourceUnavailableError):
            await scan(damaged)
    async with aclosing(source_of(f"zip://::{site.url}/none.zip")) as missing:
        with pytest.raises(SourceNotFoundError):
            await scan(missing)


async def test_a_library_that_is_missing_is_named() -> None:
    """With what to install."""
    async with aclosing(source_of("s3://bucket/folder")) as source:
        with pytest.raises(SourceLibraryMissingError, match="s3fs"):
            await scan(source)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc", "local:///etc", "simplecache::http://h/x", "zip://a", "zip://a::simplecache::s3://b/x.zip",
        "reference://::http://h/x", "memory://a::zip://b", "s3://b/x::/etc/passwd", "generic://x",
    ],
)  # fmt: skip
def test_chains_that_lead_round_the_rules_are_refused(url: str) -> None:
    """What is not known to be safe is not read."""
    with pytest.raises(UnsupportedSourceError):
        check_filesystem(url, {}, {})


@pytest.mark.parametrize(
    ("url", "options", "secrets"),
    [
        ("sftp://h/x", {"key_filename": "/root/.ssh/id_rsa"}, {}),
        ("s3://b/x", {"profile": "admin"}, {}),
        ("gs://b/x", {}, {"token": "/etc/passwd"}),
        ("gs://b/x", {}, {"token": "google_default"}),
        ("az://c/x", {"account_name": "evil.example/x"}, {}),
        ("memory://x", {}, {"password": "x"}),
    ],
)
def test_options_that_lead_round_the_rules_are_refused(
    url: str, options: dict[str, Any], secrets: dict[str, str]
) -> None:
    """Keys and logins of this server's own are not for its users."""
    with pytest.raises(InvalidSourceError):
        check_source(kind_of(url), url, options=options, secrets=secrets)


def test_an_endpoint_is_looked_at_before_it_is_used() -> None:
    """An object store of one's own may be anywhere."""
    with pytest.raises(AddressNotAllowedError):
        Guard(allow_private=False).require("169.254.169.254")
    assert Guard(allow_private=True).require("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("https://u:p%40ss@h/a", "https://h/a", {"user": "u", "password": "p@ss"}),
        ("sftp://me@h/a", "sftp://h/a", {"user": "me"}),
        ("zip://d::ftp://u:p@h/a.zip", "zip://d::ftp://h/a.zip", {"user": "u", "password": "p"}),
        ("github://org:repo@main/docs", "github://org:repo@main/docs", {}),
        ("https://h/@a", "https://h/@a", {}),
        ("/home/me@home/x", "/home/me@home/x", {}),
        ("file:///a@b", "file:///a@b", {}),
    ],
)
def test_a_login_is_taken_out_of_a_url(url: str, shown: str, secrets: dict[str, str]) -> None:
    """And nothing else is."""
    assert split_login(url) == (shown, secrets)


def test_the_kind_follows_from_the_url() -> None:
    """A path is a folder, whatever it looks like."""
    kinds = [kind_of(url) for url in ("/srv", "C:x", "FILE:///srv", "https://h", "s3://b", "zip://::x.zip")]

    assert kinds == [SourceKind.DIRECTORY] * 3 + [SourceKind.WEB] + [SourceKind.FILESYSTEM] * 2
    with pytest.raises(UnsupportedSourceError):
        kind_of("gopher://h/")

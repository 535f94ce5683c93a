"""Git repositories: what is fetched of them, what is left out, and what cannot be had."""

import asyncio
import os
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.documents import Document, DocumentState, Fetched, ScannedDocument
from app.domain.errors import (
    AddressNotAllowedError,
    DomainError,
    SourceMovedError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceRefNotFoundError,
    SourceRefusesAccessError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from app.domain.identity import locator_of
from app.sources.git import GitSource
from app.sources.git_cache import KEPT, GitCache
from app.sources.git_listing import TooManyFilesError, read_entries
from app.sources.git_repository import GitAccess
from tests.sources.git_host import GitHost, Repository, git

CONTENT = {"a.txt": b"first", "guides/b.md": b"# second", "guides/deep/c.txt": b"third"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker has: its spool, and what it keeps there."""

    spool: Path
    cache: GitCache

    @classmethod
    def at(cls, folder: Path) -> "Workplace":
        """A worker that has just begun."""
        return cls(spool=folder, cache=GitCache(folder / "git", max_bytes=10**8))

    def open(self, url: str, *, secrets: dict[str, str] | None = None, **options: Any) -> GitSource:
        """A source of documents of at most 1 000 bytes that may be on this machine."""
        names = ("max_repository_bytes", "roots", "allow_private", "stall_seconds", "key")
        own = {name: options.pop(name) for name in names if name in options}
        access = GitAccess(
            secrets=secrets or {},
            cache=self.cache,
            spool=self.spool,
            **{
                "key": url,
                "max_bytes": own.pop("max_repository_bytes", 10**8),
                "allow_private": True,
                **own,
            },
        )
        return GitSource(url, access=access, **{"max_bytes": 1000, **options})


@pytest.fixture
def worker(tmp_path: Path) -> Workplace:
    """A worker."""
    return Workplace.at(tmp_path / "spool")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    """A server without repositories."""
    with GitHost(tmp_path / "served").running() as running:
        yield running


@pytest.fixture
def repository(host: GitHost) -> Repository:
    """A repository of three documents."""
    made = host.make()
    made.write_all(CONTENT)
    return made


async def scan(source: GitSource) -> dict[str, ScannedDocument]:
    """All documents by path."""
    return {item.path: item async for batch in source.scan() for item in batch}


async def scan_once(worker: Workplace, url: str, **options: Any) -> dict[str, ScannedDocument]:
    """What a fresh adapter finds."""
    async with aclosing(worker.open(url, **options)) as source:
        return await scan(source)


def to_document(item: ScannedDocument) -> Document:
    """The row that the manifest would have."""
    return Document(
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


async def fetch(source: GitSource, found: dict[str, ScannedDocument], into: Path) -> dict[str, Fetched]:
    """What becomes of documents, by path."""
    documents = [to_document(item) for item in found.values()]
    fetched = await source.fetch(documents, into)
    return {document.path: fetched[document.id] for document in documents}


async def read(source: GitSource, found: dict[str, ScannedDocument], into: Path) -> dict[str, bytes]:
    """Their bytes, or the codes of their errors, by path."""
    fetched = await fetch(source, found, into)
    return {
        path: str(item.error_code).encode()
        if item.path is None
        else await asyncio.to_thread(Path(item.path).read_bytes)
        for path, item in fetched.items()
    }


# --- what is fetched ----------------------------------------------------------------------------


async def test_a_scan_fetches_no_files(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """The one thing it asks for is the commit."""
    found = await scan_once(worker, host.url_of(repository))

    assert {path: item.etag for path, item in found.items()} == {
        path: f"blob {blob}" for path, (_, blob) in repository.files.items()
    }
    assert host.wants() == [git(repository.bare, "rev-parse", "main")]
    assert [item.uri for item in found.values()][1] == f"{host.url_of(repository)}/guides/b.md"


async def test_only_what_is_asked_for_is_fetched_in_one_go(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """By the ids of their blobs; what is here is not asked for again."""
    async with aclosing(worker.open(host.url_of(repository))) as source:
        found = await scan(source)
        wanted = {path: found[path] for path in ("a.txt", "guides/b.md")}
        host.asked.clear()

        first = await read(source, wanted, tmp_path / "into")
        asked = host.wants()
        again = await read(source, wanted, tmp_path / "again")

    assert first == again == {path: CONTENT[path] for path in wanted}
    assert sorted(asked) == sorted(repository.files[path][1] for path in wanted)
    assert host.wants() == asked


async def test_after_a_commit_only_its_files_are_fetched(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """The others keep their versions."""
    async with aclosing(worker.open(host.url_of(repository))) as source:
        before = await scan(source)
        await read(source, before, tmp_path / "before")
    blob = repository.write("a.txt", b"changed")
    host.asked.clear()

    async with aclosing(worker.open(host.url_of(repository))) as source:
        after = await scan(source)
        changed = {path: item for path, item in after.items() if item.etag != before[path].etag}
        content = await read(source, changed, tmp_path / "after")

    assert content == {"a.txt": b"changed"}
    assert host.wants() == [git(repository.bare, "rev-parse", "main"), blob]


async def test_a_run_without_a_commit_is_one_question(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """What was fetched before is kept while the worker lives."""
    before = await scan_once(worker, host.url_of(repository))
    host.asked.clear()

    after = await scan_once(worker, host.url_of(repository))

    assert after == before
    assert [(request.method, request.path, len(request.wants)) for request in host.asked] == [
        ("GET", "/a.git/info/refs", 0),
        ("POST", "/a.git/git-upload-pack", 0),
    ]


@pytest.mark.parametrize("version", ["0", "2"])
async def test_a_server_without_parts_sends_the_commit(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path, version: str
) -> None:
    """Also to a worker that has not scanned, and by the old protocol, which sends nothing by its id."""
    repository.set("uploadpack.allowFilter", "false")
    repository.set("protocol.version", version)
    if version == "0":
        host.forgets_protocol = True
    found = await scan_once(worker, host.url_of(repository))
    other = Workplace.at(tmp_path / "other")

    async with aclosing(other.open(host.url_of(repository))) as source:
        content = await read(source, found, tmp_path / "into")

    assert content == CONTENT


async def test_files_by_longer_ids(host: GitHost, worker: Workplace, tmp_path: Path) -> None:
    """A repository of sha256."""
    made = Repository(host.folder / "long.git", format="sha256")
    made.write_all(CONTENT)

    async with aclosing(worker.open(host.url_of(made))) as source:
        content = await read(source, await scan(source), tmp_path / "into")

    assert content == CONTENT


async def test_nothing_is_kept_of_what_nobody_reads(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """A worker keeps some repositories; secrets and answers it does not."""
    for number in range(KEPT + 3):
        await scan_once(worker, host.url_of(repository), key=str(number))

    kept = list((worker.spool / "git").iterdir())
    assert len(kept) == KEPT
    assert list(worker.spool.iterdir()) == [worker.spool / "git"]


# --- which documents there are ------------------------------------------------------------------


async def test_a_branch_or_a_tag_or_a_folder_is_read(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """A branch wins over a tag of its name; paths begin at the folder, URIs at the repository."""
    git(repository.bare, "tag", "--annotate", "-m", "x", "v1", "main")
    repository.files["new.txt"] = ("100644", repository.store(b"new"))
    repository.commit("next")
    git(repository.bare, "tag", "next", "main")
    url = host.url_of(repository)

    tagged = await scan_once(worker, url, options={"branch": "v1"}, key="1")
    branch = await scan_once(worker, url, options={"branch": "next"}, key="2")
    folder = await scan_once(worker, url, options={"folder": "guides"}, exclude=["deep/"], key="3")

    assert set(tagged) == set(CONTENT)
    assert set(branch) == {*CONTENT, "new.txt"}
    assert {path: item.uri for path, item in folder.items()} == {"b.md": f"{url}/guides/b.md"}


async def test_what_is_no_document_is_left_out_and_counted(
    host: GitHost, repository: Repository, worker: Workplace
) -> None:
    """As in folders, where a folder counts as one; links and submodules are not followed."""
    repository.files |= {
        ".github/a.md": ("100644", repository.store(b"x")),
        ".github/b.md": ("100644", repository.store(b"x")),
        "node_modules/a/b.md": ("100644", repository.store(b"x")),
        "logo.png": ("100644", repository.store(b"x")),
        "passwords.txt": ("120000", repository.store(b"/etc/passwd")),
        "inner": ("160000", "1" * 40),
        "run.sh": ("100755", repository.store(b"echo")),
        "a.zip": ("100644", repository.store(b"x")),
    }
    repository.commit()

    async with aclosing(worker.open(host.url_of(repository))) as source:
        found = await scan(source)
        skipped = dict(source.skipped)

    assert set(found) == {*CONTENT, "run.sh", "a.zip"}
    assert found["a.zip"].error_code == "archive_not_supported"
    assert skipped == {"hidden": 1, "dependencies": 1, "binary": 1, "links": 1, "submodules": 1}


async def test_any_name_of_a_file_survives(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """Line feeds, percent signs, bytes that are not UTF-8, what looks like an option, and what leads out."""
    names = ["-rf", "a\nb", "50%41", "b\udcff.txt", "f\u00fcr \u2028", "a:b", "c#d?e", "\U0001f40b"]
    repository.write_all({f"odd/{name}": name.encode("utf-8", "surrogateescape") for name in names})

    async with aclosing(worker.open(host.url_of(repository), options={"folder": "odd"})) as source:
        found = await scan(source)
        content = await read(source, found, tmp_path / "into")

    assert sorted(content.values()) == sorted(name.encode("utf-8", "surrogateescape") for name in names)
    assert len({item.uri for item in found.values()}) == len(names)
    assert all(item.uri.isascii() for item in found.values())


async def test_a_forced_push_costs_what_is_gone(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """Those documents have vanished, and the others are read by a worker that has nothing yet."""
    found = await scan_once(worker, host.url_of(repository))
    repository.files["a.txt"] = ("100644", repository.store(b"other"))
    del repository.files["guides/b.md"]
    repository.forget()

    async with aclosing(Workplace.at(tmp_path / "other").open(host.url_of(repository))) as source:
        content = await read(source, found, tmp_path / "into")
        after = await scan(source)

    assert content == {"a.txt": b"file_vanished", "guides/b.md": b"file_vanished", "guides/deep/c.txt": b"third"}
    assert set(after) == {"a.txt", "guides/deep/c.txt"}


def test_a_listing_of_two_files_of_one_name_gives_one(tmp_path: Path) -> None:
    """A server can send what git does not make; and no path may be longer than anybody reads."""
    file = tmp_path / "listing"
    file.write_bytes(b"100644 blob " + b"a" * 40 + b"\t" + b"x" * 100_000)

    with file.open("rb") as listing, pytest.raises(TooManyFilesError):
        list(read_entries(listing))


# --- what cannot be had -------------------------------------------------------------------------


async def expect(error: type[DomainError], work: Callable[[], Awaitable[object]]) -> str:
    """The message of the error that work ends with."""
    with pytest.raises(error) as raised:
        await work()
    assert type(raised.value) is error
    return raised.value.message


@pytest.mark.parametrize("secrets", [{"token": "s3cret"}, {"user": "oauth2", "password": "s3cret"}])
async def test_a_login_is_sent_and_shown_to_nobody(
    host: GitHost, repository: Repository, worker: Workplace, secrets: dict[str, str]
) -> None:
    """Without one, or with a wrong one, the source refuses."""
    host.login = f"Basic {b64encode(b'oauth2:s3cret').decode()}"
    url = host.url_of(repository)

    found = await scan_once(worker, url, secrets=secrets)
    without = await expect(SourceRefusesAccessError, lambda: scan_once(worker, url, key="2"))
    wrong = await expect(SourceRefusesAccessError, lambda: scan_once(worker, url, secrets={"token": "wr0ng"}, key="3"))

    assert set(found) == set(CONTENT)
    assert "wr0ng" not in wrong + without
    assert not any(b"s3cret" in file.read_bytes() for file in worker.spool.rglob("*") if file.is_file())


async def test_a_secret_is_in_no_command_line(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """Whoever lists the processes of the machine while git runs sees the URL alone."""
    host.stalls = True
    url = host.url_of(repository)
    async with aclosing(worker.open(url, secrets={"token": "s3cret"})) as source:
        scanning = asyncio.create_task(scan(source))
        commands = await until(lambda: [line for line in command_lines() if f":{host.port}/" in line])
        scanning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scanning
        left = await until(lambda: not any(f":{host.port}/" in line for line in command_lines()))

    assert not any("s3cret" in line or "Authorization" in line or "b2F1dGgy" in line for line in commands)
    assert left


def command_lines() -> list[str]:
    """Of all processes."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return [line for line in lines if line.startswith(("git", "/usr/bin/git", "/usr/lib/git-core"))]


async def until(find: Callable[[], Any]) -> Any:
    """What is found at last."""
    deadline = time.monotonic() + 20
    while not (found := find()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return found


async def test_a_redirect_is_not_followed_and_said(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """It may lead anywhere, and the login must not go there."""
    with GitHost(host.folder.parent / "elsewhere").running() as other:
        host.redirect = f"http://127.0.0.1:{other.port}/b.git"

        message = await expect(
            SourceMovedError, lambda: scan_once(worker, host.url_of(repository), secrets={"token": "x"})
        )

    assert f"http://127.0.0.1:{other.port}/b.git," in message
    assert other.asked == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["git+http", "git+ssh"])
async def test_private_addresses_are_refused(
    host: GitHost, repository: Repository, worker: Workplace, name: str, scheme: str
) -> None:
    """Under whatever name, before anybody is asked."""
    url = host.url_of(repository, host=name).replace("git+http", scheme)

    await expect(AddressNotAllowedError, lambda: scan_once(worker, url, allow_private=False, secrets={}))

    assert host.asked == []


async def test_the_connection_goes_to_the_address_that_was_checked(
    host: GitHost, repository: Repository, worker: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git does not resolve the name: only our resolver knows it."""
    loop = asyncio.get_running_loop()
    known = loop.getaddrinfo

    async def resolve(name: Any, port: Any, **options: Any) -> Any:
        return await known("127.0.0.1" if name == "nowhere.invalid" else name, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)

    found = await scan_once(worker, host.url_of(repository, host="nowhere.invalid"))

    assert set(found) == set(CONTENT)
    assert host.asked[0].headers["host"] == f"nowhere.invalid:{host.port}"


async def test_what_is_not_there_has_a_code(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """The repository, the branch, the folder, any commit."""
    url = host.url_of(repository)
    empty = host.make("empty.git")

    await expect(SourceNotFoundError, lambda: scan_once(worker, url.replace("a.git", "b.git"), key="1"))
    await expect(SourceRefNotFoundError, lambda: scan_once(worker, url, options={"branch": "nope"}, key="2"))
    await expect(SourceNotFoundError, lambda: scan_once(worker, url, options={"folder": "nope"}, key="3"))
    await expect(SourceRefNotFoundError, lambda: scan_once(worker, host.url_of(empty), key="4"))


async def test_a_server_that_says_nothing_is_given_up(host: GitHost, repository: Repository, worker: Workplace) -> None:
    """It may say more the next time."""
    host.stalls = True

    await expect(SourceUnavailableError, lambda: scan_once(worker, host.url_of(repository), stall_seconds=0.5))


async def test_a_huge_repository_is_given_up(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """Nobody has to have room for what a server sends; what it leaves behind is in nobody's way."""
    repository.write("huge.txt", os.urandom(3_000_000))
    repository.write("b.txt", b"small")
    url = host.url_of(repository)

    async with aclosing(worker.open(url, max_repository_bytes=1_000_000)) as source:
        found = await scan(source)
        await expect(SourceTooLargeError, lambda: source.fetch([to_document(found["huge.txt"])], tmp_path / "into"))

    async with aclosing(worker.open(url)) as source:
        content = await read(source, {"b.txt": found["b.txt"]}, tmp_path / "again")
    assert content == {"b.txt": b"small"}


async def test_settings_of_this_machine_are_not_used(
    host: GitHost, repository: Repository, worker: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither rewritten URLs, nor proxies, nor hooks, nor credentials of the worker's user."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        '[url "http://127.0.0.1:1/"]\n\tinsteadOf = http://\n[http]\n\tproxy = http://127.0.0.1:1\n'
    )
    (home / ".netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'http.proxy=http://127.0.0.1:1'")

    found = await scan_once(worker, host.url_of(repository))

    assert set(found) == set(CONTENT)
    assert not any("authorization" in request.headers for request in host.asked)


# --- repositories of this machine ---------------------------------------------------------------


async def test_a_repository_of_this_machine_lies_below_the_roots(
    repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """Also behind links, and whatever it borrows from."""
    roots = [tmp_path / "allowed"]
    inside = Repository(roots[0] / "in.git")
    inside.write_all(CONTENT)
    linked = roots[0] / "linked.git"
    linked.symlink_to(repository.bare)
    borrowing = Repository(roots[0] / "borrowing.git")
    (borrowing.bare / "objects/info/alternates").write_text(f"{repository.bare}/objects\n")
    worktree = roots[0] / "tree"
    worktree.mkdir()
    (worktree / ".git").write_text(f"gitdir: {repository.bare}\n")

    async with aclosing(worker.open(f"git+{inside.bare.as_uri()}", roots=roots)) as source:
        content = await read(source, await scan(source), tmp_path / "into")

    assert content == CONTENT
    for place in (repository.bare, linked, borrowing.bare, worktree, roots[0] / "../served/a.git"):
        url = f"git+file://{place}"
        await expect(SourceNotAllowedError, lambda url=url: scan_once(worker, url, roots=roots, key=url))  # type: ignore[misc]  # mypy cannot tell its type

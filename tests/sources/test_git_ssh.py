"""Git over SSH, with a real client and a real server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from app.domain.errors import AddressNotAllowedError, DomainError, SourceHostUnknownError, SourceRefusesAccessError
from tests.sources.git_host import CLEAN, Repository
from tests.sources.test_git import CONTENT, Workplace, read, scan, scan_once

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="the program ssh is not installed")


@dataclass
class SshHost:
    """A server that runs git for whoever has the key.

    Attributes:
        commands: what it was asked to run.
    """

    port: int
    key: str
    known_hosts: str
    commands: list[str] = field(default_factory=list)

    def url_of(self, repository: Repository, *, host: str = "127.0.0.1") -> str:
        """As a source."""
        return f"git+ssh://git@{host}:{self.port}{repository.bare}"

    def secrets(self) -> dict[str, str]:
        """Those that it wants."""
        return {"ssh_key": self.key, "known_hosts": self.known_hosts}


async def carry(source: Any, target: Any) -> None:
    """All bytes, until there are no more."""
    while part := await source.read(65_536):
        target.write(part)
        await target.drain()
    if not isinstance(target, asyncssh.SSHWriter):
        target.close()


@pytest.fixture
async def server(repository: Repository) -> AsyncIterator[SshHost]:
    """One with the repository."""
    own, theirs = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    host = SshHost(port=0, key=theirs.export_private_key().decode(), known_hosts="")

    async def serve(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        host.commands.append(process.command or "")
        child = await asyncio.create_subprocess_exec(
            "git",
            "upload-pack",
            str(repository.bare),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=CLEAN,
        )
        if child.stdin is None or child.stdout is None:
            raise AssertionError("the process was begun without pipes")
        hearing = asyncio.create_task(carry(process.stdin, child.stdin))
        await carry(child.stdout, process.stdout)
        hearing.cancel()
        process.exit(await child.wait())

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[own],
        authorized_client_keys=asyncssh.import_authorized_keys(theirs.export_public_key().decode()),
        process_factory=serve,
        encoding=None,
    )
    host.port = listener.get_port()
    host.known_hosts = f"[127.0.0.1]:{host.port} {own.export_public_key().decode()}"
    async with listener:
        yield host


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of three documents."""
    made = Repository(tmp_path / "served" / "a.git")
    made.write_all(CONTENT)
    return made


@pytest.fixture
def worker(tmp_path: Path) -> Workplace:
    """A worker."""
    return Workplace.at(tmp_path / "spool")


async def test_a_repository_is_read_with_a_key(
    server: SshHost, repository: Repository, worker: Workplace, tmp_path: Path
) -> None:
    """Once the key of the server is known; neither is left behind."""
    async with aclosing(worker.open(server.url_of(repository), secrets=server.secrets())) as source:
        content = await read(source, await scan(source), tmp_path / "into")

    assert content == CONTENT
    assert set(server.commands) == {f"git-upload-pack '{repository.bare}'"}
    assert not any(b"PRIVATE KEY" in file.read_bytes() for file in worker.spool.rglob("*") if file.is_file())


async def test_only_its_own_user_can_read_a_key(server: SshHost, repository: Repository, worker: Workplace) -> None:
    """While it is there."""
    async with aclosing(worker.open(server.url_of(repository), secrets=server.secrets())) as source:
        await scan(source)
        desk = next(path for path in worker.spool.iterdir() if path.name.startswith("git-"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in [desk, *desk.iterdir()]}

    assert modes[desk.name] == 0o700
    assert modes["key"] == modes["known_hosts"] == 0o600


async def test_a_server_that_is_not_known_is_refused(
    server: SshHost, repository: Repository, worker: Workplace
) -> None:
    """Before it gets to see who we are."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    for number, known in enumerate((f"[127.0.0.1]:{server.port} {other}", f"example.org {other}", None)):
        secrets = {"ssh_key": server.key} | ({} if known is None else {"known_hosts": known})
        with pytest.raises(SourceHostUnknownError):
            await scan_once(worker, server.url_of(repository), secrets=secrets, key=str(number))

    assert server.commands == []


@pytest.mark.parametrize("key", ["", "no key", "other"])
async def test_another_key_or_none_is_refused(
    server: SshHost, repository: Repository, worker: Workplace, key: str
) -> None:
    """Keys and agents of this machine are not used instead."""
    if key == "other":
        key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    secrets = {"known_hosts": server.known_hosts} | ({"ssh_key": key} if key else {})

    with pytest.raises(DomainError) as refused:
        await scan_once(worker, server.url_of(repository), secrets=secrets)

    assert type(refused.value) is SourceRefusesAccessError
    assert server.commands == []


async def test_private_addresses_are_refused(server: SshHost, repository: Repository, worker: Workplace) -> None:
    """As over HTTP."""
    with pytest.raises(AddressNotAllowedError):
        await scan_once(
            worker, server.url_of(repository, host="localhost"), secrets=server.secrets(), allow_private=False
        )

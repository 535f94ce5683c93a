"""A process that owns a data folder until it is killed, and what tests ask about such processes."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from app.embedded.children import Server, Service
from app.embedded.folder import DataFolder
from app.embedded.postgres import Postgres
from app.embedded.stack import EmbeddedStack
from app.embedded.valkey import Valkey

DEADLINE_SECONDS = 30.0


@contextmanager
def temporary_folder(name: str = "data") -> Iterator[Path]:
    """A path with a short and plain parent, removed with everything in it at the end."""
    parent = Path(tempfile.mkdtemp(prefix="vecloom-test-"))
    try:
        yield parent / name
    finally:
        shutil.rmtree(parent)


async def wait_until(predicate: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Poll until ``predicate`` is true; ``TimeoutError`` after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110 - the state of other processes sets no event here
            await asyncio.sleep(0.02)


async def wait_until_ready(server: Server) -> None:
    """Poll until a server answers."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await server.is_ready():  # noqa: ASYNC110 - another process becomes ready and sets no event
            await asyncio.sleep(0.02)


def list_processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose working directory is the folder or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def list_readable_by_others(folder: Path) -> list[Path]:
    """Everything below a folder that another user could read or list."""
    return [path for path in folder.rglob("*") if not path.is_symlink() and path.lstat().st_mode & 0o066]


@asynccontextmanager
async def running(
    server_class: type[Postgres] | type[Valkey], data: Path
) -> AsyncIterator[tuple[Any, Service, list[str]]]:
    """One server of the stack, without the others: the server, its service, names of unexpected ends."""
    folder = DataFolder(data)
    ends: list[str] = []
    with folder.lock():
        folder.open_run_folder()
        server = server_class(folder)
        service = Service(server, on_end=ends.append)
        try:
            await service.start()
            yield server, service, ends
        finally:
            await service.stop()


def get_pid(service: Service) -> int:
    """Process id of a service that has started."""
    assert service.pid is not None
    return service.pid


class Owner:
    """Another process that owns a data folder."""

    def __init__(self, what: str, data: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded.owner", what, str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        )

    @cached_property
    def told(self) -> dict[str, Any]:
        """What it said when it was ready; waits until then."""
        assert self._process.stdout is not None
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it without any chance to clean up."""
        self._process.kill()
        self.close()

    def terminate(self) -> None:
        """Ask it to end in order."""
        self._process.send_signal(signal.SIGTERM)
        self.close()

    def close(self) -> None:
        """Wait for its end."""
        self._process.wait(timeout=DEADLINE_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def owner(what: str, data: Path, *, ready: bool = True) -> Iterator[Owner]:
    """An owner, ready or just begun, that is dead at the end with all its servers."""
    process = Owner(what, data)
    try:
        if ready:
            assert process.told["pid"] == process.pid
        yield process
    finally:
        process.kill()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while list_processes_in(data) and time.monotonic() < deadline:
            time.sleep(0.02)


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")
    sys.stdout.flush()


async def _own(what: str, data: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    if what == "folder":
        with DataFolder(data).lock():
            _tell()
            await ended.wait()
    elif what == "stack":
        async with EmbeddedStack(data) as stack:
            _tell(database=stack.database_url, redis=stack.redis_url, qdrant=stack.qdrant_url, pids=stack.pids)
            await ended.wait()
    else:
        servers: dict[str, type[Postgres | Valkey]] = {"postgres": Postgres, "valkey": Valkey}
        async with running(servers[what], data) as (server, service, _):
            _tell(url=server.url, child=service.pid)
            await ended.wait()


def seconds_since(begun: float) -> float:
    """Seconds on the monotonic clock."""
    return time.monotonic() - begun


if __name__ == "__main__":
    asyncio.run(_own(sys.argv[1], Path(sys.argv[2])))

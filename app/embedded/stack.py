"""The embedded stack: Postgres, Valkey and the vector server, started together and kept running."""

import asyncio
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from app.embedded.children import RESTART_MAX_SECONDS, Command, Service
from app.embedded.folder import DataFolder
from app.embedded.postgres import Postgres
from app.embedded.valkey import Valkey

REQUEST_SECONDS = 2.0
TERMINATE = (signal.SIGTERM, 10.0)
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TMPDIR", "LANG")
"""What a Python may need to start; the rest of the environment may hold secrets and stays here."""

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class Vectors:
    """The embedded vector server: its own process, on a loopback port, with an API key."""

    name = "vectors"

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.path / "vectors"
        self._port_file = folder.path / "vectors.port"
        self._key_file = folder.path / "vectors.key"
        self._port = 0
        self.api_key = ""

    @property
    def url(self) -> str:
        """HTTP address."""
        return f"http://127.0.0.1:{self._port}"

    def build_command(self) -> Command:
        """The server's module in a Python of its own; after the first start on the same port again."""
        port = ("--port", str(self._port)) if self._port else ()
        files = ("--port-file", str(self._port_file), "--api-key-file", str(self._key_file))
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        module = (sys.executable, "-m", "app.embedded.vectors")
        return Command(
            name=self.name,
            arguments=(*module, "--data", str(self._data), *files, *port),
            folder=self._data,
            log=self._folder.logs / "vectors.log",
            lock=self._folder.locks / "vectors.lock",
            environment={**inherited, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": "1"},
            stop_signals=(TERMINATE,),
        )

    async def prepare(self, lock: int) -> None:  # noqa: ARG002 - nothing but the server itself needs the lock
        """Create its folder and its key, and remove the port file of an earlier start."""
        self._folder.make_private_folder(self._data)
        self._port_file.unlink(missing_ok=True)
        if not self._key_file.exists():
            self._folder.write_private(self._key_file.name, secrets.token_urlsafe(32).encode())
        self.api_key = self._key_file.read_text().strip()

    async def is_ready(self) -> bool:
        """Whether it has told its port and answers an authenticated request."""
        try:
            self._port = int(self._port_file.read_text())
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._answers()
        except (OSError, ValueError):
            return False

    async def _answers(self) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = (
                f"GET /collections HTTP/1.1\r\nHost: 127.0.0.1\r\napi-key: {self.api_key}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode())
            return b" 200 " in await reader.readline()
        finally:
            writer.close()


class EmbeddedStack:
    """Everything Vecloom needs from outside, as child processes under one data folder.

    Entering it takes the folder for this process, starts the three servers at once and returns when all
    answer. A server that ends is started again on the same address. Leaving it stops them in reverse order.
    Enter it on a thread that lives as long as the stack, such as the main one.

    Args:
        folder: the data folder; created if missing.
        longest_restart_seconds: most that it waits before it starts a server again that ends over and over.
    """

    def __init__(self, folder: Path, *, longest_restart_seconds: float = RESTART_MAX_SECONDS) -> None:
        self.folder = DataFolder(folder)
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        self._resources = AsyncExitStack()
        self._postgres = Postgres(self.folder)
        self._valkey = Valkey(self.folder)
        self._vectors = Vectors(self.folder)
        self._services = {
            server.name: Service(server, on_end=self._ended.put_nowait, longest_restart_seconds=longest_restart_seconds)
            for server in (self._postgres, self._valkey, self._vectors)
        }

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL for asyncpg over the unix socket."""
        return self._postgres.url

    @property
    def redis_url(self) -> str:
        """Redis URL of the unix socket."""
        return self._valkey.url

    @property
    def qdrant_url(self) -> str:
        """Address of the vector server."""
        return self._vectors.url

    @property
    def qdrant_api_key(self) -> str:
        """Key of the vector server."""
        return self._vectors.api_key

    @property
    def pids(self) -> dict[str, int | None]:
        """Process id of each server by name."""
        return {name: service.pid for name, service in self._services.items()}

    @property
    def start_seconds(self) -> dict[str, float]:
        """How long each server took from the first look at its data to its first answer."""
        return {name: service.start_seconds for name, service in self._services.items()}

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            DataFolderBusyError: another process owns the folder.
            DataFolderUnusableError: the folder cannot be created, written or understood.
            EmbeddedStartError: a server did not start; whatever had started is stopped again.
        """
        async with AsyncExitStack() as resources:
            resources.enter_context(self.folder.lock())
            self.folder.open_run_folder()
            resources.callback(self._remove_temporary_run_folder)
            for service in self._services.values():
                resources.push_async_callback(service.stop)
            await self._start_all()
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, also when cancelled meanwhile: no server outlives the folder's lock."""
        stopping = asyncio.create_task(self._resources.aclose(), name="stop-embedded-stack")
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await asyncio.wait({stopping})
            raise

    async def wait_for_failure(self) -> str:
        """Wait until a server ends without being asked to; its name. It is being restarted then."""
        return await self._ended.get()

    async def _start_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for service in self._services.values():
                    group.create_task(service.start())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    def _remove_temporary_run_folder(self) -> None:
        if self.folder.run.parent == self.folder.path:
            return
        with suppress(OSError):
            self._postgres.socket_folder.rmdir()
            self.folder.run.rmdir()

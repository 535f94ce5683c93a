"""A connection between two processes that can be cut: what a network does."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

Address = Path | tuple[str, int]
CHUNK_BYTES = 65_536


class Forwarder:
    """Forwards connections to another address, a unix socket's path or a host and port.

    Attributes:
        flowing: cleared, it forwards nothing in either direction and takes new connections only to hold them.
    """

    def __init__(self, listen: Address, target: Address) -> None:
        self._listen = listen
        self._target = target
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def open(self) -> None:
        """Take connections."""
        if self._server is not None:
            return
        if isinstance(self._listen, Path):
            self._listen.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._take, self._listen)
        else:
            self._server = await asyncio.start_server(self._take, *self._listen)

    async def close(self) -> None:
        """Refuse connections and drop those there are."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.drop()

    async def drop(self) -> None:
        """Break all connections; new ones are taken."""
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cancel()
        if pipes:
            await asyncio.wait(pipes, timeout=5)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = asyncio.create_task(self._forward(reader, writer))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            try:
                await self.flowing.wait()
                inner_reader, inner_writer = await self._connect()
                try:
                    await _first(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
                finally:
                    inner_writer.transport.abort()
            finally:
                writer.transport.abort()

    def _connect(self) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if isinstance(self._target, Path):
            return asyncio.open_unix_connection(self._target)
        return asyncio.open_connection(*self._target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self.flowing.wait()
                writer.write(data)
                await writer.drain()


async def _first(*pumps: Awaitable[None]) -> None:
    """Until one side has ended."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

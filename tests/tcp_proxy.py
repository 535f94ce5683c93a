"""A line between a client and a server that breaks once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

PART = 64 * 1024


class BreakingProxy:
    """Carries bytes, and closes the connection that carries the one behind ``break_after`` of all that are sent."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.url = ""
        self.break_after: int | None = None
        self.carried = 0
        self.breaks = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        both = {
            asyncio.create_task(self._carry(reader, back, counts=True)),
            asyncio.create_task(self._carry(there, writer, counts=False)),
        }
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.wait(both)
        for end in (back, writer):
            end.close()
            with suppress(OSError):
                await end.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        with suppress(OSError):
            while content := await reader.read(PART):
                if counts:
                    self.carried += len(content)
                    if self.break_after is not None and self.carried > self.break_after:
                        self.break_after = None
                        self.breaks += 1
                        return
                writer.write(content)
                await writer.drain()

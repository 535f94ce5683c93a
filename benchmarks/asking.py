"""A client that costs so little that it is not what is measured: POST over kept connections, nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx

END = b"\r\n\r\n"
LENGTH = b"content-length:"
KEPT_SECONDS = 2.0
"""Less than the five that uvicorn keeps a connection that nobody uses."""


class Asker:
    """Posts JSON to one server that answers with a declared length, as ours does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        address = urlsplit(str(client.base_url))
        self._host, self._port = address.hostname or "", address.port or 80
        names = {"host": address.netloc, "authorization": client.headers["authorization"]}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            OSError, asyncio.IncompleteReadError: the connection failed.
        """
        reader, writer = await self._connect()
        head = f"POST {path} HTTP/1.1\r\n{self._headers}content-type: application/json\r\ncontent-length: {len(body)}"
        writer.write(head.encode() + END + body)
        answered = await reader.readuntil(END)
        lines = answered.lower().split(b"\r\n")
        length = next(int(line[len(LENGTH) :]) for line in lines if line.startswith(LENGTH))
        content = await reader.readexactly(length)
        self._idle.append((time.monotonic(), reader, writer))
        return int(answered.split(maxsplit=2)[1]), content

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection that was used last, or a new one if the server may have closed that."""
        while self._idle:
            used_at, reader, writer = self._idle.pop()
            if time.monotonic() - used_at < KEPT_SECONDS:
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Let the connections go."""
        for _, _, writer in self._idle:
            writer.close()


@asynccontextmanager
async def asking(client: httpx.AsyncClient) -> AsyncIterator[Asker]:
    """Ask the server of a client, with its key."""
    asker = Asker(client)
    try:
        yield asker
    finally:
        asker.close()

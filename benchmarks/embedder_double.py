"""An OpenAI-compatible embeddings server that costs next to nothing: ``python -m benchmarks.embedder_double``.

It waits instead of computing, serves so many requests at once and lets the others queue, refuses batches that are too
large, and writes down when it was busy. ``GET /log`` gives that, ``DELETE /log`` forgets it.
"""

import argparse
import asyncio
import base64
import sys
import time
import zlib
from collections import deque
from typing import Any

import httptools
import numpy as np
import orjson
import uvloop

VECTORS = 1024


class Model:
    """Vectors picked by a text's checksum, ready to be sent."""

    def __init__(self, dimension: int) -> None:
        table = np.random.default_rng(0).standard_normal((VECTORS, dimension), dtype=np.float32)
        table /= np.linalg.norm(table, axis=1, keepdims=True)
        self._base64 = [b'"%b"' % base64.b64encode(row.tobytes()) for row in table]
        self._floats = [orjson.dumps(row.tolist()) for row in table]

    def answer(self, texts: list[str], *, as_base64: bool) -> bytes:
        """The body of an answer."""
        table = self._base64 if as_base64 else self._floats
        rows = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % (index, table[_pick(text)])
            for index, text in enumerate(texts)
        )
        usage = b'{"prompt_tokens":0,"total_tokens":0}'
        return b'{"object":"list","model":"double","usage":%b,"data":[%b]}' % (usage, rows)


def _pick(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "replace")) % VECTORS


class Slots:
    """Requests served at once, the others in order of arrival; each is logged as arrival, begin, end and texts."""

    def __init__(self, count: int, *, latency_seconds: float) -> None:
        self._free = count
        self._latency_seconds = latency_seconds
        self._waiting: deque[tuple[float, Connection, list[str], bool]] = deque()
        self.log: list[tuple[float, float, float, int]] = []

    def take(self, connection: "Connection", texts: list[str], *, as_base64: bool) -> None:
        """Serve a request now, or when others are done."""
        self._waiting.append((time.time(), connection, texts, as_base64))
        self._begin()

    def _begin(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            asyncio.get_running_loop().call_later(
                self._latency_seconds, self._end, time.time(), *self._waiting.popleft()
            )

    def _end(self, begun: float, arrived: float, connection: "Connection", texts: list[str], as_base64: bool) -> None:  # noqa: FBT001 — call_later has no keywords
        connection.send_vectors(texts, as_base64=as_base64)
        self.log.append((arrived, begun, time.time(), len(texts)))
        self._free += 1
        self._begin()


class Connection(asyncio.Protocol):
    """One client's connection; it asks again only after it has its answer, as HTTP/1.1 clients do."""

    def __init__(self, model: Model, slots: Slots, *, max_texts: int) -> None:
        self._model, self._slots, self._max_texts = model, slots, max_texts
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See the base."""
        self._transport = transport  # type: ignore[assignment]  # a stream's transport, though the base says less

    def data_received(self, data: bytes) -> None:
        """See the base."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """The parser's."""
        self._url, self._body = url, bytearray()

    def on_body(self, body: bytes) -> None:
        """The parser's."""
        self._body += body

    def on_message_complete(self) -> None:
        """The parser's."""
        if self._url == b"/log":
            if self._parser.get_method() == b"DELETE":
                self._slots.log.clear()
            self._send(orjson.dumps(self._slots.log))
            return
        request: dict[str, Any] = orjson.loads(self._body)
        texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
        if len(texts) > self._max_texts:
            self._send(b'{"error":{"message":"batch too large","type":"validation"}}', status=b"422 Unprocessable")
            return
        self._slots.take(self, texts, as_base64=request.get("encoding_format") == "base64")

    def send_vectors(self, texts: list[str], *, as_base64: bool) -> None:
        """Answer the open request."""
        self._send(self._model.answer(texts, as_base64=as_base64))

    def _send(self, body: bytes, *, status: bytes = b"200 OK") -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            self._transport.write(head + body)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until killed; the port is the first line of stdout."""
    model = Model(arguments.dimension)
    slots = Slots(arguments.slots, latency_seconds=arguments.latency_ms / 1000)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(model, slots, max_texts=arguments.max_texts), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--max-texts", type=int, default=32)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--dimension", type=int, default=256)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""A double of an OpenAI-compatible model server: a real socket on a thread of its own, with faults on demand."""

import asyncio
import base64
import hashlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Address
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.domain.points import Vectors

START_SECONDS = 10.0


class Fault(StrEnum):
    """What is wrong with an answer of status 200, or with the connection."""

    NOT_JSON = "not_json"
    NO_DATA = "no_data"
    NAN = "nan"
    ZERO = "zero"
    HUGE = "huge"
    WRONG_DIMENSION = "wrong_dimension"
    MIXED_DIMENSIONS = "mixed_dimensions"
    MISSING_ROW = "missing_row"
    DOUBLE_ROW = "double_row"
    BROKEN_BASE64 = "broken_base64"
    NESTED = "nested"
    CLOSE = "close"
    DRIP = "drip"


class Encoding(StrEnum):
    """What the server does when it is asked for base64."""

    BASE64 = "base64"
    FLOAT = "float"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One answer decided beforehand."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    fault: Fault | None = None


class _ClosedResponse(Response):
    """Promises more than it sends; the server then drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a beginning and nothing else."""
        del scope, receive
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"data": [', "more_body": False})


class FakeModelServer:
    """``POST /v1/embeddings`` with vectors that depend on the words of a text alone, so like texts are alike.

    The attributes may be changed at any time, from any thread; ``running`` starts and stops it.

    Attributes:
        model: the only model it knows; another name is 404 with OpenAI's error object.
        batch_limit: more texts than this are answered with 422.
        token_limit: more words than this in one request are answered with 413.
        busy_above: while more requests than this are open, new ones are answered with 429 and ``retry_after``.
        delay_seconds: how long every answer waits.
        seconds_per_text: how long an answer waits for each of its texts, one request at a time.
        held: while true, no request is answered.
        poison: a batch with a text that contains this is refused with ``poison_status``.
        shuffled: rows come in reverse order, each with its right index.
        texts: every text it embedded, in order of arrival.
        batches: how many texts each answered request had.
        refused: the status of every refusal.
        clients: the other ends of all its connections.
        requests: how many requests came, refused ones included.
        peak: the most requests that were ever open at once.
    """

    def __init__(
        self,
        *,
        model: str = "fake-model",
        dimension: int = 16,
        encoding: Encoding = Encoding.BASE64,
        batch_limit: int | None = None,
        api_key: str | None = None,
        internal_key: str | None = None,
    ) -> None:
        self.model = model
        self.dimension = dimension
        self.encoding = encoding
        self.batch_limit = batch_limit
        self.api_key = api_key
        self.internal_key = internal_key
        self.salt = ""
        self.token_limit: int | None = None
        self.busy_above: int | None = None
        self.retry_after: str | None = None
        self.delay_seconds = 0.0
        self.seconds_per_text = 0.0
        self.held = False
        self.poison: str | None = None
        self.poison_status = 400
        self.shuffled = False
        self.scripted: deque[Scripted] = deque()
        self.texts: list[str] = []
        self.batches: list[int] = []
        self.encodings: list[str | None] = []
        self.refused: list[int] = []
        self.clients: set[Address | None] = set()
        self.requests = 0
        self.open = 0
        self.peak = 0
        self._computing = asyncio.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Base URL, with ``/v1``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def fail_next(
        self, status: int, *, times: int = 1, headers: Mapping[str, str] | None = None, body: object = None
    ) -> None:
        """Answer the next requests with this status."""
        answer = Scripted(status=status, headers=headers or {}, body=body or {"error": {"message": "as told"}})
        self.scripted.extend([answer] * times)

    def spoil_next(self, fault: Fault, *, times: int = 1) -> None:
        """Answer the next requests with something that cannot be used."""
        self.scripted.extend([Scripted(fault=fault)] * times)

    def vector_of(self, text: str) -> Vectors:
        """The vector it gives a text, float32, not normalised; another ``salt`` is another model."""
        total: Vectors = np.zeros(self.dimension, dtype=np.float32)
        for word in text.lower().split() or [""]:
            digest = hashlib.shake_256(f"{self.salt}{word}".encode()).digest(self.dimension)
            total += np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
        return total

    @contextmanager
    def running(self) -> Iterator["FakeModelServer"]:
        """Serve until the block ends; afterwards connections are refused."""
        application = Starlette(routes=[Route("/v1/embeddings", self._embed, methods=["POST"])])
        config = uvicorn.Config(
            application, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, name="model-server")
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                assert thread.is_alive(), "the model server did not start"
                assert time.monotonic() < deadline, "the model server did not start in time"
                time.sleep(0.005)
            yield self
        finally:
            self.held = False
            server.should_exit = True
            thread.join()
            self._listener.close()

    async def _embed(self, request: Request) -> Response:
        self.requests += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        self.clients.add(request.client)
        try:
            return await self._answer(request)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self.open -= 1

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        if self.busy_above is not None and self.open > self.busy_above:
            return self._note(_refusal(429, "busy", {"Retry-After": self.retry_after} if self.retry_after else None))
        await asyncio.sleep(self.delay_seconds)
        async with self._computing:
            await asyncio.sleep(self.seconds_per_text * len(body["input"]))
        while self.held and not await request.is_disconnected():  # noqa: ASYNC110 — set from other threads
            await asyncio.sleep(0.01)
        scripted = self.scripted.popleft() if self.scripted else Scripted()
        if scripted.status != 200:
            return self._note(JSONResponse(scripted.body, scripted.status, headers=dict(scripted.headers)))
        refusal = self._refuse(request, body)
        if refusal is not None:
            return self._note(refusal)
        self.texts += body["input"]
        self.batches.append(len(body["input"]))
        self.encodings.append(body.get("encoding_format"))
        rows = self._rows(body["input"], as_base64=self._sends_base64(body), fault=scripted.fault)
        return self._render(rows, scripted.fault)

    def _note(self, refusal: Response) -> Response:
        self.refused.append(refusal.status_code)
        return refusal

    def _refuse(self, request: Request, body: dict[str, Any]) -> Response | None:
        authorization, internal_key = (request.headers.get(name) for name in ("authorization", "x-internal-api-key"))
        texts = body["input"]
        reasons = (
            (self.api_key is not None and authorization != f"Bearer {self.api_key}", 401, "invalid_api_key"),
            (self.internal_key is not None and internal_key != self.internal_key, 403, "invalid_internal_key"),
            (body["model"] != self.model, 404, "model_not_found"),
            (self.encoding is Encoding.REJECT and "encoding_format" in body, 400, "unknown_parameter"),
            (self.batch_limit is not None and len(texts) > self.batch_limit, 422, "batch_too_large"),
            (self.token_limit is not None and len(" ".join(texts).split()) > self.token_limit, 413, "too_many_tokens"),
            (not all(text.strip() for text in texts), 400, "empty_input"),
            (self.poison is not None and any(self.poison in text for text in texts), self.poison_status, "bad_text"),
        )
        return next((_refusal(status, code) for applies, status, code in reasons if applies), None)

    def _sends_base64(self, body: dict[str, Any]) -> bool:
        return self.encoding is Encoding.BASE64 and body.get("encoding_format") == "base64"

    def _rows(self, texts: Sequence[str], *, as_base64: bool, fault: Fault | None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            vector = _spoil(self.vector_of(text), fault, index)
            encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_base64 else vector.tolist()
            rows.append({"object": "embedding", "index": index, "embedding": encoded})
        if fault is Fault.MISSING_ROW:
            rows.pop()
        if fault is Fault.DOUBLE_ROW:
            rows.append(rows[0])
        if fault is Fault.BROKEN_BASE64:
            rows[0]["embedding"] = "%%%"
        if fault is Fault.NESTED:
            rows = [{**row, "embedding": [[1.0, 0.0], [0.0, 1.0]]} for row in rows]
        return rows[::-1] if self.shuffled else rows

    def _render(self, rows: list[dict[str, Any]], fault: Fault | None) -> Response:
        if fault is Fault.NOT_JSON:
            return Response("<html>proxy</html>", media_type="text/html")
        if fault is Fault.NO_DATA:
            return JSONResponse({"object": "list"})
        if fault is Fault.CLOSE:
            return _ClosedResponse()
        content = json.dumps({"object": "list", "model": self.model, "data": rows}).encode()
        if fault is Fault.DRIP:
            return StreamingResponse(_drip(content), media_type="application/json")
        return Response(content, media_type="application/json")


def _spoil(vector: Vectors, fault: Fault | None, index: int) -> Vectors:
    if fault is Fault.NAN:
        return np.full_like(vector, np.nan)
    if fault is Fault.ZERO:
        return np.zeros_like(vector)
    if fault is Fault.HUGE:
        return np.full_like(vector, 3e38)
    if fault is Fault.WRONG_DIMENSION or (fault is Fault.MIXED_DIMENSIONS and index == 0):
        return vector[:-1]
    return vector


def _refusal(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    error = {"message": f"refused: {code}", "type": "invalid_request_error", "code": code}
    return JSONResponse({"error": error}, status, headers=headers)


async def _drip(content: bytes) -> AsyncIterator[bytes]:
    """One byte every 50 ms: no single read ever takes long."""
    for position in range(len(content)):
        yield content[position : position + 1]
        await asyncio.sleep(0.05)

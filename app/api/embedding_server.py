"""``vecloom embed-server``: a model of this machine for many workers, under OpenAI's contract ``/v1/embeddings``."""

import asyncio
import base64
import hmac
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import orjson
import structlog
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.domain.errors import DomainError, TransientError
from app.domain.points import Vectors
from app.pipeline.embedding_line import EmbeddingLine
from app.pipeline.fair_queue import Customer

log = structlog.get_logger(__name__)

KEY_HEADER = "x-internal-api-key"
RETRY_AFTER_SECONDS = 1
CHARACTERS_PER_TOKEN = 4
"""A guess, for packing and for sharing; the model's own count is not known here."""
ROWS_PER_TURN = 50
"""Rows that are encoded before others may run."""


class _RefusedError(Exception):
    """A request gets this answer instead of vectors."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    def answer(self) -> Response:
        """In OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        error = {"message": str(self), "type": kind, "code": self.code}
        return JSONResponse({"error": error}, self.status, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for."""

    texts: list[str]
    as_base64: bool


def read_request(content: bytes, *, model: str) -> Wanted:
    """Read a body; raises what refuses it."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise _RefusedError(400, "invalid_json", "the body is no JSON") from None
    if not isinstance(body, dict) or "input" not in body:
        raise _RefusedError(400, "missing_input", "the body must be an object with `input`")
    if body.get("model", model) != model:
        raise _RefusedError(404, "model_not_found", f"this server has only the model {model!r}")
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise _RefusedError(400, "invalid_input", "`input` must be a text or a list of texts")
    encoding = body.get("encoding_format") or "float"
    if encoding not in {"float", "base64"}:
        raise _RefusedError(400, "invalid_encoding", "`encoding_format` must be `float` or `base64`")
    return Wanted(texts=texts, as_base64=encoding == "base64")


class EmbeddingServer:
    """Answers requests over one line, which packs the texts of all of them together.

    Args:
        dimension: length of the model's vectors.
        key: what callers send as ``X-Internal-Api-Key``; None lets everybody in.
        queue: texts that may wait; a request that finds some waiting and does not fit is answered 429.
        max_bytes: largest body.
    """

    def __init__(
        self, line: EmbeddingLine, *, model: str, dimension: int, key: str | None, queue: int, max_bytes: int
    ) -> None:
        self._line = line
        self._model = model
        self._dimension = dimension
        self._key = None if key is None else key.encode()
        self._queue = queue
        self._max_bytes = max_bytes
        self._waiting = 0
        self.is_stopping = False

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/embeddings", self._embed, methods=["POST"]),
                Route("/v1/models", self._list_models),
                Route("/health/live", self._read_live),
                Route("/health/ready", self._read_ready),
                Route("/metrics", self._read_metrics),
            ]
        )

    async def _embed(self, request: Request) -> Response:
        try:
            self._check_key(request)
            wanted = read_request(await self._read_body(request), model=self._model)
            vectors = await self._make_vectors(request, wanted.texts)
        except _RefusedError as refused:
            return refused.answer()
        except ClientDisconnect:
            return Response(status_code=499)
        content = await encode_answer(vectors, model=self._model, wanted=wanted)
        return Response(content, media_type="application/json")

    def _check_key(self, request: Request) -> None:
        given = request.headers.get(KEY_HEADER, "").encode("latin-1")
        if self._key is not None and not hmac.compare_digest(given, self._key):
            raise _RefusedError(401, "invalid_internal_key", "X-Internal-Api-Key is missing or wrong")

    async def _read_body(self, request: Request) -> bytes:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > self._max_bytes:
                raise _RefusedError(413, "request_too_large", f"a request has at most {self._max_bytes} bytes")
        return bytes(content)

    async def _make_vectors(self, request: Request, texts: list[str]) -> Vectors:
        """Wait in line, unless it is too long or the caller goes away."""
        if self._waiting and self._waiting + len(texts) > self._queue:
            message = f"{self._waiting} texts are waiting"
            raise _RefusedError(429, "queue_full", message, retry_after=RETRY_AFTER_SECONDS)
        self._waiting += len(texts)
        work = asyncio.create_task(self._ask_line(_caller_of(request), texts))
        gone = asyncio.create_task(_wait_until_gone(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise ClientDisconnect
            return work.result()
        finally:
            work.cancel()
            gone.cancel()
            self._waiting -= len(texts)

    async def _ask_line(self, caller: UUID, texts: list[str]) -> Vectors:
        customer = Customer(user=caller, operation=uuid4(), go_on=_go_on, on_wait=_hear, busy=lambda _: nullcontext())
        tokens = [1 + len(text) // CHARACTERS_PER_TOKEN for text in texts]
        try:
            vectors, refused = await self._line.embed(customer, texts, tokens, dimension=self._dimension)
        except TransientError as error:
            after = RETRY_AFTER_SECONDS
            raise _RefusedError(503, error.code, error.message, retry_after=after) from error
        except DomainError as error:
            raise _RefusedError(500, error.code, error.message) from error
        if refused:
            index, reason = next(iter(refused.items()))
            raise _RefusedError(400, reason.code, f"text {index}: {reason.message}")
        return vectors

    async def _list_models(self, request: Request) -> Response:
        try:
            self._check_key(request)
        except _RefusedError as refused:
            return refused.answer()
        return JSONResponse({"object": "list", "data": [{"id": self._model, "object": "model"}]})

    async def _read_live(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _read_ready(self, _: Request) -> Response:
        status = "stopping" if self.is_stopping else "ready"
        return JSONResponse({"status": status, "model": self._model}, 503 if self.is_stopping else 200)

    async def _read_metrics(self, _: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def encode_answer(vectors: Vectors, *, model: str, wanted: Wanted) -> bytes:
    """The body of an answer, made a few rows at a time."""
    rows: list[bytes] = []
    for index, vector in enumerate(vectors):
        value = base64.b64encode(vector.astype("<f4").tobytes()).decode() if wanted.as_base64 else vector
        row = {"object": "embedding", "index": index, "embedding": value}
        rows.append(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))
        if index % ROWS_PER_TURN == ROWS_PER_TURN - 1:
            await asyncio.sleep(0)
    tokens = _count_tokens(wanted.texts)
    rest: dict[str, Any] = {
        "object": "list",
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(rest)[:-1] + b',"data":[' + b",".join(rows) + b"]}"


def _count_tokens(texts: Sequence[str]) -> int:
    return sum(1 + len(text) // CHARACTERS_PER_TOKEN for text in texts)


def _caller_of(request: Request) -> UUID:
    """Who shares: each machine that calls."""
    return uuid5(NAMESPACE_URL, request.client.host if request.client else "")


async def _wait_until_gone(request: Request) -> None:
    with suppress(ClientDisconnect):
        while (await request.receive())["type"] != "http.disconnect":
            pass


def _go_on() -> None:
    """A caller that is gone leaves by itself."""


async def _hear(why: str | None) -> None:
    if why is not None:
        log.warning("model_away", why=why)

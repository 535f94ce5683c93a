"""A double of a server of a cross-encoder: a real socket on a thread of its own, with faults on demand."""

import asyncio
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

START_SECONDS = 10.0

Rows = list[dict[str, Any]]

FAULTS: Mapping[str, Callable[[Rows], str]] = {
    "not_json": lambda _: "<html>proxy</html>",
    "no_rows": lambda _: json.dumps({"data": []}),
    "a_number": lambda _: "7",
    "missing_row": lambda rows: json.dumps(rows[:-1]),
    "double_row": lambda rows: json.dumps([*rows, rows[0]]),
    "one_twice": lambda rows: json.dumps([*rows[:-1], rows[0]]),
    "nan": lambda rows: json.dumps([{**rows[0], "score": float("nan")}, *rows[1:]]),
    "null": lambda rows: json.dumps([{**rows[0], "score": None}, *rows[1:]]),
    "words": lambda rows: json.dumps([{**rows[0], "score": "0.5"}, *rows[1:]]),
    "endless": lambda rows: json.dumps(rows).replace("0.0", "1e999").replace("1.0", "1e999"),
    "list_as_index": lambda rows: json.dumps([{**row, "index": []} for row in rows]),
    "too_long": lambda rows: json.dumps([{**row, "text": "x" * 9_000_000} for row in rows]),
}
"""What can be wrong with an answer of status 200."""


class FakeReranker:
    """``POST /rerank`` as TEI has it and ``POST /v1/rerank`` as others do; a score is the share of the query's words.

    The attributes may be changed at any time, from any thread; ``running`` starts and stops it.

    Attributes:
        batch_limit: more texts than this are answered with 422.
        delay_seconds: how long every answer waits.
        drips: whether answers come byte by byte.
        fault: one of ``FAULTS``, for every answer.
        statuses: of the next answers.
        bodies: every request that came, refused ones included.
    """

    def __init__(self, *, model: str | None = None, api_key: str | None = None) -> None:
        self.model = model
        self.api_key = api_key
        self.batch_limit: int | None = None
        self.delay_seconds = 0.0
        self.drips = False
        self.fault: str | None = None
        self.retry_after: str | None = None
        self.statuses: deque[int] = deque()
        self.bodies: list[dict[str, Any]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def score(query: str, text: str) -> float:
        """What it says about a pair."""
        asked, told = (set(re.findall(r"\w+", words.lower())) for words in (query, text))
        return len(asked & told) / max(len(asked), 1)

    @contextmanager
    def running(self) -> Iterator["FakeReranker"]:
        """Serve until the block ends; afterwards connections are refused."""
        routes = [Route(path, self._rerank, methods=["POST"]) for path in ("/rerank", "/v1/rerank")]
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, name="reranker")
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                assert thread.is_alive(), "the reranker did not start"
                assert time.monotonic() < deadline, "the reranker did not start in time"
                time.sleep(0.005)
            yield self
        finally:
            server.should_exit = True
            thread.join()
            self._listener.close()

    async def _rerank(self, request: Request) -> Response:
        try:
            body = await request.json()
        except ClientDisconnect:
            return Response(status_code=499)
        self.bodies.append(body)
        await asyncio.sleep(self.delay_seconds)
        status = self.statuses.popleft() if self.statuses else self._judge(request, body)
        if status != 200:
            headers = {"Retry-After": self.retry_after} if self.retry_after else None
            return JSONResponse({"error": "as told"}, status, headers=headers)
        return self._answer(body)

    def _judge(self, request: Request, body: dict[str, Any]) -> int:
        """The status of an answer; each contract knows its own fields alone."""
        is_tei = request.url.path == "/rerank"
        known = {"query", "texts", "truncate"} if is_tei else {"model", "query", "documents"}
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return 401
        if is_tei is not (self.model is None) or body.get("model") != self.model:
            return 404
        texts = body.get("texts" if is_tei else "documents")
        if set(body) != known or not texts:
            return 400
        return 422 if self.batch_limit is not None and len(texts) > self.batch_limit else 200

    def _answer(self, body: dict[str, Any]) -> Response:
        """Best first, as all of these servers do."""
        texts = body.get("texts") or body["documents"]
        rows: Rows = [{"index": index, "score": self.score(body["query"], text)} for index, text in enumerate(texts)]
        rows.sort(key=lambda row: -row["score"])
        if self.fault is not None:
            return Response(FAULTS[self.fault](rows), media_type="application/json")
        if self.model is None:
            content = json.dumps(rows)
        else:
            results = [{"index": row["index"], "relevance_score": row["score"], "document": None} for row in rows]
            content = json.dumps({"model": self.model, "results": results})
        if self.drips:
            return StreamingResponse(_drip(content.encode()), media_type="application/json")
        return Response(content, media_type="application/json")


async def _drip(content: bytes) -> AsyncIterator[bytes]:
    """One byte every 50 ms: no single read ever takes long."""
    for position in range(len(content)):
        yield content[position : position + 1]
        await asyncio.sleep(0.05)

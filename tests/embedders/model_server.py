"""A double of an OpenAI-compatible model server, over a real socket, that can be slow and fail."""

import asyncio
import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class FakeModelServer:
    """What the double does, and what it has seen."""

    dimension: int = 8
    most_texts: int = 32
    key: str = "secret-key"
    as_floats: bool = False
    garbage: str | None = None
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    url: str = ""

    def vector(self, text: str) -> np.ndarray:
        """A vector that depends on the text alone."""
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
        return np.random.default_rng(seed).normal(size=self.dimension).astype("<f4")

    async def embed(self, request: Request) -> Response:
        """``POST /v1/embeddings``."""
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "who are you"}, 401)
        if self.answers:
            status, headers = self.answers.pop(0)
            return JSONResponse({"error": "as told"}, status, headers)
        texts = (await request.json())["input"]
        self.batches.append(len(texts))
        if len(texts) > self.most_texts:
            return JSONResponse({"error": "batch too large"}, 422)
        if self.garbage == "text":
            return Response("not json")
        rows = [{"index": index, "embedding": self._encode(self.vector(text))} for index, text in enumerate(texts)]
        if self.garbage == "short":
            rows = rows[1:]
        return JSONResponse({"data": rows[::-1]})

    def _encode(self, vector: np.ndarray) -> list[float] | str:
        if self.garbage == "nan":
            vector = np.full_like(vector, np.nan)
        return vector.tolist() if self.as_floats else base64.b64encode(vector.tobytes()).decode()


@asynccontextmanager
async def serving() -> AsyncIterator[FakeModelServer]:
    """The double, served on loopback."""
    fake = FakeModelServer()
    listener = socket.create_server(("127.0.0.1", 0))
    application = Starlette(routes=[Route("/v1/embeddings", fake.embed, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
    task = asyncio.create_task(server._serve([listener]))  # noqa: SLF001 — serve() would take over the test's signals
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield fake
    finally:
        server.should_exit = True
        await task

"""Any server that speaks OpenAI's ``/v1/embeddings``: TEI, vLLM, Ollama, Infinity, OpenAI, our own."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import numpy as np
import orjson

from app.domain.errors import (
    EmbedderBatchTooLargeError,
    EmbedderGarbageError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
    UnknownModelError,
)
from app.domain.points import Vectors

PASSING = frozenset({408, 424, 425, 429})
TOO_LARGE = frozenset({413, 422})
DECODE_ON_LOOP_BYTES = 256 * 1024
CONNECT_SECONDS = 5.0


class HttpEmbedder:
    """``Embedder`` over HTTP. Vectors travel as base64 float32 where the server can."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        api_key: str | None = None,
        internal_key: str | None = None,
        timeout_seconds: float = 60.0,
        query_prefix: str = "",
        document_prefix: str = "",
    ) -> None:
        self.model = model
        self._address = embeddings_address(url)
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._dimension: int | None = None
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if internal_key:
            headers["X-Internal-Api-Key"] = internal_key
        timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout)

    async def dimension(self) -> int:
        """Ask the model with one short text, once."""
        if self._dimension is None:
            vectors = await self._embed(["dimension"])
            self._dimension = vectors.shape[1]
        return self._dimension

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """See the port."""
        return await self._embed([self._document_prefix + text for text in texts])

    async def embed_query(self, text: str) -> Vectors:
        """See the port."""
        vector: Vectors = (await self._embed([self._query_prefix + text]))[0]
        return vector

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, await self.dimension()), dtype=np.float32)
        body = orjson.dumps({"model": self.model, "input": list(texts), "encoding_format": "base64"})
        try:
            response = await self._client.post(self._address, content=body)
        except httpx.TransportError as error:
            raise EmbedderUnavailableError(f"the model server does not answer ({type(error).__name__})") from error
        self._raise_for_status(response)
        if len(response.content) > DECODE_ON_LOOP_BYTES:
            vectors = await asyncio.to_thread(decode_answer, response.content, len(texts))
        else:
            vectors = decode_answer(response.content, len(texts))
        if self._dimension is not None and vectors.shape[1] != self._dimension:
            raise EmbedderGarbageError(f"the model answers {vectors.shape[1]} dimensions instead of {self._dimension}")
        self._dimension = vectors.shape[1]
        return vectors

    def _raise_for_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status < 300:
            return
        if status in PASSING or status >= 500:
            raise EmbedderUnavailableError(
                f"the model server answers {status}", retry_after_seconds=read_retry_after(response)
            )
        if status in TOO_LARGE:
            raise EmbedderBatchTooLargeError(f"the model server refuses the batch with {status}")
        if status == 404:
            raise UnknownModelError(self.model, "the model server answers 404; check its URL and the model's name")
        raise EmbedderRejectedError(f"the model server refuses with {status}")


def embeddings_address(url: str) -> str:
    """The endpoint of a base URL, with or without ``/v1`` or ``/embeddings``."""
    url = url.rstrip("/")
    if url.endswith("/embeddings"):
        return url
    return f"{url}/embeddings" if url.endswith("/v1") else f"{url}/v1/embeddings"


def read_retry_after(response: httpx.Response) -> float | None:
    """Seconds of a ``Retry-After`` header, which may be a number or a date."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def decode_answer(content: bytes, count: int) -> Vectors:
    """Vectors of an answer in the order of its indices, normalised; base64 or lists of numbers.

    Raises:
        EmbedderGarbageError: for anything that is not ``count`` finite vectors of one length.
    """
    try:
        rows = sorted(orjson.loads(content)["data"], key=lambda row: row["index"])
        columns = [_decode_vector(row["embedding"]) for row in rows]
        if [row["index"] for row in rows] != list(range(count)):
            raise EmbedderGarbageError(f"the model answers {len(rows)} vectors for {count} texts")
        vectors: Vectors = np.stack(columns).astype(np.float32)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise EmbedderGarbageError("the model's answer cannot be read") from error
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise EmbedderGarbageError("the model answers a vector that is zero or not finite")
    vectors /= norms
    return vectors


def _decode_vector(value: str | list[float]) -> Vectors:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
    return np.asarray(value, dtype=np.float32)

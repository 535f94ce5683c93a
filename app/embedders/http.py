"""Any server that speaks OpenAI's ``/v1/embeddings``: TEI, vLLM, Ollama, Infinity, OpenAI, our own."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import orjson

from app.domain.errors import (
    EmbedderBatchTooLargeError,
    EmbedderDimensionError,
    EmbedderGarbageError,
    EmbedderOverloadedError,
    EmbedderRefusesAccessError,
    EmbedderRejectedError,
    EmbedderUnavailableError,
    ProcessDiedError,
    ProcessTimeoutError,
    UnknownModelError,
)
from app.domain.failures import find_distrust
from app.domain.points import Vectors
from app.domain.ports import Processes
from app.domain.retry_after import parse_retry_after
from app.embedders.address import auth_of, header_value, parse_address, readable
from app.embedders.answer import decode_answer

PASSING = frozenset({408, 424, 425, 429})
OVERLOADED = frozenset({429, 503})
TOO_LARGE = frozenset({413, 422})
MAY_MEAN_NO_BASE64 = frozenset({400, 422})
DECODE_ON_LOOP_BYTES = 256 * 1024
"""100 vectors of 1024 numbers take 2 ms as base64, of which decoding in a thread takes none from the loop."""
DECODE_IN_CHILD_BYTES = 512 * 1024
"""As lists of numbers they take 20 ms, during most of which no other thread runs."""
DECODE_SECONDS = 60.0
LISTS = re.compile(rb'"embedding"\s*:\s*\[')
QUERY_CONNECTIONS = 4
CONNECT_SECONDS = 5.0


class HttpEmbedder:
    """``Embedder`` over HTTP. Vectors travel as base64 float32 where the server can.

    Args:
        url: the base the server documents, such as ``http://host:8080/v1``, or the whole address.
        dimension: length of a vector where it is known; else the first answer says it.
        concurrency: how many requests with documents are open at once; their connections are kept.
        processes: where large answers of numbers are read.

    Raises:
        InvalidInputError: if the URL or a key cannot be used.
    """

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
        dimension: int | None = None,
        concurrency: int = 4,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self._address = embeddings_address(url)
        self._timeout_seconds = timeout_seconds
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        self._dimension = dimension
        self._is_fixed = dimension is not None
        self._takes_base64: bool | None = None
        self._processes = processes
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {header_value(api_key)}"
        if internal_key:
            headers["X-Internal-Api-Key"] = header_value(internal_key)
        timeout = httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds))
        auth = None if api_key else auth_of(url)
        connections = concurrency + QUERY_CONNECTIONS
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout, auth=auth, limits=limits)

    @property
    def cache_prefix(self) -> str:
        """See the port."""
        return self._document_prefix

    async def dimension(self) -> int:
        """Ask the model with one short text, once."""
        if self._dimension is None:
            await self._ask(["dimension"])
        if self._dimension is None:
            raise AssertionError("unreachable: every usable answer has a dimension")
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
        """A blank text is not sent, for many servers refuse a batch with one; it is the first axis."""
        told = [row for row, text in enumerate(texts) if text.strip()]
        if texts and len(told) == len(texts):
            return await self._ask(texts)
        vectors: Vectors = np.zeros((len(texts), await self.dimension()), dtype=np.float32)
        vectors[:, :1] = 1.0
        if told:
            vectors[told] = await self._ask([texts[row] for row in told])
        return vectors

    async def _ask(self, texts: Sequence[str]) -> Vectors:
        """Texts to vectors in one request, or two as long as it is unknown whether the server takes base64."""
        response = await self._post(texts, base64_wanted=self._takes_base64 is not False)
        if self._takes_base64 is None and response.status_code in MAY_MEAN_NO_BASE64:
            response = await self._post(texts, base64_wanted=False)
            if response.is_success:
                self._takes_base64 = False
        _raise_for_status(response, self.model)
        if self._takes_base64 is None:
            self._takes_base64 = True
        vectors = await self._decode(response.content, len(texts))
        known, actual = self._dimension, vectors.shape[1]
        if known is not None and known != actual:
            # which of the two answers was wrong shows when the next one has this length too
            self._dimension = known if self._is_fixed else actual
            raise EmbedderDimensionError(self.model, expected=known, actual=actual)
        self._dimension = actual
        return vectors

    async def _decode(self, content: bytes, count: int) -> Vectors:
        """Read an answer where that holds nothing up."""
        if len(content) <= DECODE_ON_LOOP_BYTES:
            return decode_answer(content, count)
        is_long = len(content) > DECODE_IN_CHILD_BYTES and LISTS.search(content, 0, DECODE_ON_LOOP_BYTES)
        if self._processes is None or not is_long:
            return await asyncio.to_thread(decode_answer, content, count)
        try:
            return await self._processes.run(decode_answer, content, count, timeout_seconds=DECODE_SECONDS)
        except (ProcessDiedError, ProcessTimeoutError, MemoryError) as error:
            raise EmbedderUnavailableError(f"reading the model's answer failed: {error}") from error

    async def _post(self, texts: Sequence[str], *, base64_wanted: bool) -> httpx.Response:
        body: dict[str, Any] = {"model": self.model, "input": [readable(text) for text in texts]}
        if base64_wanted:
            body["encoding_format"] = "base64"
        try:
            # httpx limits every single read; an answer that drips would never end
            async with asyncio.timeout(self._timeout_seconds):
                return await self._client.post(self._address, content=orjson.dumps(body))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EmbedderUnavailableError(
                f"the model server does not answer within {self._timeout_seconds:g} s"
            ) from error
        except httpx.TransportError as error:
            away = EmbedderUnavailableError(f"the model server does not answer ({type(error).__name__})")
            raise (find_distrust(error) or away) from error
        except httpx.DecodingError as error:
            raise EmbedderGarbageError("the model's answer cannot be unpacked") from error


def embeddings_address(url: str) -> httpx.URL:
    """The endpoint of a base URL, with or without ``/v1`` or ``/embeddings``, and without user and password.

    Raises:
        InvalidInputError: if it is no ``http:`` or ``https:`` URL.
    """
    parsed = parse_address(url)
    path = parsed.path.rstrip("/")
    if not path.endswith("/embeddings"):
        path = f"{path or '/v1'}/embeddings"
    return parsed.copy_with(path=path, username="", password="")


def _raise_for_status(response: httpx.Response, model: str) -> None:
    status = response.status_code
    if response.is_success:
        return
    if status in PASSING or status >= 500:
        kind = EmbedderOverloadedError if status in OVERLOADED else EmbedderUnavailableError
        raise kind(
            f"the model server answers {status}",
            retry_after_seconds=parse_retry_after(response.headers.get("Retry-After")),
        )
    if status in TOO_LARGE:
        raise EmbedderBatchTooLargeError(f"the model server refuses the batch with {status}")
    if status == 404 and _explains_itself(response):
        raise UnknownModelError(model, "the model server answers 404; check the model's name")
    if status == 404:
        raise EmbedderRefusesAccessError("the model server has no embeddings at this URL (404); check the URL's path")
    if status in {401, 403}:
        raise EmbedderRefusesAccessError(f"the model server refuses the key with {status}; check its setting")
    raise EmbedderRejectedError(f"the model server refuses with {status}")


def _explains_itself(response: httpx.Response) -> bool:
    """Whether the endpoint itself answers, with OpenAI's error object, and not a router that knows no such path."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return False
    return isinstance(body, dict) and (bool(body.get("error")) or body.get("object") == "error")

"""Any server of a cross-encoder: TEI's ``/rerank``, or the ``/v1/rerank`` of Jina, Cohere, vLLM and Infinity."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import httpx
import orjson

from app.domain.errors import DomainError
from app.domain.failures import find_distrust
from app.domain.reranker_errors import RerankerGarbageError, RerankerRejectedError, RerankerUnavailableError
from app.domain.retry_after import parse_retry_after
from app.embedders.address import auth_of, header_value, parse_address, readable

PASSING = frozenset({408, 424, 425, 429})
TOO_MANY = frozenset({413, 422})
BATCH = 32
"""Texts of a request; what TEI takes unless it is told otherwise."""
CONNECTIONS = 8
CONNECT_SECONDS = 5.0
MOST_CHARACTERS = 8000
"""Of a text; cross-encoders read some hundred words, and TEI is asked to cut what is more."""
MOST_BYTES = 8 * 1024 * 1024
"""Of an answer; some servers send the texts back."""


class HttpReranker:
    """``Reranker`` over HTTP.

    Args:
        url: the base the server documents, or the whole address.
        model: its name, which makes the requests those of ``/v1/rerank``; None is TEI, which serves one model.
        timeout_seconds: for all texts of a query.

    Raises:
        InvalidInputError: if the URL or the key cannot be used.
    """

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, timeout_seconds: float = 10.0
    ) -> None:
        self._model = model
        self._address = rerank_address(url, has_model=model is not None)
        self._timeout_seconds = timeout_seconds
        self._batch = BATCH
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {header_value(api_key)}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            auth=None if api_key else auth_of(url),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        )

    async def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """See the port."""
        told, size = [readable(text[:MOST_CHARACTERS]) for text in texts], self._batch
        parts = [told[start : start + size] for start in range(0, len(told), size)]
        try:
            async with asyncio.timeout(self._timeout_seconds), asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._score(readable(query), part)) for part in parts]
        except TimeoutError as error:
            raise RerankerUnavailableError(
                f"the reranker does not answer within {self._timeout_seconds:g} s"
            ) from error
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return [score for task in tasks for score in task.result()]

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def _score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The scores of one request; of two halves where the server takes fewer texts at once."""
        status, content, retry_after = await self._post(self._write(query, texts))
        if status in TOO_MANY and len(texts) > 1:
            half = self._batch = min(self._batch, (len(texts) + 1) // 2)
            return [*await self._score(query, texts[:half]), *await self._score(query, texts[half:])]
        if not 200 <= status < 300:
            raise _error_of(status, retry_after)
        return read_scores(content, len(texts))

    def _write(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        if self._model is None:
            return {"query": query, "texts": texts, "truncate": True}
        return {"model": self._model, "query": query, "documents": texts}

    async def _post(self, body: dict[str, Any]) -> tuple[int, bytes, str | None]:
        try:
            request = self._client.build_request("POST", self._address, content=orjson.dumps(body))
            response = await self._client.send(request, stream=True)
            try:
                content = await _read(response)
            finally:
                await response.aclose()
        except httpx.TimeoutException as error:
            raise RerankerUnavailableError(f"the reranker does not answer ({type(error).__name__})") from error
        except httpx.TransportError as error:
            away = RerankerUnavailableError(f"the reranker does not answer ({type(error).__name__})")
            raise (find_distrust(error) or away) from error
        except httpx.DecodingError as error:
            raise RerankerGarbageError("the reranker's answer cannot be unpacked") from error
        return response.status_code, content, response.headers.get("Retry-After")


def rerank_address(url: str, *, has_model: bool) -> httpx.URL:
    """The endpoint of a base URL, without user and password; a path that ends with ``/rerank`` is the whole address.

    Raises:
        InvalidInputError: if it is no ``http:`` or ``https:`` URL.
    """
    parsed = parse_address(url)
    path = parsed.path.rstrip("/")
    if not path.endswith("/rerank"):
        path = f"{path or ('/v1' if has_model else '')}/rerank"
    return parsed.copy_with(path=path, username="", password="")


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > MOST_BYTES:
            raise RerankerGarbageError(f"the reranker answers more than {MOST_BYTES // 1024**2} MiB")
    return bytes(content)


def read_scores(content: bytes, count: int) -> list[float]:
    """Scores of an answer in the order of its indices: a list, as TEI has it, or ``results``, as the others.

    Raises:
        RerankerGarbageError: for anything that is not one finite score for each of ``count`` texts.
    """
    try:
        body = orjson.loads(content)
        rows = body if isinstance(body, list) else body["results"]
        scores = {row["index"]: row["relevance_score"] if "relevance_score" in row else row["score"] for row in rows}
        numbers = [0.0 + scores[index] for index in range(count)]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RerankerGarbageError("the reranker's answer cannot be read") from error
    if len(rows) != count or not all(map(math.isfinite, numbers)):
        raise RerankerGarbageError(f"the reranker answers {len(rows)} scores for {count} texts, or not finite ones")
    return numbers


def _error_of(status: int, retry_after: str | None) -> DomainError:
    if status in PASSING or status >= 500:
        return RerankerUnavailableError(
            f"the reranker answers {status}", retry_after_seconds=parse_retry_after(retry_after)
        )
    if status in {401, 403}:
        return RerankerRejectedError(f"the reranker refuses the key with {status}; check VECLOOM_RERANKER_API_KEY")
    if status == 404:
        return RerankerRejectedError(
            "the reranker answers 404; check VECLOOM_RERANKER_URL, and VECLOOM_RERANKER_MODEL (none for TEI)"
        )
    return RerankerRejectedError(f"the reranker refuses with {status}")

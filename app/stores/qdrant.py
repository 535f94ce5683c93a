"""Qdrant: a server, a cluster, or the embedded vector server; the same adapter for all."""

import asyncio
import ipaddress
import math
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import orjson
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from app.domain.errors import (
    DiskFullError,
    DomainError,
    GenerationMismatchError,
    GenerationMissingError,
    VectorStoreGarbageError,
    VectorStoreRejectedError,
    VectorStoreUnavailableError,
)
from app.domain.failures import find_distrust
from app.domain.index_settings import IndexSettings
from app.domain.points import (
    PointBatch,
    PointId,
    PointQuery,
    ScoredPoint,
    SearchFilter,
    StoredCollection,
    StoredPoints,
)
from app.domain.retry_after import parse_retry_after
from app.stores.indexing import read_index, write_changes, write_params
from app.stores.questions import any_of, read_filter, write_query
from app.stores.raw import IDLE_SECONDS, NoAnswerError, RawClient, RawResponse
from app.stores.records import DENSE, SPARSE, read_hits, read_page, read_points, to_json, write_id, write_rows

INDEXED_FIELDS = ("document_id", "source_id", "file_type", "folders")
CLIENT_ERRORS = (ApiException, QdrantException)
PASSING = frozenset({408, 425, 429})
INSUFFICIENT_STORAGE = 507
STORED = frozenset({"completed", "acknowledged"})
"""An acknowledged update is in the server's log; it comes only when a replica is behind."""
ACCEPTS, PACKED = "vecloom-accepts", "packed-vectors"
"""Header of the embedded server, which takes vectors in base64; a Qdrant server has none such and gets numbers."""
WANTS = {"vecloom-wants": PACKED}
"""Asks for them in base64 too; a Qdrant server gives numbers all the same."""
SCROLL_POINTS = 1000
DEFAULT_PORT = 6333


class QdrantStore:
    """``VectorStore`` over Qdrant's REST API.

    Everything goes through qdrant-client except what there is much of, points and searches: their bodies are written
    and read by orjson, for its models cost several times more CPU.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        upload_batch_size: int = 100,
        upload_concurrency: int = 4,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._batch = upload_batch_size
        self._slots = asyncio.Semaphore(upload_concurrency)
        self._takes_packed = False
        options: dict[str, Any] = {
            # the client keeps no connection to a local server by default; the server's own default is 5 s
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS),
            "trust_env": not _is_loopback(url),
        }
        with warnings.catch_warnings():
            # a key over plain HTTP is right on loopback and inside a private network; the operator chooses the URL
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
            self._client = AsyncQdrantClient(
                url=url,
                port=DEFAULT_PORT,
                api_key=api_key,
                timeout=math.ceil(timeout_seconds),
                check_compatibility=False,
                cloud_inference=True,
                **options,
            )
        self._raw = RawClient(
            _with_port(url),
            headers={"api-key": api_key} if api_key else {},
            timeout_seconds=timeout_seconds,
            trust_environment=options["trust_env"],
        )

    async def create_collection(self, name: str, *, dimension: int, index: IndexSettings | None = None) -> None:
        """See the port."""
        existing = await self.find_collection(name) or await self._create(name, dimension, index or IndexSettings())
        if existing.dimension != dimension or not existing.has_sparse:
            raise GenerationMismatchError(
                f"the vector store has {name!r} with {existing.dimension} dimensions, expected {dimension}"
            )
        with _translated(name):
            for field in INDEXED_FIELDS:
                await self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD, wait=True)

    async def _create(self, name: str, dimension: int, index: IndexSettings) -> StoredCollection:
        """Create it; what is there afterwards may be what somebody else created at the same time."""
        with _translated(name):
            try:
                await self._client.create_collection(
                    name,
                    vectors_config={DENSE: write_params(dimension, index)},
                    sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                    on_disk_payload=index.payload_on_disk,
                )
            except UnexpectedResponse as error:
                if error.status_code != 409:
                    raise
        created = await self.find_collection(name)
        if created is None:
            raise GenerationMissingError(name)
        return created

    async def find_collection(self, name: str) -> StoredCollection | None:
        """See the port."""
        try:
            with _translated(name):
                info = await self._client.get_collection(name)
        except GenerationMissingError:
            return None
        vectors = info.config.params.vectors
        dense = vectors.get(DENSE) if isinstance(vectors, dict) else None
        return StoredCollection(
            name=name,
            dimension=dense.size if dense is not None else 0,
            has_sparse=SPARSE in (info.config.params.sparse_vectors or {}),
            points=info.points_count or 0,
            status=str(info.status.value),
            index=read_index(info.config.params, dense),
        )

    async def update_index(self, name: str, index: IndexSettings) -> None:
        """See the port."""
        stored = await self.find_collection(name)
        if stored is None:
            raise GenerationMissingError(name)
        payload = index.payload_on_disk
        params = None if payload is None else models.CollectionParamsDiff(on_disk_payload=payload)
        with _translated(name):
            for change in write_changes(index, stored.index):
                await self._client.update_collection(name, vectors_config={DENSE: change}, collection_params=params)

    async def is_optimised(self, name: str) -> bool:
        """See the port."""
        with _translated(name):
            info = await self._client.get_collection(name)
            if info.status is models.CollectionStatus.GREY:
                # a Qdrant server that was started anew goes on with this work after the next update, also an empty one
                await self._client.update_collection(name, optimizers_config=models.OptimizersConfigDiff())
        if isinstance(info.optimizer_status, models.OptimizersStatusOneOf1):
            raise VectorStoreRejectedError(f"the vector store cannot index: {info.optimizer_status.error[:300]}")
        return info.status is models.CollectionStatus.GREEN

    async def list_collections(self) -> list[str]:
        """See the port."""
        with _translated(""):
            return [found.name for found in (await self._client.get_collections()).collections]

    async def drop_collection(self, name: str) -> None:
        """See the port."""
        try:
            with _translated(name):
                await self._client.delete_collection(name)
        except GenerationMissingError:
            return

    async def list_aliases(self) -> dict[str, str]:
        """See the port."""
        with _translated(""):
            return {found.alias_name: found.collection_name for found in (await self._client.get_aliases()).aliases}

    async def set_alias(self, alias: str, *, to: str) -> None:
        """See the port."""
        actions: list[models.CreateAliasOperation | models.DeleteAliasOperation] = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)),
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=to, alias_name=alias)),
        ]
        with _translated(to):
            await self._client.update_collection_aliases(actions)

    async def upsert(self, name: str, points: PointBatch) -> None:
        """See the port; batches go up side by side, and all are in when this returns."""
        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, len(points), self._batch):
                    group.create_task(self._upsert_batch(name, points, slice(start, start + self._batch)))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _upsert_batch(self, name: str, points: PointBatch, part: slice) -> None:
        rows = write_rows(points, part, packed=self._takes_packed)
        async with self._slots:
            response = await self._ask_raw("PUT", name, "points?wait=true", {"points": rows})
        _require_stored(response)

    async def _ask_raw(self, method: str, name: str, path: str, body: object) -> RawResponse:
        """One request without the client's models, which cost more than the request where vectors are many."""
        try:
            response = await self._raw.ask(method, name, path, to_json(body), WANTS)
        except NoAnswerError as error:
            raise (error.distrust or _unavailable(str(error))) from error
        if response.status >= 300:
            raise _error_of(response.status, name, response.text, response.headers.get("Retry-After"))
        self._takes_packed = response.headers.get(ACCEPTS) == PACKED
        return response

    async def delete_points(self, name: str, ids: Sequence[PointId]) -> None:
        """See the port."""
        if ids:
            points: list[models.ExtendedPointId] = [write_id(point) for point in ids]
            with _translated(name):
                await self._client.delete(name, models.PointIdsList(points=points), wait=True)

    async def delete_documents(self, name: str, document_ids: Sequence[UUID], *, keep: Sequence[UUID] = ()) -> None:
        """See the port."""
        if not document_ids:
            return
        kept = [models.HasIdCondition(has_id=[str(point) for point in keep])] if keep else None
        restrict = models.Filter(must=[any_of("document_id", map(str, document_ids))], must_not=kept)
        with _translated(name):
            await self._client.delete(name, models.FilterSelector(filter=restrict), wait=True)

    async def set_payload(self, name: str, document_ids: Sequence[UUID], payload: Mapping[str, Any]) -> None:
        """See the port."""
        if not document_ids:
            return
        restrict = models.Filter(must=[any_of("document_id", map(str, document_ids))])
        with _translated(name):
            await self._client.set_payload(name, dict(payload), models.FilterSelector(filter=restrict), wait=True)

    async def count(self, name: str, restrict: SearchFilter | None = None) -> int:
        """See the port."""
        with _translated(name):
            answer = await self._client.count(name, count_filter=read_filter(restrict or SearchFilter()), exact=True)
        return answer.count

    async def stream_ids(self, name: str) -> AsyncIterator[list[tuple[UUID, UUID]]]:
        """See the port."""
        offset: models.ExtendedPointId | None = None
        while True:
            with _translated(name):
                records, offset = await self._client.scroll(
                    name, limit=SCROLL_POINTS, offset=offset, with_payload=["document_id"], with_vectors=False
                )
            if records:
                yield [(UUID(str(r.id)), UUID((r.payload or {})["document_id"])) for r in records]
            if offset is None:
                return

    async def stream_points(self, name: str, *, dimension: int, page: int) -> AsyncIterator[StoredPoints]:
        """See the port; Qdrant scrolls in the order of ids. The next page is asked for while this one is looked at."""
        body = {"limit": page, "with_payload": True, "with_vector": [DENSE]}
        asked = asyncio.create_task(self._ask_raw("POST", name, "points/scroll", body))
        try:
            while True:
                content = (await asked).content
                with _readable():
                    points, offset = await asyncio.to_thread(read_page, content, dimension)
                if offset is not None:
                    following = {**body, "offset": offset}
                    asked = asyncio.create_task(self._ask_raw("POST", name, "points/scroll", following))
                if len(points):
                    yield points
                if offset is None:
                    return
        finally:
            # nobody looks at it any more, so neither does anybody at what it failed with
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def retrieve_points(self, name: str, ids: Sequence[PointId], *, dimension: int) -> StoredPoints:
        """See the port."""
        body = {"ids": [write_id(point) for point in ids], "with_payload": True, "with_vector": [DENSE]}
        content = (await self._ask_raw("POST", name, "points", body)).content
        with _readable():
            return await asyncio.to_thread(read_points, content, dimension)

    async def search(self, name: str, query: PointQuery) -> list[ScoredPoint]:
        """See the port."""
        response = await self._ask_raw("POST", name, "points/query", write_query(query, packed=self._takes_packed))
        with _readable():
            return read_hits(response.content)

    async def is_ready(self) -> bool:
        """See the port."""
        try:
            await self.list_collections()
        except DomainError:
            return False
        return True

    async def aclose(self) -> None:
        """See the port."""
        await self._client.close()
        await self._raw.aclose()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _with_port(url: str) -> str:
    """The same address the client makes of a URL without a port."""
    parts = urlsplit(url)
    return url if parts.port else parts._replace(netloc=f"{parts.netloc}:{DEFAULT_PORT}").geturl()


def _unavailable(what: str, retry_after: str | None = None) -> VectorStoreUnavailableError:
    seconds = parse_retry_after(retry_after)
    return VectorStoreUnavailableError(f"the vector store does not answer ({what})", retry_after_seconds=seconds)


def _garbage(what: str) -> VectorStoreGarbageError:
    return VectorStoreGarbageError(f"the vector store's answer cannot be read ({what}); is it a Qdrant server?")


def _error_of(status: int, name: str, text: str, retry_after: str | None = None) -> DomainError:
    if status == 404:
        return GenerationMissingError(name)
    if status == INSUFFICIENT_STORAGE:
        return DiskFullError("the vector store's disk")
    if status in PASSING or status >= 500:
        return _unavailable(str(status), retry_after)
    return VectorStoreRejectedError(f"the vector store refuses with {status}: {text[:300]}")


def _require_stored(response: RawResponse) -> None:
    """A success that no Qdrant server said, such as the page of a proxy, is none."""
    try:
        done = orjson.loads(response.content)["result"]["status"] in STORED
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _garbage("to an upsert") from error
    if not done:
        raise _unavailable("an upsert was not finished in time")


def read_client_error(error: Exception, name: str) -> DomainError:
    """What an exception of qdrant-client amounts to, by type and status; ``name`` is the collection that was asked."""
    if isinstance(error, UnexpectedResponse):
        text = error.content.decode("utf-8", "replace") if error.content else ""
        return _error_of(error.status_code or 500, name, text, error.headers.get("Retry-After"))
    if isinstance(error, ResourceExhaustedResponse):
        return _unavailable("429", str(error.retry_after_s))
    if isinstance(error, QdrantException):
        return _unavailable("429")  # with a Retry-After the client cannot read
    if isinstance(error, ResponseHandlingException) and isinstance(error.source, httpx.RequestError):
        return find_distrust(error.source) or _unavailable(type(error.source).__name__)
    return _garbage(type(getattr(error, "source", error)).__name__)


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise _garbage(type(error).__name__) from error


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    # the client asserts that an answer has a result, and lets through what its parser says of one that is no JSON
    except (*CLIENT_ERRORS, AssertionError, JSONDecodeError) as error:
        raise read_client_error(error, name) from error

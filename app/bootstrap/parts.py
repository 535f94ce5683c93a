"""What API and worker share: where the outside systems are, and the adapters to them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from arq.connections import ArqRedis

from app.db.database import Database
from app.db.migrate import migrate as migrate_database
from app.domain.documents import Chunking
from app.domain.errors import InvalidInputError, UnknownModelError
from app.domain.ports import Embedder, OperationEvents
from app.embedded.folder import DataFolder
from app.embedders.fastembed import FastEmbedder
from app.embedders.http import HttpEmbedder
from app.embedders.reranker import HttpReranker
from app.embedders.static import StaticEmbedder
from app.jobs.queue import ArqQueue, create_arq_redis
from app.operations.dispatch import Dispatcher, DispatchRules
from app.operations.service import OperationService
from app.operations.syncs import SyncRules, SyncService
from app.processes.pool import ProcessPool
from app.progress.reporter import ProgressStreams
from app.secrets_box import SecretBox
from app.settings import EmbeddingServer, Settings
from app.stores.qdrant import QdrantStore
from app.traces import start_tracing

LOCAL_USER = "local"
API_POOL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the outside systems are."""

    database_url: str
    redis_url: str
    qdrant_url: str
    qdrant_api_key: str | None = None


class MissingSettingError(InvalidInputError):
    """A setting that this entry point cannot do without is not set."""

    code = "missing_setting"


def configured_endpoints(settings: Settings) -> Endpoints:
    """Endpoints from the environment.

    Raises:
        MissingSettingError: naming the first one that is not set.
    """
    for name in ("database_url", "redis_url", "qdrant_url"):
        if getattr(settings, name) is None:
            raise MissingSettingError(f"set VECLOOM_{name.upper()}, or use `vecloom up`, which needs nothing")
    if settings.database_url is None or settings.redis_url is None or settings.qdrant_url is None:
        raise AssertionError("unreachable: checked above")
    key = settings.qdrant_api_key
    return Endpoints(
        database_url=settings.database_url.get_secret_value(),
        redis_url=settings.redis_url.get_secret_value(),
        qdrant_url=settings.qdrant_url,
        qdrant_api_key=None if key is None else key.get_secret_value(),
    )


def find_endpoints(settings: Settings) -> Endpoints:
    """Endpoints from the environment, or those of the `vecloom up` that serves the data folder."""
    if settings.database_url is not None:
        return configured_endpoints(settings)
    served = DataFolder(settings.data).read_server_file()
    if served is None or "database_url" not in served:
        return configured_endpoints(settings)
    names = ("database_url", "redis_url", "qdrant_url", "qdrant_api_key")
    return Endpoints(**{name: served[name] for name in names})


class EmbedderRegistry:
    """Embedders by the name of their model."""

    def __init__(self, settings: Settings, processes: ProcessPool | None) -> None:
        self._embedders: dict[str, Embedder] = {"wordllama": StaticEmbedder(processes)}
        if settings.embedding_url is not None:
            self._embedders[settings.embedding_model] = _http_embedder(settings, _main_server(settings), processes)
        for server in settings.embedding_others:
            self._embedders.setdefault(server.model, _http_embedder(settings, server, processes))
        self._model_process: ProcessPool | None = None
        if settings.fastembed_path is not None:
            self._model_process = open_model_process(settings)
            embedder = fast_embedder(settings, settings.fastembed_path, self._model_process)
            self._embedders.setdefault(settings.fastembed_model, embedder)

    def find(self, model: str) -> Embedder:
        """Raises UnknownModelError."""
        embedder = self._embedders.get(model)
        if embedder is None:
            raise UnknownModelError(model, f"this server has: {', '.join(sorted(self._embedders))}")
        return embedder

    async def aclose(self) -> None:
        """Close all."""
        for embedder in self._embedders.values():
            await embedder.aclose()
        if self._model_process is not None:
            await self._model_process.aclose()


def open_model_process(settings: Settings) -> ProcessPool:
    """A process that keeps a model in memory, so it is not replaced for its calls or its size. It starts when used."""
    memory = settings.process_memory_bytes
    return ProcessPool(1, memory_bytes=memory, recycle_bytes=memory, recycle_after=sys.maxsize)


def fast_embedder(settings: Settings, folder: Path, process: ProcessPool) -> FastEmbedder:
    """The embedder of a model in a folder."""
    return FastEmbedder(
        folder,
        model=settings.fastembed_model,
        processes=process,
        query_prefix=settings.embedding_query_prefix,
        document_prefix=settings.embedding_document_prefix,
    )


def _main_server(settings: Settings) -> EmbeddingServer:
    if settings.embedding_url is None:
        raise MissingSettingError("set VECLOOM_EMBEDDING_URL")
    return EmbeddingServer(
        model=settings.embedding_model,
        url=settings.embedding_url,
        api_key=settings.embedding_api_key,
        internal_key=settings.embedding_internal_key,
        query_prefix=settings.embedding_query_prefix,
        document_prefix=settings.embedding_document_prefix,
    )


def _http_embedder(settings: Settings, server: EmbeddingServer, processes: ProcessPool | None) -> HttpEmbedder:
    key, internal = server.api_key, server.internal_key
    return HttpEmbedder(
        server.url,
        model=server.model,
        api_key=None if key is None else key.get_secret_value(),
        internal_key=None if internal is None else internal.get_secret_value(),
        timeout_seconds=settings.embedding_timeout,
        query_prefix=server.query_prefix,
        document_prefix=server.document_prefix,
        concurrency=settings.embedding_concurrency_per_worker,
        processes=processes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What API and worker share in one process."""

    settings: Settings
    endpoints: Endpoints
    database: Database
    redis: ArqRedis
    queue: ArqQueue
    events: OperationEvents
    dispatcher: Dispatcher
    store: QdrantStore
    box: SecretBox
    reranker: HttpReranker | None


@asynccontextmanager
async def open_parts(settings: Settings, endpoints: Endpoints) -> AsyncIterator[Parts]:
    """Open everything that API and worker both need."""
    start_tracing(settings.otel_exporter_otlp_endpoint)
    async with AsyncExitStack() as stack:
        database = Database(endpoints.database_url, pool_size=API_POOL + settings.worker_slots)
        stack.push_async_callback(database.aclose)
        redis = create_arq_redis(endpoints.redis_url, namespace=settings.redis_namespace, retries=2)
        stack.push_async_callback(redis.aclose, close_connection_pool=True)
        store = QdrantStore(
            endpoints.qdrant_url,
            api_key=endpoints.qdrant_api_key,
            upload_batch_size=settings.vector_upload_batch_size,
            upload_concurrency=settings.vector_upload_concurrency,
        )
        stack.push_async_callback(store.aclose)
        reranker = open_reranker(settings)
        if reranker is not None:
            stack.push_async_callback(reranker.aclose)
        queue = ArqQueue(redis, namespace=settings.redis_namespace)
        events = ProgressStreams(redis, namespace=settings.redis_namespace)
        yield Parts(
            settings=settings,
            endpoints=endpoints,
            database=database,
            redis=redis,
            queue=queue,
            events=events,
            dispatcher=Dispatcher(database, queue, events, _dispatch_rules(settings)),
            store=store,
            box=open_box(settings),
            reranker=reranker,
        )


def open_reranker(settings: Settings) -> HttpReranker | None:
    """The reranker of the settings; None if they have none."""
    if settings.reranker_url is None:
        return None
    key = settings.reranker_api_key
    return HttpReranker(
        settings.reranker_url,
        model=settings.reranker_model,
        api_key=None if key is None else key.get_secret_value(),
        timeout_seconds=settings.reranker_timeout,
    )


def open_box(settings: Settings) -> SecretBox:
    """With the keys of the settings; the embedded stack has one of its own, which old secrets may need."""
    keys = [key.get_secret_value() for key in settings.secret_keys]
    own = None if settings.database_url is not None else DataFolder(settings.data).read_secret_key()
    return SecretBox(keys if own is None else [*keys, own])


def _dispatch_rules(settings: Settings) -> DispatchRules:
    return DispatchRules(max_interruptions=settings.max_interruptions, aging_seconds=settings.priority_aging)


def open_syncs(parts: Parts) -> SyncService:
    """Continuous sync over opened parts."""
    settings = parts.settings
    rules = SyncRules(
        per_round=settings.sync_per_round,
        history=settings.sync_history,
        longest_backoff_seconds=settings.sync_longest_backoff,
    )
    return SyncService(parts.database, parts.dispatcher, parts.events, rules)


def open_operations(parts: Parts) -> OperationService:
    """What callers do with operations, over opened parts."""
    settings = parts.settings
    return OperationService(
        parts.database,
        parts.dispatcher,
        parts.queue,
        parts.events,
        default_model=settings.embedding_model,
        default_chunking=Chunking(size=settings.chunk_size, overlap=settings.chunk_overlap),
        box=parts.box,
    )


def migrate(settings: Settings) -> None:
    """Bring the configured database to this version's schema."""
    if settings.database_url is None:
        raise MissingSettingError("set VECLOOM_DATABASE_URL; the embedded stack migrates itself")
    asyncio.run(migrate_database(settings.database_url.get_secret_value()))

"""The composition root: settings in, opened parts out, closed in reverse."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import structlog
from arq.connections import ArqRedis
from fastapi import FastAPI

from app.api.app import create_api
from app.api.services import ApiServices
from app.api.serving import serving
from app.db.database import Database
from app.db.guard import WorkerGuard
from app.db.migrate import migrate as migrate_database
from app.domain.checks import Check
from app.domain.documents import Chunking, Source
from app.domain.errors import InvalidInputError, UnknownModelError
from app.domain.operations import OperationKind, WorkerProfile
from app.domain.ports import Embedder
from app.embedded.folder import DataFolder
from app.embedded.stack import EmbeddedStack
from app.embedders.http import HttpEmbedder
from app.embedders.static import StaticEmbedder
from app.jobs.append import append_source
from app.jobs.attempt import Attempt
from app.jobs.context import Job, Resources
from app.jobs.figures import reading_figures
from app.jobs.health import create_worker_endpoint, heartbeat_probe
from app.jobs.index import index_collection
from app.jobs.keeper import Keeper
from app.jobs.outcome import RetryPolicy, Settler
from app.jobs.queue import ArqQueue, create_arq_redis
from app.jobs.runner import Runner, RunnerLimits
from app.jobs.stopping import stop_task
from app.jobs.verify import verify_collection
from app.jobs.watchdog import Watchdog
from app.jobs.worker import SteadyWorker, listening, worker_options
from app.metrics import POOL_RESTARTS
from app.operations.attempts import Attempts
from app.operations.checkup import Checkup
from app.operations.collections import CollectionService, IdentityService
from app.operations.diagnosis import diagnosis_probes
from app.operations.dispatch import Dispatcher, DispatchRules
from app.operations.health import health_probes
from app.operations.service import OperationService
from app.pipeline.context import Limits
from app.pipeline.records import is_record_file, scan_records
from app.pipeline.release import release_documents
from app.processes.pool import ProcessPool
from app.progress.hub import ProgressHub
from app.progress.reporter import ProgressStreams
from app.search.service import SearchService
from app.settings import Settings
from app.sources.directory import DirectorySource, RecordReader, resolve_source_path
from app.stores.qdrant import QdrantStore
from app.traces import start_tracing

log = structlog.get_logger(__name__)

JOBS: dict[OperationKind, Job] = {
    OperationKind.INDEX: index_collection,
    OperationKind.APPEND: append_source,
    OperationKind.VERIFY: verify_collection,
}
LOCAL_USER = "local"
API_POOL = 8
PRELOAD = ("app.pipeline.prepare", "app.pipeline.chunk:load_tokenizer", "app.embedders.static:load_model")
READY_SECONDS = 2.0
"""How long `/health/ready` takes at most; probes of containers wait for about three seconds."""

DIAGNOSIS_SECONDS = 8.0
GIVEN_UP = 70
"""Exit status of a worker that ended itself because its event loop stood still (EX_SOFTWARE)."""


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


class EmbedderRegistry:
    """Embedders by the name of their model."""

    def __init__(self, settings: Settings, processes: ProcessPool | None) -> None:
        self._embedders: dict[str, Embedder] = {"wordllama": StaticEmbedder(processes)}
        if settings.embedding_url is not None:
            self._embedders[settings.embedding_model] = _http_embedder(settings, settings.embedding_url)

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


def _http_embedder(settings: Settings, url: str) -> HttpEmbedder:
    key, internal = settings.embedding_api_key, settings.embedding_internal_key
    return HttpEmbedder(
        url,
        model=settings.embedding_model,
        api_key=None if key is None else key.get_secret_value(),
        internal_key=None if internal is None else internal.get_secret_value(),
        timeout_seconds=settings.embedding_timeout,
        query_prefix=settings.embedding_query_prefix,
        document_prefix=settings.embedding_document_prefix,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What API and worker share in one process."""

    settings: Settings
    endpoints: Endpoints
    database: Database
    redis: ArqRedis
    queue: ArqQueue
    events: ProgressStreams
    dispatcher: Dispatcher
    store: QdrantStore


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
        )


def _dispatch_rules(settings: Settings) -> DispatchRules:
    return DispatchRules(max_interruptions=settings.max_interruptions, aging_seconds=settings.priority_aging)


def diagnosis_of(parts: Parts, embedders: EmbedderRegistry) -> Checkup:
    """Looks closely at everything; for `vecloom doctor`."""
    probes = diagnosis_probes(parts.database, parts.redis, parts.store, embedders.find, parts.settings)
    return Checkup(probes, timeout_seconds=DIAGNOSIS_SECONDS)


async def diagnose(settings: Settings) -> list[Check]:
    """The same without a server, on the configured services."""
    async with open_parts(settings, configured_endpoints(settings)) as parts, AsyncExitStack() as stack:
        embedders = EmbedderRegistry(settings, None)
        stack.push_async_callback(embedders.aclose)
        checkup = diagnosis_of(parts, embedders)
        stack.push_async_callback(checkup.aclose)
        return await checkup.run()


@asynccontextmanager
async def open_api(parts: Parts) -> AsyncIterator[FastAPI]:
    """The HTTP application over opened parts."""
    settings = parts.settings
    async with AsyncExitStack() as stack:
        embedders = EmbedderRegistry(settings, None)
        stack.push_async_callback(embedders.aclose)
        hub = ProgressHub(parts.redis, namespace=settings.redis_namespace)
        await stack.enter_async_context(hub)
        health = Checkup(health_probes(parts.database, parts.redis, parts.store), timeout_seconds=READY_SECONDS)
        stack.push_async_callback(health.aclose)
        diagnosis = diagnosis_of(parts, embedders)
        stack.push_async_callback(diagnosis.aclose)
        await stack.enter_async_context(reading_figures(parts.database, every_seconds=settings.reconcile))
        services = ApiServices(
            identity=IdentityService(parts.database),
            operations=OperationService(
                parts.database,
                parts.dispatcher,
                parts.queue,
                parts.events,
                default_model=settings.embedding_model,
                default_chunking=Chunking(size=settings.chunk_size, overlap=settings.chunk_overlap),
            ),
            collections=CollectionService(parts.database),
            search=SearchService(parts.database, parts.store, embedders.find),
            health=health,
            diagnosis=diagnosis,
            hub=hub,
            watchers_per_user=settings.websockets_per_user,
            watchers_per_process=settings.websockets_per_process,
            request_max_bytes=settings.request_max_bytes,
        )
        yield create_api(services)


@asynccontextmanager
async def open_worker(
    parts: Parts, *, jobs: Mapping[OperationKind, Job] = JOBS, replaceable: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """What arq jobs find in their ``ctx``: the runner, its leases kept, its processes warm.

    ``replaceable`` says that it is a process of its own, which somebody starts again if it ends itself because its
    event loop stands still, and which serves its metrics itself.
    """
    settings = parts.settings
    name = f"{socket.gethostname()}:{os.getpid()}"
    async with AsyncExitStack() as stack:
        processes = ProcessPool(
            settings.process_slots,
            memory_bytes=settings.process_memory_bytes,
            preload=PRELOAD,
            on_end=lambda reason: POOL_RESTARTS.labels(reason).inc(),
        )
        stack.push_async_callback(processes.aclose)
        await processes.start()
        embedders = EmbedderRegistry(settings, processes)
        stack.push_async_callback(embedders.aclose)
        profile = WorkerProfile(
            name=name,
            version=version("vecloom"),
            kinds=tuple(kind.value for kind in jobs),
            slots=settings.worker_slots,
            lease_seconds=settings.lease,
        )
        guard = WorkerGuard(parts.endpoints.database_url, profile, timeout_seconds=settings.heartbeat)
        runner = _open_runner(parts, guard, profile, jobs, _open_resources(parts, processes, embedders))
        keeper = Keeper(guard, parts.dispatcher, runner.list_held, heartbeat_seconds=settings.heartbeat)
        watchdog = Watchdog(limit_seconds=settings.lease * 0.75, on_limit=_give_up if replaceable else None)
        woken = asyncio.Event()
        await stack.enter_async_context(watchdog.watching())
        if replaceable and settings.metrics_port:
            await stack.enter_async_context(_serving_worker_endpoint(parts, keeper))
        await stack.enter_async_context(keeper.keeping())
        await stack.enter_async_context(
            listening(parts.redis, namespace=settings.redis_namespace, on_wake=woken.set, on_poke=keeper.poke)
        )
        stack.push_async_callback(runner.drain, grace_seconds=settings.shutdown_grace)
        yield {
            "runner": runner,
            "dispatcher": parts.dispatcher,
            "database": parts.database,
            "worker": name,
            "reconcile_seconds": settings.reconcile,
            "woken": woken,
        }


@asynccontextmanager
async def _serving_worker_endpoint(parts: Parts, keeper: Keeper) -> AsyncIterator[None]:
    settings = parts.settings
    heartbeat = heartbeat_probe(keeper, lease_seconds=settings.lease)
    probes = [*health_probes(parts.database, parts.redis, parts.store), heartbeat]
    health = Checkup(probes, timeout_seconds=READY_SECONDS)
    application = create_worker_endpoint(health)
    host, port = settings.metrics_host, settings.metrics_port
    try:
        async with (
            reading_figures(parts.database, every_seconds=settings.reconcile),
            serving(application, host=host, port=port, choice="VECLOOM_METRICS_PORT"),
        ):
            yield
    finally:
        await health.aclose()


def _give_up() -> None:
    """End the process at once: its event loop, which would end it in order, does not run."""
    os._exit(GIVEN_UP)


def _open_runner(
    parts: Parts, guard: WorkerGuard, profile: WorkerProfile, jobs: Mapping[OperationKind, Job], resources: Resources
) -> Runner:
    settings = parts.settings
    attempts = Attempts(
        parts.database,
        worker=profile.name,
        worker_id=guard.id,
        kinds=profile.kinds,
        lease_seconds=settings.lease,
    )

    async def release(attempt: Attempt) -> None:
        await release_documents(parts.database, parts.store, attempt.lease, attempt.operation.collection_id)

    policy = RetryPolicy(
        max_failures=settings.default_max_retries,
        max_interruptions=settings.max_interruptions,
        retry_delay_seconds=settings.default_retry_delay,
    )
    return Runner(
        attempts=attempts,
        dispatcher=parts.dispatcher,
        queue=parts.queue,
        events=parts.events,
        resources=resources,
        settler=Settler(attempts, parts.dispatcher, release, policy),
        jobs=jobs,
        limits=RunnerLimits(
            soft_seconds=settings.operation_soft_time_limit,
            hard_seconds=settings.operation_hard_time_limit,
            lease_seconds=settings.lease,
        ),
        worker=profile.name,
    )


def _open_resources(parts: Parts, processes: ProcessPool, embedders: EmbedderRegistry) -> Resources:
    settings = parts.settings
    records = RecordReader(is_record_file=is_record_file, scan_records=scan_records)

    def open_source(source: Source) -> DirectorySource:
        return DirectorySource(
            str(resolve_source_path(source.url, settings.source_roots)),
            include=source.config.get("include", ()),
            exclude=source.config.get("exclude", ()),
            max_bytes=settings.document_max_bytes,
            processes=processes,
            records=records,
        )

    return Resources(
        database=parts.database,
        store=parts.store,
        processes=processes,
        limits=Limits(
            document_timeout_seconds=settings.document_timeout,
            document_max_bytes=settings.document_max_bytes,
            document_max_attempts=settings.document_max_attempts,
            embedding_batch_size=settings.embedding_batch_size,
            embedding_batch_tokens=settings.embedding_batch_tokens,
            embedding_concurrency=settings.embedding_concurrency_per_worker,
            removal_batch_size=settings.document_removal_batch_size,
            pipeline_max_bytes=settings.pipeline_max_bytes,
        ),
        embed_slots=asyncio.Semaphore(settings.embedding_concurrency_per_worker),
        find_embedder=embedders.find,
        open_source=open_source,
    )


def arq_options(settings: Settings) -> dict[str, Any]:
    """Options of the arq worker for these settings."""
    return worker_options(
        slots=settings.worker_slots,
        poll_delay_seconds=settings.poll_delay,
        reconcile_seconds=settings.reconcile,
        hard_limit_seconds=settings.operation_hard_time_limit,
        namespace=settings.redis_namespace,
    )


@asynccontextmanager
async def running_worker(
    parts: Parts, *, jobs: Mapping[OperationKind, Job] = JOBS, replaceable: bool = False
) -> AsyncIterator[Runner]:
    """The arq worker on this event loop while the block runs."""
    async with open_worker(parts, jobs=jobs, replaceable=replaceable) as context:
        redis = create_arq_redis(parts.endpoints.redis_url, namespace=parts.settings.redis_namespace, retries=2)
        worker = SteadyWorker(
            **arq_options(parts.settings),
            woken=context["woken"],
            redis_pool=redis,
            handle_signals=False,
            ctx=context,
        )
        runner: Runner = context["runner"]
        polling = asyncio.create_task(worker.async_run())
        try:
            yield runner
        finally:
            await stop_task(polling)
            await runner.drain(grace_seconds=parts.settings.shutdown_grace)
            await worker.join()
            await redis.aclose(close_connection_pool=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server."""

    url: str
    api_key: str


@asynccontextmanager
async def serve_embedded(
    settings: Settings, *, port: int = 0, host: str = "127.0.0.1", worker: bool = True
) -> AsyncIterator[Served]:
    """Everything in one process tree on one data folder: stores, API and worker.

    Raises:
        DataFolderBusyError: if another process serves this folder.
    """
    async with AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(EmbeddedStack(settings.data))
        endpoints = Endpoints(
            database_url=embedded.database_url,
            redis_url=embedded.redis_url,
            qdrant_url=embedded.qdrant_url,
            qdrant_api_key=embedded.qdrant_api_key,
        )
        await migrate_database(endpoints.database_url)
        parts = await stack.enter_async_context(open_parts(settings, endpoints))
        key = await IdentityService(parts.database).issue_key(LOCAL_USER, name="embedded")
        application = await stack.enter_async_context(open_api(parts))
        url = await stack.enter_async_context(serving(application, host=host, port=port))
        if worker:
            await parts.dispatcher.recover()
            await stack.enter_async_context(running_worker(parts))
        folder = DataFolder(settings.data)
        folder.write_server_file({"url": url, "api_key": key, "pid": os.getpid(), **_endpoint_file(endpoints)})
        stack.callback(folder.remove_server_file)
        yield Served(url=url, api_key=key)


def _endpoint_file(endpoints: Endpoints) -> dict[str, str | None]:
    """What `vecloom worker` on the same folder needs."""
    return {
        "database_url": endpoints.database_url,
        "redis_url": endpoints.redis_url,
        "qdrant_url": endpoints.qdrant_url,
        "qdrant_api_key": endpoints.qdrant_api_key,
    }


def find_endpoints(settings: Settings) -> Endpoints:
    """Endpoints from the environment, or those of the `vecloom up` that serves the data folder."""
    if settings.database_url is not None:
        return configured_endpoints(settings)
    served = DataFolder(settings.data).read_server_file()
    if served is None or "database_url" not in served:
        return configured_endpoints(settings)
    names = ("database_url", "redis_url", "qdrant_url", "qdrant_api_key")
    return Endpoints(**{name: served[name] for name in names})


def migrate(settings: Settings) -> None:
    """Bring the configured database to this version's schema."""
    if settings.database_url is None:
        raise MissingSettingError("set VECLOOM_DATABASE_URL; the embedded stack migrates itself")
    asyncio.run(migrate_database(settings.database_url.get_secret_value()))

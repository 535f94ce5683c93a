"""The worker over opened parts: its runner, its leases, its processes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from app.api.serving import serving
from app.bootstrap.parts import EmbedderRegistry, Parts
from app.bootstrap.projections import compiling_layouts, open_layout_process, open_projection_folder
from app.bootstrap.sources import SourceOpener, find_ocr, open_upload_folder
from app.bootstrap.tokenizers import check_tokenizer, tokenizers_of
from app.bootstrap.upkeep import open_periodic_jobs
from app.bootstrap.webhooks import open_courier
from app.db.database import Database
from app.db.guard import WorkerGuard
from app.domain.operations import Operation, OperationKind, WorkerProfile
from app.jobs.append import append_source
from app.jobs.attempt import Attempt
from app.jobs.benchmark import run_benchmark
from app.jobs.context import Job, Resources
from app.jobs.delete import delete_collection
from app.jobs.figures import reading_figures
from app.jobs.health import create_worker_endpoint, heartbeat_probe
from app.jobs.index import index_collection
from app.jobs.keeper import Keeper
from app.jobs.lanes import Lanes
from app.jobs.outcome import RetryPolicy, Settler
from app.jobs.plan import plan_source
from app.jobs.project import make_projection
from app.jobs.queue import create_arq_redis
from app.jobs.reindex import reindex_collection
from app.jobs.remove_source import remove_source
from app.jobs.retry_documents import retry_documents
from app.jobs.rollback import roll_back
from app.jobs.runner import Runner, RunnerLimits
from app.jobs.stopping import stop_task
from app.jobs.verify import verify_collection
from app.jobs.watchdog import Watchdog
from app.jobs.worker import Ears, SteadyWorker, Wake, listening, worker_options
from app.metrics import POOL_RESTARTS
from app.operations.abandoned import AbandonedGenerations
from app.operations.attempts import Attempts
from app.operations.checkup import Checkup
from app.operations.health import health_probes
from app.operations.upload_files import remove_files
from app.pipeline.context import Limits
from app.pipeline.embedding_line import EmbeddingLines
from app.pipeline.estimate import Price
from app.pipeline.lane_signals import LaneSignals
from app.pipeline.release import release_documents
from app.pipeline.spool import open_spool
from app.processes.pool import ProcessPool
from app.settings import Settings
from app.sources.upload_folder import UploadFolder

log = structlog.get_logger(__name__)

JOBS: dict[OperationKind, Job] = {
    OperationKind.INDEX: index_collection,
    OperationKind.APPEND: append_source,
    OperationKind.VERIFY: verify_collection,
    OperationKind.PLAN: plan_source,
    OperationKind.REMOVE_SOURCE: remove_source,
    OperationKind.RETRY_DOCUMENTS: retry_documents,
    OperationKind.REINDEX: reindex_collection,
    OperationKind.ROLLBACK: roll_back,
    OperationKind.BENCHMARK: run_benchmark,
    OperationKind.PROJECTION: make_projection,
    OperationKind.DELETE: delete_collection,
}
PRELOAD = (
    "app.pipeline.prepare",
    "app.embedders.answer",
    "app.pipeline.chunk:load_tokenizer",
    "app.embedders.static:load_model",
)
READY_SECONDS = 2.0
"""How long `/health/ready` takes at most; probes of containers wait for about three seconds."""
REPLACE_SECONDS = 1.0
GIVEN_UP = 70
"""Exit status of a worker that ended itself because its event loop stood still (EX_SOFTWARE)."""


@asynccontextmanager
async def open_worker(
    parts: Parts, *, jobs: Mapping[OperationKind, Job] = JOBS, replaceable: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """What arq jobs find in their ``ctx``: the runner, its leases kept, its processes warm.

    ``replaceable`` says that it is a process of its own, which somebody starts again if it ends itself because its
    event loop stands still, and which serves its metrics itself.
    """
    settings, profile = parts.settings, _profile(parts.settings, jobs)
    await asyncio.to_thread(check_tokenizer, settings)
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
        lines = _open_lines(settings, embedders)
        stack.push_async_callback(lines.aclose)
        guard = WorkerGuard(parts.endpoints.database_url, profile, timeout_seconds=settings.heartbeat)
        spool = await stack.enter_async_context(open_spool(settings.source_spool))
        layouts = open_layout_process(settings)
        stack.push_async_callback(layouts.aclose)
        await stack.enter_async_context(compiling_layouts(settings))
        resources = _open_resources(parts, processes, embedders, lines, spool=spool, layouts=layouts)
        runner = _open_runner(parts, guard, profile, jobs, resources)
        lanes = Lanes(resources, parts.events, profile, worker_id=guard.id)
        keeper = Keeper(
            guard,
            parts.dispatcher,
            lambda: [*runner.list_held(), *lanes.list_held()],
            heartbeat_seconds=settings.heartbeat,
            on_offers=lanes.take_up,
            on_failure=runner.broken.set,
        )
        courier = open_courier(parts, worker=profile.name)
        guard.on_delivery = courier.wake
        watchdog = Watchdog(limit_seconds=settings.lease * 0.75, on_limit=_give_up if replaceable else None)
        wake = Wake()
        resources.signals.on_offers = lanes.take_up
        ears = Ears(on_wake=wake.announce, on_poke=keeper.poke, on_lanes=resources.signals.take)
        await stack.enter_async_context(watchdog.watching())
        if replaceable and settings.metrics_port:
            await stack.enter_async_context(_serving_worker_endpoint(parts, keeper))
        await stack.enter_async_context(keeper.keeping())
        await stack.enter_async_context(courier.working())
        await stack.enter_async_context(listening(parts.redis, namespace=settings.redis_namespace, ears=ears))
        stack.push_async_callback(_drain, runner, lanes, grace_seconds=settings.shutdown_grace)
        periodic = open_periodic_jobs(parts, worker=profile.name)
        stack.push_async_callback(periodic.aclose)
        yield {
            "runner": runner,
            "periodic": periodic,
            "wake": wake,
        }


def _open_lines(settings: Settings, embedders: EmbedderRegistry) -> EmbeddingLines:
    return EmbeddingLines(
        embedders.find,
        max_texts=settings.embedding_batch_size,
        max_tokens=settings.embedding_batch_tokens,
        concurrency=settings.embedding_concurrency_per_worker,
    )


async def _drain(runner: Runner, lanes: Lanes, *, grace_seconds: float) -> None:
    """Take nothing more, and hand back what is left when the grace period is over."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.drain(grace_seconds=grace_seconds))
        tasks.create_task(lanes.drain(grace_seconds=grace_seconds))


def _profile(settings: Settings, jobs: Mapping[OperationKind, Job]) -> WorkerProfile:
    return WorkerProfile(
        name=f"{socket.gethostname()}:{os.getpid()}",
        version=version("vecloom"),
        kinds=tuple(kind.value for kind in jobs),
        slots=settings.worker_slots,
        lease_seconds=settings.lease,
    )


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
        # who only looks has no documents in hand; those in the middle are a writer's beside it
        if attempt.operation.writes:
            collection_id = attempt.operation.require_collection()
            await release_documents(parts.database, parts.store, attempt.lease, collection_id)

    async def clear_away(operation: Operation) -> None:
        if operation.kind is OperationKind.REINDEX:
            await AbandonedGenerations(parts.database, parts.store).drop_of(operation.id)

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
        settler=Settler(attempts, parts.dispatcher, release, policy, clear_away=clear_away),
        jobs=jobs,
        limits=RunnerLimits(
            soft_seconds=settings.operation_soft_time_limit,
            hard_seconds=settings.operation_hard_time_limit,
            lease_seconds=settings.lease,
        ),
        worker=profile.name,
    )


def _open_resources(
    parts: Parts,
    processes: ProcessPool,
    embedders: EmbedderRegistry,
    lines: EmbeddingLines,
    *,
    spool: Path,
    layouts: ProcessPool,
) -> Resources:
    settings = parts.settings
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
            spool=spool,
            ocr=find_ocr(settings),
            tokenizers=tokenizers_of(settings),
        ),
        lines=lines,
        embedding_cache_bytes=settings.embedding_cache_bytes,
        find_embedder=embedders.find,
        open_source=SourceOpener(settings, parts.database, parts.box, processes, spool=spool),
        poke=parts.queue.poke,
        signals=LaneSignals(parts.queue.tell_lanes),
        remove_uploads=partial(_remove_uploads, parts.database, open_upload_folder(settings)),
        layout_processes=layouts,
        projections=open_projection_folder(settings),
        price=_price(settings),
        gate_sample=settings.reindex_gate_sample,
        reranker=parts.reranker,
    )


async def _remove_uploads(database: Database, folder: UploadFolder | None, names: Sequence[str]) -> None:
    await remove_files(database, folder, names)


def _price(settings: Settings) -> Price | None:
    price = settings.embedding_price_per_million_tokens
    if price is None:
        return None
    return Price(model=settings.embedding_model, per_million_tokens=price, currency=settings.embedding_price_currency)


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
            wake=context["wake"],
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


@asynccontextmanager
async def replacing_worker(parts: Parts, *, jobs: Mapping[OperationKind, Job] = JOBS) -> AsyncIterator[None]:
    """A worker that is replaced by a new one when it breaks, where no supervisor would start the process again."""
    stop, first = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(_work_anew(parts, jobs, stop=stop, first=first))
    started = asyncio.create_task(first.wait())
    await asyncio.wait({working, started}, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        if working.done():
            await working
        yield
    finally:
        stop.set()
        await asyncio.wait({working})
        if not working.cancelled():
            working.result()


async def _work_anew(
    parts: Parts, jobs: Mapping[OperationKind, Job], *, stop: asyncio.Event, first: asyncio.Event
) -> None:
    while not stop.is_set():
        try:
            await _work_until_broken(parts, jobs, stop=stop, first=first)
        except Exception:
            if not first.is_set():
                raise
            log.exception("worker_failed", note="another one is started in a moment")
            await asyncio.wait({stop_waiting := asyncio.create_task(stop.wait())}, timeout=REPLACE_SECONDS)
            stop_waiting.cancel()


async def _work_until_broken(
    parts: Parts, jobs: Mapping[OperationKind, Job], *, stop: asyncio.Event, first: asyncio.Event
) -> None:
    async with running_worker(parts, jobs=jobs) as runner:
        first.set()
        ends = {asyncio.create_task(stop.wait()), asyncio.create_task(runner.broken.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if runner.broken.is_set():
            log.error("worker_replaced", note="see the lines before")

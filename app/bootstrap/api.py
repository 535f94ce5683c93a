"""The HTTP application over opened parts."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from app.api.app import create_api
from app.api.services import ApiServices
from app.bootstrap.parts import EmbedderRegistry, Parts, configured_endpoints, open_operations, open_parts, open_syncs
from app.bootstrap.projections import open_projection_folder
from app.bootstrap.sources import SourceOpener, open_upload_folder
from app.bootstrap.upkeep import list_periodic_jobs, open_periodic_jobs
from app.bootstrap.webhooks import open_webhook_service
from app.domain.checks import Check
from app.domain.uploads import UploadLimits
from app.jobs.figures import reading_figures
from app.operations.attached_benchmarks import AttachedBenchmarks
from app.operations.audit import AuditService
from app.operations.benchmark_datasets import DatasetService
from app.operations.benchmarks import BenchmarkService
from app.operations.checkup import Checkup
from app.operations.collections import CollectionService, IdentityService
from app.operations.diagnosis import diagnosis_probes, reranker_probe
from app.operations.health import health_probes
from app.operations.judgments import JudgmentService
from app.operations.live_projections import LiveProjections
from app.operations.partitions import PartitionService
from app.operations.periodic_check import periodic_probe
from app.operations.projections import ProjectionService
from app.operations.rebuilds import RebuildService
from app.operations.removals import RemovalService
from app.operations.search_logs import SearchLogService
from app.operations.sessions import SessionService
from app.operations.sources import SourceService
from app.operations.statistics import StatisticsService
from app.operations.upload_batches import UploadBatches
from app.operations.uploads import UploadService
from app.pipeline.spool import open_spool
from app.pipeline.validation.synthetic import make_synthetic
from app.processes.pool import ProcessPool
from app.progress.hub import ProgressHub
from app.search.comparison import ComparisonService
from app.search.generations import GenerationService
from app.search.recorder import recording
from app.search.service import SearchService
from app.settings import Settings

READY_SECONDS = 2.0
"""How long `/health/ready` takes at most; probes of containers wait for about three seconds."""
DIAGNOSIS_SECONDS = 8.0


def diagnosis_of(parts: Parts, embedders: EmbedderRegistry) -> Checkup:
    """Looks closely at everything; for `vecloom doctor`."""
    probes = diagnosis_probes(parts.database, parts.redis, parts.store, embedders.find, parts.settings)
    jobs = periodic_probe(parts.database, [job.name for job in list_periodic_jobs(parts)])
    rerankers = [] if parts.reranker is None else [reranker_probe(parts.reranker)]
    return Checkup([*probes, *rerankers, jobs], timeout_seconds=DIAGNOSIS_SECONDS)


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
        spool = await stack.enter_async_context(open_spool(settings.source_spool))
        # record files and archives of a source that is looked at, and benchmark datasets, are read in a process, which
        # starts when it is needed
        processes = ProcessPool(1, memory_bytes=settings.process_memory_bytes)
        stack.push_async_callback(processes.aclose)
        opener = SourceOpener(settings, parts.database, parts.box, processes, spool=spool)
        operations = open_operations(parts)
        uploads = UploadService(parts.database, operations, open_upload_folder(settings), upload_limits(settings))
        periodic = open_periodic_jobs(parts, worker=f"{socket.gethostname()}:{os.getpid()} (API)")
        stack.push_async_callback(periodic.aclose)
        recorder = await stack.enter_async_context(recording(parts.database))
        search = SearchService(parts.database, parts.store, embedders.find, recorder, parts.reranker)
        benchmarks = BenchmarkService(parts.database, operations, has_reranker=parts.reranker is not None)
        datasets = DatasetService(parts.database, processes, make_synthetic)
        projections = ProjectionService(parts.database, operations, open_projection_folder(settings))
        services = ApiServices(
            identity=IdentityService(parts.database),
            sessions=SessionService(parts.database, lifetime_seconds=settings.session_lifetime),
            operations=operations,
            removals=RemovalService(parts.database, operations, parts.dispatcher, parts.queue),
            rebuilds=RebuildService(parts.database, operations),
            benchmarks=benchmarks,
            attached_benchmarks=AttachedBenchmarks(parts.database, benchmarks),
            projections=projections,
            live_projections=LiveProjections(parts.database, parts.store, projections),
            collections=CollectionService(parts.database),
            sources=SourceService(parts.database, parts.box, opener),
            search=search,
            generations=GenerationService(parts.database),
            comparisons=ComparisonService(parts.database, search, kept_seconds=settings.reindex_rollback_window),
            search_logs=SearchLogService(parts.database),
            datasets=datasets,
            judgments=JudgmentService(parts.database, datasets),
            health=health,
            diagnosis=diagnosis,
            hub=hub,
            periodic=periodic,
            statistics=StatisticsService(parts.database),
            partitions=PartitionService(parts.database),
            uploads=uploads,
            batches=UploadBatches(parts.database, uploads),
            watchers_per_user=settings.websockets_per_user,
            watchers_per_process=settings.websockets_per_process,
            request_max_bytes=settings.request_max_bytes,
            syncs=open_syncs(parts),
            audit=AuditService(parts.database),
            webhooks=open_webhook_service(parts),
            trusted_proxies=settings.trusted_proxies,
        )
        yield create_api(services)


def upload_limits(settings: Settings) -> UploadLimits:
    """What people may send."""
    return UploadLimits(
        max_bytes=settings.upload_max_bytes,
        max_files=settings.upload_max_files,
        quota_bytes=settings.upload_quota_bytes,
        max_unfinished=settings.upload_max_unfinished,
        expiry_seconds=settings.upload_expiry,
        free_bytes=settings.upload_free_bytes,
    )

"""The periodic jobs over opened parts."""

from collections.abc import Mapping
from typing import Any

from app.bootstrap.parts import Parts, open_operations, open_syncs
from app.bootstrap.projections import open_projection_folder
from app.bootstrap.sources import open_upload_folder
from app.db.audit import trim_audit_log
from app.db.database import Database
from app.db.deliveries import trim_deliveries
from app.db.leftovers import DropRules
from app.domain.periodic import PeriodicJob, Round
from app.domain.searches import RollBack
from app.jobs.periodic import PeriodicJobs
from app.jobs.upkeep.benchmarks import DueBenchmarks, StaleBenchmarks
from app.jobs.upkeep.embedding_cache import OldVectors
from app.jobs.upkeep.generations import OldGenerations
from app.jobs.upkeep.operations import OldOperations
from app.jobs.upkeep.orphans import OrphanChunks
from app.jobs.upkeep.partitions import PartitionKeeper
from app.jobs.upkeep.progress import ProgressKeeper
from app.jobs.upkeep.projections import StaleProjections
from app.jobs.upkeep.search_log import OldSearches
from app.jobs.upkeep.statistics import StatisticsKeeper
from app.jobs.upkeep.switches import SwitchWatch
from app.jobs.upkeep.uploads import OldUploads
from app.operations.abandoned import AbandonedGenerations
from app.operations.attached_benchmarks import AttachedBenchmarks
from app.operations.benchmarks import BenchmarkService
from app.operations.rebuilds import RebuildService
from app.progress.keys import ProgressKeys
from app.settings import Settings

MINUTE, HOUR, DAY = 60, 3600, 86_400


def open_periodic_jobs(parts: Parts, *, worker: str) -> PeriodicJobs:
    """All of them, done by ``worker``."""
    return PeriodicJobs(parts.database, list_periodic_jobs(parts), worker=worker)


def list_periodic_jobs(parts: Parts) -> list[PeriodicJob]:
    """Every periodic job there is."""
    operations = open_operations(parts)
    rebuilds = RebuildService(parts.database, operations)
    benchmarks = BenchmarkService(parts.database, operations, has_reranker=parts.reranker is not None)
    attached = AttachedBenchmarks(parts.database, benchmarks)
    return [
        *_dispatching(parts),
        *_cleaning_up(parts),
        *_ending(parts),
        *_looking(parts),
        watch_of_switches(parts.database, rebuilds.go_back),
        PeriodicJob(
            name="begin_due_benchmarks",
            every_seconds=MINUTE,
            limit_seconds=MINUTE,
            does="begins attached benchmarks that are due, or whose collection has another generation now",
            work=DueBenchmarks(attached).begin,
        ),
    ]


def _dispatching(parts: Parts) -> list[PeriodicJob]:
    """What begins and ends operations."""
    settings, syncs = parts.settings, open_syncs(parts)
    abandoned = AbandonedGenerations(parts.database, parts.store)

    async def reconcile(_: Round) -> Mapping[str, Any]:
        return await parts.dispatcher.reconcile()

    async def settle_rebuilds(_: Round) -> Mapping[str, Any]:
        return await abandoned.settle()

    async def begin_syncs(_: Round) -> Mapping[str, Any]:
        return await syncs.dispatch_due()

    async def end_syncs(_: Round) -> Mapping[str, Any]:
        return {"ended": await syncs.settle()}

    return [
        PeriodicJob(
            name="reconcile_operations",
            every_seconds=settings.reconcile,
            limit_seconds=MINUTE,
            overlaps=True,
            has_dry_run=False,
            does="dispatches what is due, takes back what lost its worker, ends what nobody ends",
            work=reconcile,
        ),
        PeriodicJob(
            name="settle_rebuilds",
            every_seconds=settings.reconcile,
            limit_seconds=MINUTE,
            has_dry_run=False,
            does="drops what rebuilds leave that have ended, and has the store's aliases follow switches",
            work=settle_rebuilds,
        ),
        PeriodicJob(
            name="dispatch_due_syncs",
            every_seconds=MINUTE,
            limit_seconds=MINUTE,
            has_dry_run=False,
            does="begins the sync runs of collections that are due",
            work=begin_syncs,
        ),
        PeriodicJob(
            name="settle_sync_runs",
            every_seconds=settings.reconcile,
            limit_seconds=MINUTE,
            has_dry_run=False,
            does="ends the sync runs whose operations have ended",
            work=end_syncs,
        ),
    ]


def _cleaning_up(parts: Parts) -> list[PeriodicJob]:
    """What takes away what nobody needs any more."""
    database, settings = parts.database, parts.settings
    old_operations = OldOperations(database, parts.events, days=settings.default_days_to_keep).clean
    old_generations = OldGenerations(database, parts.store, drop_rules(settings)).clean
    old_vectors = OldVectors(database, max_bytes=settings.embedding_cache_bytes).clean
    orphans = OrphanChunks(database).clean
    old_uploads = OldUploads(database, open_upload_folder(settings), grace_seconds=settings.orphan_grace).clean

    async def trim_records(_: Round) -> Mapping[str, Any]:
        entries = await trim_audit_log(database, keep_days=settings.audit_keep_days)
        deliveries = await trim_deliveries(database, keep_days=settings.webhook_keep_days)
        return {"audit_entries": entries, "deliveries": deliveries}

    return [
        PeriodicJob(
            name="cleanup_old_operations",
            every_seconds=DAY,
            does="deletes operations that finished long ago, with their sums and events",
            work=old_operations,
        ),
        PeriodicJob(
            name="cleanup_generations",
            every_seconds=HOUR,
            does="drops generations past their time and physical collections that no row knows",
            work=old_generations,
        ),
        PeriodicJob(
            name="cleanup_embedding_cache",
            every_seconds=DAY,
            does="drops the cached vectors that were not used for longest, until the rest fits",
            work=old_vectors,
        ),
        PeriodicJob(
            name="cleanup_orphans",
            every_seconds=HOUR,
            does="deletes chunks whose generation is dropped or has no row",
            work=orphans,
        ),
        PeriodicJob(
            name="cleanup_uploads",
            every_seconds=HOUR,
            does="deletes uploads that nobody has finished in time, and files of uploads that no row knows",
            work=old_uploads,
        ),
        PeriodicJob(
            name="cleanup_search_log",
            every_seconds=DAY,
            does="drops searches that were written down past their time, and what became of those of a week ago",
            work=OldSearches(database).clean,
        ),
        PeriodicJob(
            name="cleanup_records",
            every_seconds=HOUR,
            has_dry_run=False,
            does="drops entries of the audit log and deliveries of webhooks past their time",
            work=trim_records,
        ),
    ]


def _ending(parts: Parts) -> list[PeriodicJob]:
    """What ends that nobody makes any more, and takes away what is left of it."""
    database, settings = parts.database, parts.settings
    place = open_projection_folder(settings)
    projections = StaleProjections(database, place, grace_seconds=settings.orphan_grace).clean
    return [
        PeriodicJob(
            name="cleanup_stale_benchmarks",
            every_seconds=6 * HOUR,
            does="ends benchmarks whose operation is gone, and drops what old ones have found; their reports stay",
            work=StaleBenchmarks(database, keep_days=settings.default_days_to_keep).clean,
        ),
        PeriodicJob(
            name="cleanup_projections",
            every_seconds=HOUR,
            does="ends projections whose operation is gone or has ended, and removes files that no row knows",
            work=projections,
        ),
    ]


def _looking(parts: Parts) -> list[PeriodicJob]:
    """What keeps figures and expiries as they should be."""
    statistics = StatisticsKeeper(parts.database, every_seconds=HOUR).keep
    partitions = PartitionKeeper(parts.database).keep
    keys = ProgressKeys(parts.redis, namespace=parts.settings.redis_namespace)
    progress = ProgressKeeper(parts.database, keys).keep
    return [
        PeriodicJob(
            name="refresh_collection_stats",
            every_seconds=HOUR,
            does="keeps what each collection holds, to show how it grows",
            work=statistics,
        ),
        PeriodicJob(
            name="monitor_partition_health",
            every_seconds=6 * HOUR,
            limit_seconds=30 * MINUTE,
            does="looks how even the partitions of the chunks are, and has Postgres clean up where that helps",
            work=partitions,
        ),
        PeriodicJob(
            name="refresh_progress_ttl",
            every_seconds=10 * MINUTE,
            does="gives every stream of progress events an expiry, and drops those without an operation",
            work=progress,
        ),
    ]


def watch_of_switches(database: Database, roll_back: RollBack) -> PeriodicJob:
    """The job that has ``roll_back`` called where searches got worse after a generation took over."""
    return PeriodicJob(
        name="watch_switches",
        every_seconds=MINUTE,
        limit_seconds=MINUTE,
        does="goes back to the generation before where searches got worse after a rebuild took over, if that is wanted",
        work=SwitchWatch(database, roll_back).watch,
    )


def drop_rules(settings: Settings) -> DropRules:
    """How long what is replaced or given up is kept."""
    return DropRules(
        window=settings.reindex_rollback_window,
        delay_base=settings.cleanup_delay_base,
        delay_per_10k=settings.cleanup_delay_per_10k_vectors,
        delay_most=settings.cleanup_delay_max,
        grace=settings.orphan_grace,
    )

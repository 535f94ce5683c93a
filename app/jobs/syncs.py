"""The periodic jobs of continuous sync."""

from typing import Any

from arq.cron import CronJob, cron

from app.jobs.cron import run_tick
from app.operations.syncs import SyncService

ROUND_SECONDS = 60


async def dispatch_due_syncs(ctx: dict[Any, Any]) -> None:
    """Begin the sync runs of collections that are due, once a minute over all workers."""
    syncs: SyncService = ctx["syncs"]
    await run_tick(
        ctx["database"],
        "dispatch_due_syncs",
        every_seconds=ROUND_SECONDS,
        worker=ctx["worker"],
        work=syncs.dispatch_due,
    )


async def settle_sync_runs(ctx: dict[Any, Any]) -> None:
    """End the sync runs whose operations have ended."""
    syncs: SyncService = ctx["syncs"]
    await run_tick(
        ctx["database"],
        "settle_sync_runs",
        every_seconds=ctx["reconcile_seconds"],
        worker=ctx["worker"],
        work=syncs.settle,
    )


def sync_cron_jobs(seconds: set[int], **options: Any) -> list[CronJob]:  # noqa: ANN401 — arq's own open-ended options
    """Their times; ``seconds`` of a minute at which what has ended is noted."""
    return [cron(dispatch_due_syncs, second=3, **options), cron(settle_sync_runs, second=seconds, **options)]

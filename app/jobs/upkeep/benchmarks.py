"""cleanup_stale_benchmarks: what nobody measures any more; begin_due_benchmarks: what is measured by the clock."""

from collections.abc import Mapping
from typing import Any

from app.db.benchmarks import BenchmarkRepository
from app.db.database import Database
from app.domain.periodic import Round
from app.operations.attached_benchmarks import AttachedBenchmarks

SETTLING_SECONDS = 60.0
"""A benchmark is created a moment before its operation is seen by others."""


class StaleBenchmarks:
    """Benchmarks whose operation is gone, or has ended without them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            ended = await BenchmarkRepository(connection).end_stale(
                older_than_seconds=SETTLING_SECONDS, dry_run=given.dry_run
            )
        return {"benchmarks": ended}


class DueBenchmarks:
    """Benchmarks that are attached to a collection."""

    def __init__(self, attached: AttachedBenchmarks) -> None:
        self._attached = attached

    async def begin(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        return await self._attached.begin_due(dry_run=given.dry_run)

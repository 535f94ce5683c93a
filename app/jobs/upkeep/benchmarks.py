"""cleanup_stale_benchmarks: what nobody measures any more; begin_due_benchmarks: what is measured by the clock."""

from collections.abc import Mapping
from typing import Any

from app.db.benchmarks import BenchmarkRepository
from app.db.database import Database
from app.db.products import end_stale
from app.domain.periodic import Round
from app.operations.attached_benchmarks import AttachedBenchmarks

ROWS_PER_TRIM = 5000
SETTLING_SECONDS = 60.0
"""A benchmark is created a moment before its operation is seen by others."""


class StaleBenchmarks:
    """Benchmarks whose operation is gone, or has ended without them, and what those of long ago have found."""

    def __init__(self, database: Database, *, keep_days: int) -> None:
        self._database = database
        self._keep_days = keep_days

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            ended = await end_stale(
                connection, "benchmarks", older_than_seconds=SETTLING_SECONDS, dry_run=given.dry_run
            )
        return {"benchmarks": ended, "results": await self._drop_results(is_dry=given.dry_run)}

    async def _drop_results(self, *, is_dry: bool) -> int:
        if is_dry:
            async with self._database.begin() as connection:
                return await BenchmarkRepository(connection).count_old_results(older_than_days=self._keep_days)
        total, dropped = 0, ROWS_PER_TRIM
        while dropped == ROWS_PER_TRIM:
            async with self._database.begin() as connection:
                dropped = await BenchmarkRepository(connection).drop_old_results(
                    older_than_days=self._keep_days, rows=ROWS_PER_TRIM
                )
            total += dropped
        return total


class DueBenchmarks:
    """Benchmarks that are attached to a collection."""

    def __init__(self, attached: AttachedBenchmarks) -> None:
        self._attached = attached

    async def begin(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        return await self._attached.begin_due(dry_run=given.dry_run)

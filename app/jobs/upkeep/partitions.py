"""monitor_partition_health: whether the partitions of the chunks are even, and what helps those that are not well."""

from collections.abc import Mapping
from typing import Any

import structlog

from app.db.database import Database
from app.db.guard import UNAVAILABLE
from app.db.partitions import PartitionRepository, help_partition
from app.domain.partitions import PartitionHealth, PartitionStatus, judge_partitions
from app.domain.periodic import Round
from app.jobs.classify import classify

log = structlog.get_logger(__name__)

HELPED_PER_ROUND = 8
HELP_SECONDS = 120.0


class PartitionKeeper:
    """Looks at all partitions and helps those that need it most; the rest has its turn next time."""

    def __init__(self, database: Database, *, most_helped: int = HELPED_PER_ROUND) -> None:
        self._database = database
        self._most_helped = most_helped

    async def keep(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        async with self._database.begin() as connection:
            judged = judge_partitions(await PartitionRepository(connection).read_figures())
        if given.dry_run:
            return {**_summary(judged), "would": {each.figures.name: each.needs.value for each in judged if each.needs}}
        failed: dict[str, str] = {}
        urgent = sorted(judged, key=lambda each: each.figures.dead_rows + each.figures.changed_rows, reverse=True)
        to_help = {each.figures.name for each in [each for each in urgent if each.needs][: self._most_helped]}
        kept = [await self._help(each, failed) if each.figures.name in to_help else each for each in judged]
        async with self._database.begin() as connection:
            await PartitionRepository(connection).keep(kept)
        for each in kept:
            if each.status is not PartitionStatus.HEALTHY:
                log.warning(
                    "partition_uneven",
                    partition=each.figures.name,
                    status=each.status.value,
                    skew=round(each.skew, 3),
                    share=round(each.share, 3),
                )
        done = {each.figures.name: each.action.value for each in kept if each.action}
        left = sum(each.needs is not None for each in kept)
        return {**_summary(kept), "done": done, "left": left, "failed": failed}

    async def _help(self, partition: PartitionHealth, failed: dict[str, str]) -> PartitionHealth:
        if partition.needs is None:
            return partition
        name = partition.figures.name
        try:
            await help_partition(self._database, name, partition.needs, timeout_seconds=HELP_SECONDS)
        except UNAVAILABLE as error:
            failed[name] = classify(error).code
            log.warning("partition_not_helped", partition=name, action=partition.needs.value, code=failed[name])
            return partition
        return partition.done(partition.needs)


def _summary(partitions: list[PartitionHealth]) -> dict[str, Any]:
    statuses = [each.status for each in partitions]
    return {
        "partitions": len(partitions),
        "rows": sum(each.figures.rows for each in partitions),
        "dead_rows": sum(each.figures.dead_rows for each in partitions),
        "warning": statuses.count(PartitionStatus.WARNING),
        "unbalanced": statuses.count(PartitionStatus.UNBALANCED),
    }

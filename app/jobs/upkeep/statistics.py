"""refresh_collection_stats: what each collection holds, kept hour by hour."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from app.db.collection_stats import CollectionStatsRepository
from app.db.database import Database
from app.db.guard import UNAVAILABLE
from app.domain.periodic import Round
from app.jobs.classify import classify

log = structlog.get_logger(__name__)

PER_PAGE = 100
MOST_FAILURES = 20


class StatisticsKeeper:
    """Goes through all collections, each in a transaction of its own; one that fails does not stop the others.

    Args:
        every_seconds: what was measured in the second half of this is not measured again.
    """

    def __init__(self, database: Database, *, every_seconds: float) -> None:
        self._database = database
        self._age_seconds = every_seconds / 2

    async def keep(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        done, failed, failures = 0, list[UUID](), dict[str, int]()
        # what concerns more than a few of them is not theirs
        while True:
            async with self._database.begin() as connection:
                due = await CollectionStatsRepository(connection).list_due(
                    older_than_seconds=self._age_seconds, without=failed, limit=PER_PAGE
                )
            if given.dry_run:
                return {"collections": len(due), "complete": len(due) < PER_PAGE}
            if not due:
                return {"collections": done, "failed": failures, "complete": True}
            for collection_id in due:
                try:
                    await self._keep_one(collection_id)
                    done += 1
                except UNAVAILABLE as error:
                    failed.append(collection_id)
                    if len(failed) > MOST_FAILURES:
                        raise
                    code = classify(error).code
                    failures[code] = failures.get(code, 0) + 1
                    log.warning("statistics_failed", collection_id=str(collection_id), code=code)

    async def _keep_one(self, collection_id: UUID) -> None:
        async with self._database.begin() as connection:
            stats = CollectionStatsRepository(connection)
            await stats.keep(collection_id, await stats.measure(collection_id))

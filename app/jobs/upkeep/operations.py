"""cleanup_old_operations: what finished long ago goes, with its sums and its events."""

from collections.abc import Mapping
from typing import Any

from app.db.database import Database
from app.db.leftovers import LeftoverRepository
from app.domain.periodic import Round
from app.domain.ports import OperationEvents

PER_BATCH = 500


class OldOperations:
    """Deletes finished operations. What is written elsewhere about them, such as an audit log, stays.

    Args:
        days: how long they are kept.
    """

    def __init__(self, database: Database, events: OperationEvents, *, days: int) -> None:
        self._database = database
        self._events = events
        self._days = days

    async def clean(self, given: Round) -> Mapping[str, Any]:
        """See ``PeriodicJob.work``."""
        if given.dry_run:
            async with self._database.begin() as connection:
                count = await LeftoverRepository(connection).count_old_operations(days=self._days)
            return {"operations": count, "older_than_days": self._days}
        total = 0
        while True:
            async with self._database.begin() as connection:
                deleted = await LeftoverRepository(connection).delete_old_operations(days=self._days, limit=PER_BATCH)
            for operation_id in deleted:
                await self._events.forget(operation_id)
            total += len(deleted)
            if len(deleted) < PER_BATCH:
                return {"operations": total, "older_than_days": self._days}

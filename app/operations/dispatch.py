"""Brings committed, due operations to the queue, and takes back those whose worker is gone."""

from uuid import UUID

import structlog

from app.db.database import Database
from app.db.operations import OperationRepository
from app.domain.operations import Lease, Operation, OperationState
from app.domain.ports import OperationEvents, OperationQueue

log = structlog.get_logger(__name__)

DUE_PER_ROUND = 500
OVERDUE_SECONDS = 60
"""A worker that died between taking a delivery and claiming it leaves a queue entry nobody will take."""


class Dispatcher:
    """The only code that enqueues. It sees committed rows alone, so nothing uncommitted is ever dispatched."""

    def __init__(
        self, database: Database, queue: OperationQueue, events: OperationEvents, *, max_interruptions: int
    ) -> None:
        self._database = database
        self._queue = queue
        self._events = events
        self._max_interruptions = max_interruptions

    async def dispatch(self, operation_id: UUID) -> bool:
        """Enqueue an operation if it is due and first in line, else write down behind whom it waits."""
        async with self._database.begin() as connection:
            operations = OperationRepository(connection)
            operation = await operations.mark_dispatched(operation_id)
            if operation is None:
                await operations.explain_waiting(operation_id)
        if operation is None:
            return False
        return await self._queue.enqueue(operation.id, operation.dispatch)

    async def explain(self, operation_id: UUID) -> None:
        """Write down behind whom an operation waits, if it does."""
        async with self._database.begin() as connection:
            await OperationRepository(connection).explain_waiting(operation_id)

    async def dispatch_next(self, collection_id: UUID) -> None:
        """Enqueue the operation that has waited longest for this collection, if any."""
        async with self._database.begin() as connection:
            operation_id = await OperationRepository(connection).find_next_writer(collection_id)
        if operation_id is not None:
            await self.dispatch(operation_id)

    async def reconcile(self) -> dict[str, int]:
        """Heal what crashes left behind; safe on any number of workers at once."""
        taken_back = await self._take_back_expired()
        async with self._database.begin() as connection:
            due = await OperationRepository(connection).list_due(limit=DUE_PER_ROUND, overdue_seconds=OVERDUE_SECONDS)
        dispatched = 0
        for operation, overdue in due:
            if not overdue and await self._queue.is_queued(operation.id, operation.dispatch):
                continue
            await self._queue.forget(operation.id, operation.dispatch)
            dispatched += await self.dispatch(operation.id)
        return {"taken_back": taken_back, "dispatched": dispatched}

    async def recover(self) -> dict[str, int]:
        """Reconcile when all attempts are known to be dead, because the stores they wrote to have just been started."""
        async with self._database.begin() as connection:
            await OperationRepository(connection).expire_leases()
        return await self.reconcile()

    async def _take_back_expired(self) -> int:
        async with self._database.begin() as connection:
            expired = await OperationRepository(connection).list_expired()
        count = 0
        for operation in expired:
            count += await self._take_back(operation)
        return count

    async def _take_back(self, operation: Operation) -> bool:
        if operation.lease_token is None:
            return False
        lease = Lease(operation_id=operation.id, token=operation.lease_token)
        async with self._database.begin() as connection:
            changed = await OperationRepository(connection).take_back(lease, max_interruptions=self._max_interruptions)
        if changed is None:
            return False
        log.warning("lease_expired", operation_id=str(operation.id), worker=operation.worker, now=changed.state.value)
        if changed.state.is_final:
            await self.announce_end(changed)
            await self.dispatch_next(changed.collection_id)
        return True

    async def announce_end(self, operation: Operation) -> None:
        """Publish the final event of an operation whose final state is committed."""
        async with self._events.open(operation) as reporter:
            await reporter.send_update(*final_event(operation))


def final_event(operation: Operation) -> tuple[str, dict[str, object]]:
    """Type and data of the event that ends an operation's stream."""
    if operation.state is OperationState.COMPLETED:
        return "operation_completed", {"result": operation.result or {}}
    if operation.state is OperationState.CANCELLED:
        return "operation_cancelled", {}
    data: dict[str, object] = {
        "error_code": operation.error_code,
        "error_message": operation.error_message,
        "retryable": operation.retryable,
    }
    return "operation_failed", data

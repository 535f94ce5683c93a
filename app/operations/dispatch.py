"""Brings committed, due operations to the queue, and takes back those whose worker is gone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError

from app.db.attempts import AttemptRepository
from app.db.database import Database
from app.db.lanes import LaneRepository
from app.db.line import LineRepository
from app.db.workers import WorkerRepository
from app.domain.operations import Lease, Operation, OperationState
from app.domain.ports import OperationEvents, OperationQueue
from app.metrics import RECONCILED
from app.operations.batches import Batches

log = structlog.get_logger(__name__)

PER_ROUND = 500
OVERDUE_SECONDS = 60
"""A worker that died between taking a delivery and claiming it leaves a queue entry nobody will take."""

TAKE_BACK_SECONDS = 2.0
"""How long to wait for the last transaction of a lost attempt before the others get their turn."""

LONGEST_DELAY_SECONDS = 3600.0
"""No operation waits longer than this for its next attempt after an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRules:
    """How the line is worked off; see ``LineRepository.pick``."""

    max_interruptions: int
    aging_seconds: float = 600.0
    lookahead: int = 0
    without_workers: int = 10


class Dispatcher:
    """The only code that enqueues. It sees committed rows alone, so nothing uncommitted is ever dispatched."""

    def __init__(
        self, database: Database, queue: OperationQueue, events: OperationEvents, rules: DispatchRules
    ) -> None:
        self._database = database
        self._queue = queue
        self._events = events
        self._rules = rules
        self._rounds = Batches(self._pump_once)

    async def pump(self) -> int:
        """Enqueue what shall start now; how many operations that are.

        To be called whenever an operation came, ended or became due. Calls of one moment share a round.
        """
        return await self._rounds(None)

    async def _pump_once(self, callers: Sequence[None]) -> list[int]:
        async with self._database.single() as connection:
            picked = await self._pick(LineRepository(connection))
        if picked is None:
            async with self._database.begin() as connection:
                line = LineRepository(connection)
                await line.wait_for_turn()
                picked = await self._pick(line)
        if picked:
            await self._queue.enqueue(picked)
        return [len(picked or ())] * len(callers)

    async def _pick(self, line: LineRepository) -> list[tuple[UUID, int]] | None:
        return await line.pick(
            lookahead=self._rules.lookahead,
            without_workers=self._rules.without_workers,
            aging_seconds=self._rules.aging_seconds,
        )

    async def reconcile(self) -> dict[str, int]:
        """Heal what crashes left behind; safe on any number of workers at once."""
        async with self._database.begin() as connection:
            healed = await AttemptRepository(connection).heal_clock(longest_delay_seconds=LONGEST_DELAY_SECONDS)
            cancelled = await AttemptRepository(connection).end_cancelled()
            lanes_ended = await LaneRepository(connection).end_lost()
        for operation in cancelled:
            await self.announce_end(operation)
        actions = {
            "clock_healed": healed,
            "cancelled": len(cancelled),
            "lanes_ended": lanes_ended,
            "taken_back": await self.take_back(),
            "enqueued_again": await self._enqueue_lost(),
            "dispatched": await self.pump(),
            "told": await self._tell_why(),
        }
        for action in actions.keys() - {"taken_back"}:
            RECONCILED.labels(action).inc(actions[action])
        return actions

    async def recover(self) -> dict[str, int]:
        """Reconcile when all attempts are known to be dead, because the stores they wrote to have just been started."""
        async with self._database.begin() as connection:
            await WorkerRepository(connection).stop_all()
            await AttemptRepository(connection).expire_leases()
        return await self.reconcile()

    async def take_back(self) -> int:
        """Take operations back whose lease has ended; how many that were."""
        async with self._database.begin() as connection:
            expired = await AttemptRepository(connection).list_expired()
        count = 0
        for operation in expired:
            try:
                count += await self._take_back(operation)
            except DBAPIError as error:
                # its worker was stopped in the middle of a transaction: its turn comes when Postgres has ended that
                log.warning("not_taken_back", operation_id=str(operation.id), error=type(error.orig).__name__)
        # counted here: workers that find another one dead do not wait for the next round
        RECONCILED.labels("taken_back").inc(count)
        return count

    async def _take_back(self, operation: Operation) -> bool:
        if operation.lease_token is None:
            return False
        lease = Lease(operation_id=operation.id, token=operation.lease_token)
        async with self._database.begin() as connection:
            attempts = AttemptRepository(connection)
            await attempts.wait_at_most(TAKE_BACK_SECONDS)
            changed = await attempts.take_back(lease, max_interruptions=self._rules.max_interruptions)
        if changed is None:
            return False
        log.warning("lease_expired", operation_id=str(operation.id), worker=operation.worker, now=changed.state.value)
        if changed.state.is_final:
            await self.announce_end(changed)
        return True

    async def _enqueue_lost(self) -> int:
        """Enqueue again what was dispatched and is in no queue, or has been there for long."""
        async with self._database.begin() as connection:
            dispatched = await LineRepository(connection).list_dispatched(
                limit=PER_ROUND, overdue_seconds=OVERDUE_SECONDS
            )
        numbers = [(operation.id, operation.dispatch) for operation, _ in dispatched]
        waiting = await self._queue.find_queued(numbers)
        lost = [
            (operation.id, operation.dispatch)
            for operation, is_overdue in dispatched
            if is_overdue or operation.id not in waiting
        ]
        if not lost:
            return 0
        await self._queue.forget(lost)
        async with self._database.begin() as connection:
            again = await LineRepository(connection).dispatch_again(lost)
        await self._queue.enqueue(again)
        return len(again)

    async def _tell_why(self) -> int:
        """Tell watchers why their operations wait, where that has changed."""
        async with self._database.begin() as connection:
            untold = await LineRepository(connection).list_untold(limit=PER_ROUND)
        for operation in untold:
            async with self._events.open(operation) as reporter:
                await reporter.send_update("operation_waiting", {"why_waiting": operation.why_waiting})
        return len(untold)

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

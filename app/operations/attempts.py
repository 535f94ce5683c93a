"""What a worker does to an operation: claim, keep, give back, end."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from app.db.attempts import AttemptRepository, Outcome
from app.db.database import Database
from app.db.line import LineRepository
from app.db.operations import OperationRepository
from app.domain.operations import Lease, Operation, OperationState
from app.domain.sanitising import sanitise
from app.operations.batches import Batches

UNKNOWN_KIND_SECONDS = 1.0
Delivery = tuple[UUID, int]


class Attempts:
    """Guarded transitions of running operations; each is one short transaction, shared by those of the same moment."""

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        worker_id: UUID | None = None,
        kinds: Sequence[str],
        lease_seconds: float,
    ) -> None:
        self._database = database
        self._worker = worker
        self._worker_id = worker_id
        self._kinds = kinds
        self._lease_seconds = lease_seconds
        self._claim = Batches(self._claim_all)
        self._finish = Batches(self._finish_all)

    async def claim(self, operation_id: UUID, dispatch: int) -> Operation | None:
        """Start an attempt; None if this delivery is stale, or its operation may not run now."""
        return await self._claim((operation_id, dispatch))

    async def withdraw(self, operation_id: UUID, dispatch: int) -> None:
        """Put an operation that could not be claimed back into the line, unless the delivery was stale."""
        async with self._database.single() as connection:
            await LineRepository(connection).withdraw(
                operation_id, dispatch=dispatch, kinds=self._kinds, unknown_delay_seconds=UNKNOWN_KIND_SECONDS
            )

    async def save_progress(self, lease: Lease, progress: dict[str, Any] | None, *, why_waiting: str | None) -> None:
        """Keep the last snapshot in the row, for those who ask after the stream is gone."""
        async with self._database.single() as connection:
            await AttemptRepository(connection).save_progress(lease, progress, why_waiting=why_waiting)

    async def complete(self, lease: Lease, result: dict[str, Any]) -> Operation | None:
        """End as completed.

        Raises:
            TypeError: if the result is not JSON.
        """
        written = orjson.dumps(result).decode()
        return await self._end(Outcome(lease=lease, state=OperationState.COMPLETED, result=written))

    async def cancel(self, lease: Lease) -> Operation | None:
        """End as cancelled."""
        return await self._end(Outcome(lease=lease, state=OperationState.CANCELLED))

    async def find_ended(self, attempted: Operation) -> Operation | None:
        """The operation, if it has ended with this attempt: its commit may have gone unanswered."""
        async with self._database.single() as connection:
            operation = await OperationRepository(connection).get(attempted.id)
        is_ours = (operation.attempt, operation.dispatch) == (attempted.attempt, attempted.dispatch)
        return operation if operation.state.is_final and is_ours else None

    async def fail(self, lease: Lease, *, code: str, message: str, retryable: bool) -> Operation | None:
        """End as failed."""
        return await self._end(
            Outcome(
                lease=lease,
                state=OperationState.FAILED,
                error_code=code,
                error_message=sanitise(message),
                retryable=retryable,
            )
        )

    async def hand_back(
        self, lease: Lease, *, why: str | None, interrupted: bool, delay_seconds: float = 0
    ) -> Operation | None:
        """Back to pending: the work goes on in another slice or on another worker."""
        async with self._database.single() as connection:
            return await AttemptRepository(connection).put_back(
                lease, interruptions=int(interrupted), why_waiting=why, delay_seconds=delay_seconds
            )

    async def retry_later(
        self, lease: Lease, *, delay_seconds: float, code: str, message: str, interrupted: bool = False
    ) -> Operation | None:
        """Back to pending after a failed attempt, or one that an outside system's outage interrupted."""
        async with self._database.single() as connection:
            return await AttemptRepository(connection).put_back(
                lease,
                delay_seconds=delay_seconds,
                failures=int(not interrupted),
                interruptions=int(interrupted),
                error_code=code,
                error_message=sanitise(message),
            )

    async def _claim_all(self, deliveries: Sequence[Delivery]) -> list[Operation | None]:
        try:
            claimed = await self._claim_together(deliveries)
        except IntegrityError:
            # a writer of the same collection was claimed elsewhere at this moment: it fails one, not all
            claimed = {}
            for delivery in deliveries:
                claimed |= await self._claim_alone(delivery)
        operations = [claimed.get(operation_id) for operation_id, _ in deliveries]
        # a stale delivery may come at the same moment as the one that counts
        return [
            operation if operation is not None and operation.dispatch == dispatch else None
            for operation, (_, dispatch) in zip(operations, deliveries, strict=True)
        ]

    async def _claim_together(self, deliveries: Sequence[Delivery]) -> dict[UUID, Operation]:
        async with self._database.single() as connection:
            return await AttemptRepository(connection).claim(
                deliveries,
                worker=self._worker,
                worker_id=self._worker_id,
                kinds=self._kinds,
                lease_seconds=self._lease_seconds,
            )

    async def _claim_alone(self, delivery: Delivery) -> dict[UUID, Operation]:
        try:
            return await self._claim_together([delivery])
        except IntegrityError:
            return {}

    async def _end(self, outcome: Outcome) -> Operation | None:
        ended = await self._finish(outcome)
        if isinstance(ended, DBAPIError):
            raise ended
        return ended

    async def _finish_all(self, outcomes: Sequence[Outcome]) -> list[Operation | DBAPIError | None]:
        try:
            return list(await self._finish_together(outcomes))
        except (OperationalError, InterfaceError):
            raise
        except DBAPIError:
            # one of them cannot be stored: it fails its own operation, not all of them
            return [await self._finish_alone(outcome) for outcome in outcomes]

    async def _finish_together(self, outcomes: Sequence[Outcome]) -> list[Operation | None]:
        async with self._database.single() as connection:
            ended = await AttemptRepository(connection).finish(outcomes)
        return [ended.get(outcome.lease.operation_id) for outcome in outcomes]

    async def _finish_alone(self, outcome: Outcome) -> Operation | DBAPIError | None:
        try:
            return (await self._finish_together([outcome]))[0]
        except DBAPIError as error:
            return error

"""What a worker does to an operation: claim, keep, give back, end."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.db.database import Database
from app.db.operations import OperationRepository
from app.domain.operations import Lease, Operation, OperationState
from app.domain.sanitising import sanitise


class Attempts:
    """Guarded transitions of running operations; each is one short transaction."""

    def __init__(self, database: Database, *, worker: str, lease_seconds: float) -> None:
        self._database = database
        self._worker = worker
        self._lease_seconds = lease_seconds

    async def claim(self, operation_id: UUID, dispatch: int) -> Operation | None:
        """Start an attempt; None if this delivery is stale or another writer goes first."""
        try:
            async with self._database.begin() as connection:
                operations = OperationRepository(connection)
                return await operations.claim(
                    operation_id, dispatch=dispatch, worker=self._worker, lease_seconds=self._lease_seconds
                )
        except IntegrityError:
            return None  # another writer of the collection was claimed at the same moment

    async def beat(self, leases: Sequence[Lease]) -> dict[UUID, bool]:
        """Renew leases; see ``OperationRepository.beat``."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).beat(leases, lease_seconds=self._lease_seconds)

    async def save_progress(self, lease: Lease, progress: dict[str, Any]) -> None:
        """Keep the last snapshot in the row, for those who ask after the stream is gone."""
        async with self._database.begin() as connection:
            await OperationRepository(connection).save_progress(lease, progress)

    async def complete(self, lease: Lease, result: dict[str, Any]) -> Operation | None:
        """End as completed."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).finish(lease, OperationState.COMPLETED, result=result)

    async def cancel(self, lease: Lease) -> Operation | None:
        """End as cancelled."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).finish(lease, OperationState.CANCELLED)

    async def fail(self, lease: Lease, *, code: str, message: str, retryable: bool) -> Operation | None:
        """End as failed."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).finish(
                lease, OperationState.FAILED, error_code=code, error_message=sanitise(message), retryable=retryable
            )

    async def hand_back(self, lease: Lease, *, why: str, interrupted: bool) -> Operation | None:
        """Back to pending at once: the work goes on in another slice or on another worker."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).put_back(
                lease, interruptions=int(interrupted), why_waiting=why
            )

    async def retry_later(self, lease: Lease, *, delay_seconds: float, code: str, message: str) -> Operation | None:
        """Back to pending after a failed attempt."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).put_back(
                lease,
                delay_seconds=delay_seconds,
                failures=1,
                why_waiting=f"waiting {delay_seconds:.0f} s to try again after {code}",
                error_code=code,
                error_message=sanitise(message),
            )

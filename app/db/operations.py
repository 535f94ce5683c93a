"""Rows of ``operations``: every state change an operation can make is one guarded statement here."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Uuid

from app.domain.errors import OperationNotFoundError
from app.domain.operations import Lease, Operation, OperationKind, OperationState

_FIELDS = (
    "id", "user_id", "collection_id", "config", "result", "progress", "dispatch", "attempt", "failures",
    "interruptions", "lease_token", "worker", "why_waiting", "cancel_requested_at", "run_after", "error_code",
    "error_message", "retryable", "created_at", "started_at", "finished_at", "heartbeat_at",
)  # fmt: skip

_SELECT = "SELECT o.*, c.name AS collection_name FROM operations o JOIN collections c ON c.id = o.collection_id"

# Nobody older wants to write to the same collection.
_FIRST_IN_LINE = """
    (NOT o.writes OR NOT EXISTS (
        SELECT 1 FROM operations e
        WHERE e.collection_id = o.collection_id AND e.writes AND e.seq < o.seq AND e.state IN ('pending', 'running')))
"""


def _to_operation(row: RowMapping) -> Operation:
    return Operation(
        kind=OperationKind(row["kind"]),
        state=OperationState(row["state"]),
        collection_name=row["collection_name"],
        **{name: row[name] for name in _FIELDS},
    )


class OperationRepository:
    """Takes ids, gives operations, never commits. The clock is Postgres' alone."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        return (await self._connection.execute(text(sql), dict(values))).mappings().all()

    async def _change(self, sql: str, values: Mapping[str, Any]) -> Operation | None:
        """Run an ``UPDATE operations o … RETURNING o.*`` and give the changed row, if any."""
        statement = text(f"WITH o AS ({sql} RETURNING o.*) {_SELECT.replace('FROM operations o', 'FROM o')}")
        for name, value in values.items():
            if isinstance(value, dict):
                statement = statement.bindparams(bindparam(name, type_=JSONB))
        row = (await self._connection.execute(statement, dict(values))).mappings().first()
        return None if row is None else _to_operation(row)

    async def add(
        self,
        *,
        user_id: UUID,
        collection_id: UUID,
        kind: OperationKind,
        config: dict[str, Any],
        idempotency_key: str | None,
        writes: bool = True,
    ) -> Operation:
        """Insert a pending operation, or give the unfinished one with the same idempotency key."""
        statement = text(
            """
            INSERT INTO operations (id, user_id, collection_id, kind, state, writes, config, idempotency_key)
            VALUES (:id, :user_id, :collection_id, :kind, 'pending', :writes, :config, :key)
            ON CONFLICT (user_id, idempotency_key)
                WHERE idempotency_key IS NOT NULL AND state IN ('pending', 'running')
                DO UPDATE SET idempotency_key = excluded.idempotency_key
            RETURNING id
            """
        ).bindparams(bindparam("config", type_=JSONB))
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "collection_id": collection_id,
            "kind": kind.value,
            "writes": writes,
            "config": config,
            "key": idempotency_key,
        }
        operation_id = (await self._connection.execute(statement, values)).scalar_one()
        return await self.get(operation_id)

    async def get(self, operation_id: UUID) -> Operation:
        """Raises OperationNotFoundError."""
        rows = await self._rows(f"{_SELECT} WHERE o.id = :id", {"id": operation_id})
        if not rows:
            raise OperationNotFoundError(operation_id)
        return _to_operation(rows[0])

    async def find_by_key(self, user_id: UUID, idempotency_key: str) -> Operation | None:
        """The caller's newest operation with this idempotency key, finished or not."""
        rows = await self._rows(
            f"{_SELECT} WHERE o.user_id = :user AND o.idempotency_key = :key ORDER BY o.seq DESC LIMIT 1",
            {"user": user_id, "key": idempotency_key},
        )
        return _to_operation(rows[0]) if rows else None

    async def list_newest(
        self, user_id: UUID, *, states: Sequence[OperationState], collection_id: UUID | None, limit: int
    ) -> list[Operation]:
        """Newest first."""
        rows = await self._rows(
            f"""{_SELECT} WHERE o.user_id = :user
                AND (cardinality(CAST(:states AS text[])) = 0 OR o.state = ANY(:states))
                AND (CAST(:collection AS uuid) IS NULL OR o.collection_id = :collection)
                ORDER BY o.created_at DESC, o.seq DESC LIMIT :limit""",
            {"user": user_id, "states": [s.value for s in states], "collection": collection_id, "limit": limit},
        )
        return [_to_operation(row) for row in rows]

    async def find_running_writer(self, collection_id: UUID) -> UUID | None:
        """The operation that is writing to the collection now."""
        rows = await self._rows(
            "SELECT id FROM operations WHERE collection_id = :id AND writes AND state = 'running'",
            {"id": collection_id},
        )
        return rows[0]["id"] if rows else None

    async def mark_dispatched(self, operation_id: UUID) -> Operation | None:
        """Give a due operation that is first in line its next dispatch number; None if it is not."""
        return await self._change(
            f"""UPDATE operations o SET dispatch = dispatch + 1, dispatched_at = now(), why_waiting = NULL
                WHERE o.id = :id AND o.state = 'pending' AND o.run_after <= now() AND {_FIRST_IN_LINE}""",
            {"id": operation_id},
        )

    async def explain_waiting(self, operation_id: UUID) -> Operation | None:
        """Write behind whom a pending writer waits and take it out of the queue."""
        return await self._change(
            """UPDATE operations o SET dispatched_at = NULL, why_waiting =
                 (SELECT 'behind operation ' || e.id || ' (' || e.kind || ', ' || e.state || ')' FROM operations e
                  WHERE e.collection_id = o.collection_id AND e.writes AND e.seq < o.seq
                    AND e.state IN ('pending', 'running') ORDER BY e.seq DESC LIMIT 1)
               WHERE o.id = :id AND o.state = 'pending' AND o.writes AND EXISTS
                 (SELECT 1 FROM operations e WHERE e.collection_id = o.collection_id AND e.writes AND e.seq < o.seq
                    AND e.state IN ('pending', 'running'))""",
            {"id": operation_id},
        )

    async def list_due(self, *, limit: int, overdue_seconds: float) -> Sequence[tuple[Operation, bool]]:
        """Pending operations that could run now, oldest first, and whether their last dispatch is long ago."""
        due = _SELECT.replace(
            "SELECT o.*", "SELECT o.*, o.dispatched_at < now() - make_interval(secs => :overdue) AS overdue"
        )
        rows = await self._rows(
            f"""{due} WHERE o.state = 'pending' AND o.run_after <= now() AND {_FIRST_IN_LINE}
                ORDER BY o.seq LIMIT :limit""",
            {"limit": limit, "overdue": float(overdue_seconds)},
        )
        return [(_to_operation(row), row["overdue"] is not False) for row in rows]

    async def find_next_writer(self, collection_id: UUID) -> UUID | None:
        """The pending writer that is now first in line."""
        rows = await self._rows(
            f"""SELECT o.id FROM operations o
                WHERE o.collection_id = :id AND o.writes AND o.state = 'pending' AND {_FIRST_IN_LINE}""",
            {"id": collection_id},
        )
        return rows[0]["id"] if rows else None

    async def claim(self, operation_id: UUID, *, dispatch: int, worker: str, lease_seconds: float) -> Operation | None:
        """Start an attempt, or None if this delivery is stale, cancelled, not due or not first in line."""
        return await self._change(
            f"""UPDATE operations o SET state = 'running', attempt = attempt + 1, lease_token = :token,
                    lease_until = now() + make_interval(secs => :lease), heartbeat_at = now(), worker = :worker,
                    started_at = coalesce(started_at, now()), why_waiting = NULL
                WHERE o.id = :id AND o.dispatch = :dispatch AND o.state = 'pending' AND o.run_after <= now()
                  AND o.cancel_requested_at IS NULL AND {_FIRST_IN_LINE}""",
            {
                "id": operation_id,
                "dispatch": dispatch,
                "token": uuid4(),
                "worker": worker,
                "lease": float(lease_seconds),
            },
        )

    async def beat(self, leases: Sequence[Lease], *, lease_seconds: float) -> dict[UUID, bool]:
        """Renew leases; a lost one is missing from the answer, the value says whether a cancel is requested."""
        statement = text(
            """UPDATE operations o SET lease_until = now() + make_interval(secs => :lease), heartbeat_at = now()
               FROM unnest(:ids, :tokens) AS held (id, token)
               WHERE o.id = held.id AND o.lease_token = held.token AND o.state = 'running'
               RETURNING o.id, o.cancel_requested_at IS NOT NULL AS cancel"""
        ).bindparams(bindparam("ids", type_=ARRAY(Uuid)), bindparam("tokens", type_=ARRAY(Uuid)))
        values = {
            "lease": float(lease_seconds),
            "ids": [lease.operation_id for lease in leases],
            "tokens": [lease.token for lease in leases],
        }
        rows = (await self._connection.execute(statement, values)).mappings().all()
        return {row["id"]: row["cancel"] for row in rows}

    async def save_progress(self, lease: Lease, progress: dict[str, Any]) -> Operation | None:
        """Keep the last progress snapshot."""
        return await self._change(
            "UPDATE operations o SET progress = :progress WHERE o.id = :id AND o.lease_token = :token",
            {"id": lease.operation_id, "token": lease.token, "progress": progress},
        )

    async def finish(
        self,
        lease: Lease,
        state: OperationState,
        *,
        result: dict[str, Any] | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        retryable: bool | None = None,
    ) -> Operation | None:
        """End a running operation; None if the lease was lost. A job that finished wins over a cancel request."""
        return await self._change(
            """UPDATE operations o SET state = :state, result = coalesce(CAST(:result AS jsonb), result),
                    error_code = :code, error_message = :message, retryable = :retryable, finished_at = now(),
                    lease_token = NULL, lease_until = NULL, why_waiting = NULL
               WHERE o.id = :id AND o.lease_token = :token AND o.state = 'running'""",
            {
                "id": lease.operation_id,
                "token": lease.token,
                "state": state.value,
                "result": result,
                "code": error_code,
                "message": error_message,
                "retryable": retryable,
            },
        )

    async def put_back(
        self,
        lease: Lease,
        *,
        delay_seconds: float = 0,
        failures: int = 0,
        interruptions: int = 0,
        why_waiting: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> Operation | None:
        """End an attempt but not its operation: pending again, due after a delay."""
        return await self._change(
            """UPDATE operations o SET state = 'pending', lease_token = NULL, lease_until = NULL,
                    dispatched_at = NULL, run_after = now() + make_interval(secs => :delay),
                    failures = failures + :failures, interruptions = interruptions + :interruptions,
                    why_waiting = :why, error_code = :code, error_message = :message
               WHERE o.id = :id AND o.lease_token = :token AND o.state = 'running'""",
            {
                "id": lease.operation_id,
                "token": lease.token,
                "delay": float(delay_seconds),
                "failures": failures,
                "interruptions": interruptions,
                "why": why_waiting,
                "code": error_code,
                "message": error_message,
            },
        )

    async def list_expired(self) -> list[Operation]:
        """Running operations whose worker has not renewed the lease in time."""
        rows = await self._rows(f"{_SELECT} WHERE o.state = 'running' AND o.lease_until < now()", {})
        return [_to_operation(row) for row in rows]

    async def expire_leases(self) -> None:
        """End every lease now; who still holds one is fenced as if it had run out."""
        await self._connection.execute(
            text("UPDATE operations SET lease_until = now() - interval '1 millisecond' WHERE state = 'running'")
        )

    async def take_back(self, lease: Lease, *, max_interruptions: int) -> Operation | None:
        """Take an expired lease away: cancelled if that was asked, failed if it died too often, else pending."""
        return await self._change(
            """UPDATE operations o SET
                    state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                                 WHEN interruptions >= :most THEN 'failed' ELSE 'pending' END,
                    finished_at = CASE WHEN cancel_requested_at IS NOT NULL OR interruptions >= :most
                                       THEN now() END,
                    error_code = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most
                                      THEN 'interrupted_too_often' END,
                    error_message = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most
                                         THEN 'its worker died ' || interruptions + 1 || ' times' END,
                    retryable = CASE WHEN cancel_requested_at IS NULL AND interruptions >= :most THEN true END,
                    interruptions = interruptions + 1, lease_token = NULL, lease_until = NULL,
                    dispatched_at = NULL, run_after = now()
               WHERE o.id = :id AND o.lease_token = :token AND o.state = 'running' AND o.lease_until < now()""",
            {"id": lease.operation_id, "token": lease.token, "most": max_interruptions},
        )

    async def request_cancel(self, operation_id: UUID) -> Operation | None:
        """Ask a running operation to stop, or cancel a pending one at once; None if it has ended."""
        return await self._change(
            """UPDATE operations o SET cancel_requested_at = coalesce(cancel_requested_at, now()),
                    state = CASE WHEN state = 'pending' THEN 'cancelled' ELSE state END,
                    finished_at = CASE WHEN state = 'pending' THEN now() END,
                    why_waiting = NULL
               WHERE o.id = :id AND o.state IN ('pending', 'running')""",
            {"id": operation_id},
        )

    async def restart(self, operation_id: UUID) -> Operation | None:
        """Make a failed or cancelled operation pending again, its failures forgiven; None in any other state."""
        return await self._change(
            """UPDATE operations o SET state = 'pending', failures = 0, interruptions = 0, run_after = now(),
                    dispatched_at = NULL, cancel_requested_at = NULL, finished_at = NULL, error_code = NULL,
                    error_message = NULL, retryable = NULL, why_waiting = NULL
               WHERE o.id = :id AND o.state IN ('failed', 'cancelled')""",
            {"id": operation_id},
        )

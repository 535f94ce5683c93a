"""Rows of ``operations`` as their owners see and change them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from app.db.audit import record
from app.db.operation_rows import SELECT, Rows, to_operation
from app.db.statements import JSON, parsed
from app.domain.errors import CollectionNotFoundError, IdempotencyKeyUsedError, OperationNotFoundError
from app.domain.operations import NewOperation, Operation, OperationKind, OperationState, Submission

POKE_CHANNEL = "vecloom_poke"
"""Postgres' channel on which workers hear that somebody wants something of an operation."""


class OperationRepository(Rows):
    """Takes ids, gives operations, never commits."""

    async def add(self, new: NewOperation) -> Operation:
        """Insert a pending operation, or give the unfinished one with the same idempotency key.

        Raises:
            CollectionNotFoundError: if its collection is deleted, also if that is done at this moment.
        """
        submission, new_id = new.submission, uuid4()
        added = await self._change(
            """
            INSERT INTO operations AS o (id, user_id, collection_id, kind, state, writes, config, idempotency_key,
                priority, run_after, trace_parent)
            SELECT CAST(:id AS uuid), CAST(:user_id AS uuid), CAST(:collection_id AS uuid), CAST(:kind AS text),
                'pending', CAST(:writes AS bool), CAST(:config AS jsonb), CAST(:key AS text),
                CAST(:priority AS smallint), coalesce(CAST(:run_after AS timestamptz), now()),
                CAST(:trace_parent AS text)
            WHERE CAST(:collection_id AS uuid) IS NULL OR EXISTS (
                SELECT 1 FROM collections WHERE id = CAST(:collection_id AS uuid) AND deleted_at IS NULL
                FOR KEY SHARE)
            ON CONFLICT (user_id, idempotency_key)
                WHERE idempotency_key IS NOT NULL AND state IN ('pending', 'running')
                DO UPDATE SET idempotency_key = excluded.idempotency_key
            """,
            {
                "id": new_id,
                "user_id": new.user_id,
                "collection_id": new.collection_id,
                "kind": new.kind.value,
                "writes": new.writes,
                "config": new.config | submission.limits(),
                "key": submission.idempotency_key,
                "priority": int(submission.priority),
                "run_after": submission.run_after,
                "trace_parent": submission.trace_parent,
            },
        )
        if added is None:
            raise CollectionNotFoundError(new.collection_id or "")
        if added.id == new_id:
            await record(self._connection, "operation.created", added, after=_told_at_first(added))
        return added

    async def add_once(self, new: NewOperation) -> tuple[Operation, bool]:
        """The operation that was submitted with this idempotency key before, finished or not, or a new one."""
        if new.submission.idempotency_key is not None:
            known = await self.find_by_key(new.user_id, new.submission.idempotency_key)
            if known is not None:
                return known, False
        return await self.add(new), True

    async def get(self, operation_id: UUID) -> Operation:
        """Raises OperationNotFoundError."""
        rows = await self._rows(f"{SELECT} WHERE o.id = :id", {"id": operation_id})
        if not rows:
            raise OperationNotFoundError(operation_id)
        return to_operation(rows[0])

    async def find_submitted(self, user_id: UUID, submission: Submission, kind: OperationKind) -> Operation | None:
        """The operation that was submitted before with the same idempotency key, finished or not.

        Raises:
            IdempotencyKeyUsedError: if it is of another kind.
        """
        if submission.idempotency_key is None:
            return None
        known = await self.find_by_key(user_id, submission.idempotency_key)
        if known is not None and known.kind is not kind:
            raise IdempotencyKeyUsedError(known.id)
        return known

    async def find_by_key(self, user_id: UUID, idempotency_key: str) -> Operation | None:
        """The caller's newest operation with this idempotency key, finished or not."""
        rows = await self._rows(
            f"{SELECT} WHERE o.user_id = :user AND o.idempotency_key = :key ORDER BY o.seq DESC LIMIT 1",
            {"user": user_id, "key": idempotency_key},
        )
        return to_operation(rows[0]) if rows else None

    async def find_waiting(self, collection_id: UUID, kind: OperationKind, config: dict[str, Any]) -> Operation | None:
        """One of a kind with such a config that is due and has not begun; it does not before this transaction ends."""
        rows = await self._connection.execute(
            parsed(
                f"""{SELECT} WHERE o.collection_id = :collection AND o.kind = :kind AND o.config @> :config
                    AND o.state = 'pending' AND o.run_after <= now() AND o.paused_at IS NULL
                    AND o.cancel_requested_at IS NULL ORDER BY o.seq LIMIT 1 FOR SHARE OF o""",
                config=JSON,
            ),
            {"collection": collection_id, "kind": kind.value, "config": config},
        )
        row = rows.mappings().first()
        return None if row is None else to_operation(row)

    async def list_newest(
        self, user_id: UUID, *, states: Sequence[OperationState], collection_id: UUID | None, limit: int
    ) -> list[Operation]:
        """Newest first."""
        rows = await self._rows(
            f"""{SELECT} WHERE o.user_id = :user
                AND (cardinality(CAST(:states AS text[])) = 0 OR o.state = ANY(:states))
                AND (CAST(:collection AS uuid) IS NULL OR o.collection_id = :collection)
                ORDER BY o.created_at DESC, o.seq DESC LIMIT :limit""",
            {"user": user_id, "states": [s.value for s in states], "collection": collection_id, "limit": limit},
        )
        return [to_operation(row) for row in rows]

    async def find_rebuild(self, collection_id: UUID) -> UUID | None:
        """The operation that rebuilds the collection, or goes back, or is going to."""
        rows = await self._rows(
            """SELECT id FROM operations WHERE collection_id = :id AND kind IN ('REINDEX', 'ROLLBACK')
               AND state IN ('pending', 'running') AND (config ->> 'dry_run') IS DISTINCT FROM 'true'""",
            {"id": collection_id},
        )
        return rows[0]["id"] if rows else None

    async def find_running_writer(self, collection_id: UUID) -> UUID | None:
        """The operation that is writing to the collection now."""
        rows = await self._rows(
            "SELECT id FROM operations WHERE collection_id = :id AND writes AND state = 'running'",
            {"id": collection_id},
        )
        return rows[0]["id"] if rows else None

    async def request_cancel(self, operation_id: UUID) -> Operation | None:
        """Ask a running operation to stop, or cancel a pending one at once; None if it has ended."""
        return await self._ask(
            "operation.cancelled",
            """UPDATE operations o SET cancel_requested_at = coalesce(cancel_requested_at, now()),
                    state = CASE WHEN state = 'pending' THEN 'cancelled' ELSE state END,
                    finished_at = CASE WHEN state = 'pending' THEN now() END
               WHERE o.id = :id AND o.state IN ('pending', 'running')""",
            operation_id,
        )

    async def pause(self, operation_id: UUID) -> Operation | None:
        """Keep an operation from starting, or ask its worker to stop at a checkpoint; None if it has ended."""
        return await self._ask(
            "operation.paused",
            """UPDATE operations o SET paused_at = coalesce(paused_at, now()), dispatched_at = NULL
               WHERE o.id = :id AND o.state IN ('pending', 'running')""",
            operation_id,
        )

    async def resume(self, operation_id: UUID) -> Operation | None:
        """Let a paused operation go on; None if it has ended."""
        return await self._ask(
            "operation.resumed",
            "UPDATE operations o SET paused_at = NULL WHERE o.id = :id AND o.state IN ('pending', 'running')",
            operation_id,
        )

    async def hold_back(self, collection_id: UUID) -> None:
        """Take pending operations of a collection that was just paused out of the queue."""
        await self._connection.execute(
            text("UPDATE operations SET dispatched_at = NULL WHERE collection_id = :id AND state = 'pending'"),
            {"id": collection_id},
        )

    async def poke(self, subject: UUID) -> None:
        """Tell all workers, when this is committed, to look at an operation or a collection's operations."""
        await self._connection.execute(
            text("SELECT pg_notify(:channel, :subject)"), {"channel": POKE_CHANNEL, "subject": str(subject)}
        )

    async def restart(self, operation_id: UUID) -> Operation | None:
        """Make a failed or cancelled operation pending again, its failures forgiven; None in any other state.

        None also if its collection is deleted, unless it is what clears that away.
        """
        return await self._ask(
            "operation.retried",
            """UPDATE operations o SET state = 'pending', failures = 0, interruptions = 0, run_after = now(),
                    dispatched_at = NULL, cancel_requested_at = NULL, finished_at = NULL, error_code = NULL,
                    error_message = NULL, retryable = NULL, why_waiting = NULL, paused_at = NULL, ran_seconds = 0,
                    heartbeat_at = now(), writes = writes AND NOT wants_to_write, wants_to_write = false
               WHERE o.id = :id AND o.state IN ('failed', 'cancelled') AND (o.kind = 'DELETE'
                 OR o.former_collection IS NULL AND NOT EXISTS (
                     SELECT 1 FROM collections c WHERE c.id = o.collection_id AND c.deleted_at IS NOT NULL))""",
            operation_id,
        )

    async def _ask(self, action: str, sql: str, operation_id: UUID) -> Operation | None:
        """Do what somebody wants of an operation, and write down who; None and no trace if it cannot be done."""
        operation = await self._change(sql, {"id": operation_id})
        if operation is not None:
            await record(self._connection, action, operation)
        return operation


def _told_at_first(operation: Operation) -> dict[str, Any]:
    return {"priority": operation.priority.name.lower(), "run_after": operation.run_after, **operation.config}

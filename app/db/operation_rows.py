"""How rows of ``operations`` are read, and the conditions that all statements on them share."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import JSON, parsed
from app.domain.operations import Operation, OperationKind, OperationState, Priority

_FIELDS = (
    "id", "user_id", "collection_id", "config", "result", "progress", "dispatch", "attempt", "failures",
    "interruptions", "lease_token", "worker", "writes", "paused_at", "ran_seconds", "trace_parent", "run_after",
    "cancel_requested_at", "error_code", "error_message", "retryable", "created_at", "started_at", "finished_at",
    "heartbeat_at",
)  # fmt: skip

# Who goes before `o` in its collection: whoever writes now or will as soon as it can, and everybody older who wants to.
# What is meant for later and was never begun holds up nobody.
_BEFORE = """
    e.collection_id = o.collection_id AND (e.writes OR e.wants_to_write) AND e.id <> o.id
    AND (e.state = 'running'
         OR (e.state = 'pending' AND e.seq < o.seq AND (e.run_after <= now() OR e.attempt > 0)))
"""
# The nearest of those, with one look into the index each: asking for all of them would take a long line as many looks
# as the square of its length.
_NEXT_BEFORE = """
    SELECT 'behind operation ' || e.id || ' (' || e.kind || ', '
           || CASE WHEN e.paused_at IS NULL THEN e.state ELSE 'paused' END || ')'
    FROM operations e
    WHERE e.id = coalesce(
        (SELECT p.id FROM operations p WHERE p.collection_id = o.collection_id AND p.writes AND p.state = 'pending'
           AND p.seq < o.seq AND (p.run_after <= now() OR p.attempt > 0) ORDER BY p.seq DESC LIMIT 1),
        (SELECT r.id FROM operations r WHERE r.collection_id = o.collection_id AND (r.writes OR r.wants_to_write)
           AND r.state = 'running' AND r.id <> o.id ORDER BY r.writes DESC LIMIT 1))
"""
_FIRST_IN_LINE = f"(NOT o.writes OR NOT EXISTS (SELECT 1 FROM operations e WHERE {_BEFORE}))"

IS_DUE = f"""
    o.state = 'pending' AND o.run_after <= now() AND o.paused_at IS NULL AND o.cancel_requested_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM collections p WHERE p.id = o.collection_id AND p.paused_at IS NOT NULL)
    AND {_FIRST_IN_LINE}
"""

ALIVE = "w.stopped_at IS NULL AND w.heartbeat_at > now() - make_interval(secs => w.lease_seconds)"


def _utc(column: str) -> str:
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""


# Looked up when it is asked for, so that it is never out of date.
WHY_WAITING = f"""
    CASE WHEN o.state NOT IN ('pending', 'running') THEN NULL
    WHEN o.cancel_requested_at IS NOT NULL THEN 'is being cancelled'
    WHEN o.state = 'running' THEN
        CASE WHEN o.paused_at IS NOT NULL OR c.paused_at IS NOT NULL THEN 'pauses at its next checkpoint'
             ELSE o.why_waiting END
    WHEN o.paused_at IS NOT NULL THEN 'paused since ' || {_utc("o.paused_at")}
    WHEN c.paused_at IS NOT NULL THEN 'its collection is paused since ' || {_utc("c.paused_at")}
    WHEN o.run_after > now() AND o.error_code IS NOT NULL
        THEN 'waiting to try again at ' || {_utc("o.run_after")} || ' after ' || o.error_code
    WHEN o.run_after > now() THEN 'not before ' || {_utc("o.run_after")}
    WHEN o.writes AND ({_NEXT_BEFORE}) IS NOT NULL THEN ({_NEXT_BEFORE})
    WHEN NOT EXISTS (SELECT 1 FROM workers w WHERE {ALIVE}) THEN coalesce(
        (SELECT 'no worker alive since ' || {_utc("max(coalesce(w.stopped_at, w.heartbeat_at))")} FROM workers w
         HAVING count(*) > 0), 'no worker has been started yet; start one with `vecloom worker`')
    WHEN NOT EXISTS (SELECT 1 FROM workers w WHERE {ALIVE} AND o.kind = ANY(w.kinds))
        THEN 'no live worker can execute ' || o.kind || '; it needs a newer version'
    WHEN o.dispatched_at IS NULL THEN
        (SELECT 'all ' || sum(w.slots) || ' slots of ' || count(*) || ' workers are taken' FROM workers w
         WHERE {ALIVE} HAVING sum(w.slots) <= (SELECT count(*) FROM operations e WHERE e.state = 'running'
            OR (e.state = 'pending' AND e.dispatched_at IS NOT NULL)))
    END
"""

RELAXED = "set_config('synchronous_commit', 'off', true)"
"""In a statement: its transaction does not wait for the disk. For what may be forgotten in a crash of Postgres."""

RAN = "ran_seconds = ran_seconds + extract(epoch FROM now() - coalesce(attempt_started_at, now()))"

SELECT = f"""SELECT o.*, coalesce(c.name, o.former_collection, o.config ->> 'collection', '') AS collection_name,
    o.former_collection IS NOT NULL OR c.deleted_at IS NOT NULL AS collection_deleted,
    o.why_waiting AS told_waiting, {WHY_WAITING} AS why_now
    FROM operations o LEFT JOIN collections c ON c.id = o.collection_id"""


def to_operation(row: RowMapping) -> Operation:
    """The operation of a row of ``SELECT``."""
    return Operation(
        kind=OperationKind(row["kind"]),
        state=OperationState(row["state"]),
        collection_name=row["collection_name"],
        collection_deleted=row["collection_deleted"],
        why_waiting=row["why_now"],
        told_waiting=row["told_waiting"],
        priority=Priority(row["priority"]),
        **{name: row[name] for name in _FIELDS},
    )


class Rows:
    """Statements on operations over one connection; never commits. The clock is Postgres' alone."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, values: Mapping[str, Any]) -> Sequence[RowMapping]:
        return (await self._connection.execute(parsed(sql), dict(values))).mappings().all()

    async def _change(self, sql: str, values: Mapping[str, Any]) -> Operation | None:
        """Run an ``UPDATE operations o … RETURNING o.*`` and give the changed row, if any."""
        types = {name: JSON for name, value in values.items() if isinstance(value, dict)}
        statement = parsed(f"WITH o AS ({sql} RETURNING o.*) {SELECT.replace('FROM operations o', 'FROM o')}", **types)
        row = (await self._connection.execute(statement, dict(values))).mappings().first()
        return None if row is None else to_operation(row)

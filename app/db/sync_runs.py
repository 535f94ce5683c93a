"""Rows of ``sync_runs``: how they end, and what is kept of them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import TEXTS, UUIDS, parsed
from app.domain.syncs import AppendMode, SyncRun, SyncRunSource, SyncRunState, Trigger

COUNTS = (
    "documents_added", "documents_changed", "documents_removed", "documents_kept", "unchanged", "documents_failed",
    "needs_ocr", "skipped", "documents", "chunks", "tokens", "reused_chunks", "seconds",
)  # fmt: skip
"""What a sync run keeps of an operation's result."""

# An operation that is gone has been cleaned up, or somebody has removed it: nothing more will come of it.
_SETTLE = """
WITH done AS MATERIALIZED (
    SELECT s.run_id, s.source_id, coalesce(o.state, 'cancelled') AS state, o.error_code, o.error_message,
           coalesce(o.finished_at, now()) AS finished_at,
           (SELECT jsonb_object_agg(key, value) FROM jsonb_each(o.result) WHERE key = ANY(:counts)) AS result
    FROM sync_run_sources s LEFT JOIN operations o ON o.id = s.operation_id
    WHERE s.state = 'running' AND (o.id IS NULL OR o.state IN ('completed', 'failed', 'cancelled'))
    ORDER BY s.run_id, s.source_id FOR UPDATE OF s
), ended AS (
    UPDATE sync_run_sources s SET state = done.state, error_code = done.error_code,
        error_message = done.error_message, finished_at = done.finished_at, result = done.result
    FROM done WHERE s.run_id = done.run_id AND s.source_id = done.source_id
), failed AS (
    INSERT INTO source_syncs (source_id, failures, error_code, error_message, next_try)
    SELECT source_id, failures, error_code, error_message, started_at + make_interval(secs =>
               least(seconds * power(2, least(failures - 1, 30)), greatest(seconds, CAST(:longest AS float8))))
    FROM (SELECT d.source_id, coalesce(f.failures, 0) + 1 AS failures, d.error_code, d.error_message, r.started_at,
                 coalesce(c.interval_seconds, 60)::float8 AS seconds
          FROM done d JOIN sync_runs r ON r.id = d.run_id JOIN sources o ON o.id = d.source_id
          LEFT JOIN collection_syncs c ON c.collection_id = r.collection_id
          LEFT JOIN source_syncs f ON f.source_id = d.source_id
          WHERE d.state = 'failed' AND (o.last_run_at IS NULL OR o.last_run_at < d.finished_at)) AS t
    ON CONFLICT (source_id) DO UPDATE SET failures = excluded.failures, error_code = excluded.error_code,
        error_message = excluded.error_message, next_try = excluded.next_try
)
SELECT count(*) AS n FROM done
"""

_FINISH = """
UPDATE sync_runs r SET finished_at = coalesce(ended.at, now()),
    state = CASE WHEN ended.failed THEN 'failed' WHEN ended.cancelled THEN 'cancelled' ELSE 'completed' END
FROM (SELECT run_id, max(finished_at) AS at, bool_or(state = 'failed') AS failed,
             bool_or(state = 'cancelled') AS cancelled
      FROM sync_run_sources WHERE run_id IN (SELECT id FROM sync_runs WHERE state = 'running')
      GROUP BY run_id HAVING NOT bool_or(state = 'running')) AS ended
WHERE r.id = ended.run_id AND r.state = 'running'
RETURNING r.*
"""


def _to_run(row: RowMapping, sources: Sequence[SyncRunSource]) -> SyncRun:
    names = ("id", "collection_id", "confirm_removals", "started_at", "finished_at")
    return SyncRun(
        trigger=Trigger(row["trigger"]),
        mode=AppendMode(row["mode"]),
        state=SyncRunState(row["state"]),
        sources=tuple(sources),
        **{name: row[name] for name in names},
    )


def _to_source(row: RowMapping) -> SyncRunSource:
    names = ("source_id", "url", "operation_id", "state", "result", "error_code", "error_message")
    return SyncRunSource(**{name: row[name] for name in names})


class SyncRunRepository:
    """Takes ids, gives runs, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def settle(self, *, longest_backoff_seconds: float) -> list[SyncRun]:
        """Note what has come of runs' operations that have ended; the runs that this ends, without their sources."""
        values = {"counts": list(COUNTS), "longest": longest_backoff_seconds}
        await self._connection.execute(parsed(_SETTLE, counts=TEXTS), values)
        rows = (await self._connection.execute(parsed(_FINISH))).mappings().all()
        return [_to_run(row, ()) for row in rows]

    async def list_newest(self, collection_id: UUID, *, limit: int) -> list[SyncRun]:
        """Newest first."""
        return await self._list(
            "SELECT * FROM sync_runs WHERE collection_id = :collection ORDER BY seq DESC LIMIT :limit",
            {"collection": collection_id, "limit": limit},
        )

    async def find(self, collection_id: UUID, run_id: UUID) -> SyncRun | None:
        """A run of a collection."""
        runs = await self._list(
            "SELECT * FROM sync_runs WHERE collection_id = :collection AND id = :run",
            {"collection": collection_id, "run": run_id},
        )
        return runs[0] if runs else None

    async def find_newest(self, collection_id: UUID, *, running: bool) -> SyncRun | None:
        """The run that is under way, or the one that ended last."""
        runs = await self._list(
            """SELECT * FROM sync_runs WHERE collection_id = :collection AND (state = 'running') = :running
               ORDER BY seq DESC LIMIT 1""",
            {"collection": collection_id, "running": running},
        )
        return runs[0] if runs else None

    async def _list(self, sql: str, values: dict[str, object]) -> list[SyncRun]:
        rows = (await self._connection.execute(parsed(sql), values)).mappings().all()
        if not rows:
            return []
        statement = parsed("SELECT * FROM sync_run_sources WHERE run_id = ANY(:runs) ORDER BY url", runs=UUIDS)
        found = await self._connection.execute(statement, {"runs": [row["id"] for row in rows]})
        of_runs: dict[UUID, list[SyncRunSource]] = {row["id"]: [] for row in rows}
        for source in found.mappings():
            of_runs[source["run_id"]].append(_to_source(source))
        return [_to_run(row, of_runs[row["id"]]) for row in rows]

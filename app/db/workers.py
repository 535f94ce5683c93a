"""Rows of ``workers``, and the session locks that tell a living worker from a dead one."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.operation_rows import ALIVE, IS_DUE
from app.db.statements import parsed
from app.domain.operations import Worker, WorkerProfile

LOCK_CLASS = 0x7665636C
"""First half of every worker's advisory lock ("vecl"); the second is its ``lock_key``."""

_HELD = f"""SELECT l.pid, l.objid::bigint AS key FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = {LOCK_CLASS} AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

# A lock is also gone when Postgres itself was restarted; then the worker has only to take it again.
_LOOK = f"""
WITH held AS ({_HELD}), gone AS (
    SELECT w.id, w.missing_since FROM workers w
    WHERE w.stopped_at IS NULL AND w.locked_at > pg_postmaster_start_time()
      AND NOT EXISTS (SELECT 1 FROM held WHERE held.key = w.lock_key)
), back AS (
    UPDATE workers SET missing_since = NULL
    WHERE missing_since IS NOT NULL AND stopped_at IS NULL AND id NOT IN (SELECT id FROM gone)
), noted AS (
    UPDATE workers w SET missing_since = now() FROM gone WHERE w.id = gone.id AND gone.missing_since IS NULL
), dead AS (
    UPDATE workers w SET stopped_at = now(), locked_at = NULL, missing_since = NULL FROM gone
    WHERE w.id = gone.id AND w.stopped_at IS NULL AND w.missing_since = gone.missing_since
      AND extract(epoch FROM now() - gone.missing_since) > :patience
    RETURNING w.id, w.name
), expired AS (
    UPDATE operations o SET lease_until = now() - interval '1 millisecond' FROM dead
    WHERE o.worker_id = dead.id AND o.state = 'running' RETURNING o.id
)
SELECT (SELECT coalesce(array_agg(name), '{{}}') FROM dead) AS dead,
       EXISTS (SELECT 1 FROM expired)
         OR EXISTS (SELECT 1 FROM operations WHERE state = 'running' AND lease_until < now()) AS has_expired,
       EXISTS (SELECT 1 FROM operations o WHERE o.dispatched_at IS NULL AND {IS_DUE}) AS has_due,
       (SELECT count(*) FROM workers w WHERE {ALIVE}) AS alive,
       (SELECT coalesce(array_agg(f.operation_id ORDER BY f.created_at), '{{}}') FROM lane_offers f
        JOIN operations o ON o.id = f.operation_id AND o.lease_token = f.token AND o.state = 'running'
        WHERE o.worker_id IS DISTINCT FROM :worker AND o.cancel_requested_at IS NULL AND o.paused_at IS NULL
          AND EXISTS (SELECT 1 FROM documents d
                      WHERE d.source_id = f.source_id AND d.state = 'pending' AND d.seen_by = f.scan)
          AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.operation_id = o.id AND l.worker_id = :worker)) AS offers
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a worker sees around it: workers it found dead, whether there is work to take back or to dispatch.

    ``offers`` are operations of other workers that it could share.
    """

    dead: tuple[str, ...]
    has_expired: bool
    has_due: bool
    alive: int
    offers: tuple[UUID, ...] = ()


class WorkerRepository:
    """Who works, and who does not any more. Session locks need the worker's own connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def register(self, worker_id: UUID, profile: WorkerProfile) -> int:
        """Write down a worker that starts, or starts again on a new session; gives its lock's key."""
        statement = text(
            """INSERT INTO workers (id, name, version, kinds, slots, lease_seconds)
               VALUES (:id, :name, :version, :kinds, :slots, :lease)
               ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), stopped_at = NULL
               RETURNING lock_key"""
        )
        values = {
            "id": worker_id,
            "name": profile.name,
            "version": profile.version,
            "kinds": list(profile.kinds),
            "slots": profile.slots,
            "lease": float(profile.lease_seconds),
        }
        key: int = (await self._connection.execute(statement, values)).scalar_one()
        await self._connection.execute(
            text("DELETE FROM workers WHERE coalesce(stopped_at, heartbeat_at) < now() - interval '1 day'")
        )
        return key

    async def take_lock(self, worker_id: UUID, key: int) -> bool:
        """Take the worker's lock for this session, and say in its row whether the session really keeps it.

        Behind a pooler the next statement may run in another session; such a lock would say nothing.
        """
        taken = await self._connection.scalar(
            text("SELECT pg_try_advisory_lock(:class, :key)"), {"class": LOCK_CLASS, "key": key}
        )
        is_ours = await self._connection.scalar(
            text(f"SELECT EXISTS (SELECT 1 FROM ({_HELD}) h WHERE h.key = :key AND h.pid = pg_backend_pid())"),
            {"key": key},
        )
        holds = bool(taken and is_ours)
        await self._connection.execute(
            text(
                """UPDATE workers SET locked_at = CASE WHEN :holds THEN now() END, missing_since = NULL
                   WHERE id = :id"""
            ),
            {"id": worker_id, "holds": holds},
        )
        return holds

    async def beat(self, worker_id: UUID, *, holds_lock: bool) -> None:
        """Say that the worker lives, also if somebody thought that it does not."""
        await self._connection.execute(
            text(
                """UPDATE workers SET heartbeat_at = now(), stopped_at = NULL,
                       locked_at = CASE WHEN :holds THEN coalesce(locked_at, now()) END WHERE id = :id"""
            ),
            {"id": worker_id, "holds": holds_lock},
        )

    async def stop(self, worker_id: UUID) -> None:
        """Say that the worker has ended."""
        await self._connection.execute(
            text("UPDATE workers SET stopped_at = now(), locked_at = NULL WHERE id = :id"), {"id": worker_id}
        )

    async def stop_all(self) -> None:
        """Say that no worker lives; one that does says so at its next heartbeat."""
        await self._connection.execute(
            text("UPDATE workers SET stopped_at = now(), locked_at = NULL WHERE stopped_at IS NULL")
        )

    async def look(self, *, patience_seconds: float, worker_id: UUID | None = None) -> Look:
        """Find workers whose lock has been missing for ``patience_seconds``, and end their leases."""
        values = {"patience": patience_seconds, "worker": worker_id}
        row = (await self._connection.execute(parsed(_LOOK, worker=Uuid()), values)).mappings().one()
        return Look(
            dead=tuple(row["dead"]),
            has_expired=row["has_expired"],
            has_due=row["has_due"],
            alive=row["alive"],
            offers=tuple(row["offers"]),
        )

    async def list_recent(self, *, limit: int = 100) -> list[Worker]:
        """Workers of the last day, those that live first."""
        rows = await self._connection.execute(
            text(
                f"""SELECT w.*, {ALIVE} AS is_alive,
                       (SELECT count(*) FROM operations o WHERE o.worker_id = w.id AND o.state = 'running') AS running
                    FROM workers w ORDER BY is_alive DESC, w.started_at DESC LIMIT :limit"""
            ),
            {"limit": limit},
        )
        names = ("id", "name", "version", "slots", "started_at", "heartbeat_at", "stopped_at", "is_alive", "running")
        return [
            Worker(kinds=tuple(row["kinds"]), holds_lock=row["locked_at"] is not None, **{n: row[n] for n in names})
            for row in rows.mappings()
        ]

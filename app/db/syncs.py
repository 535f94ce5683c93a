"""Rows of continuous sync: settings, failing sources, runs. The clock is Postgres' alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.operation_rows import ALIVE
from app.db.statements import TEXTS, UUIDS, parsed
from app.domain.syncs import AppendChoice, AppendMode, SourceSync, SyncSettings, Trigger, on_gone_of

JITTER = 0.1
"""An interval is up to this much longer, so that collections do not stay due at the same moment."""

_NEXT = f"now() + make_interval(secs => interval_seconds * (1 + {JITTER} * random()))"

# What is meant for later and was never begun keeps nobody waiting, as in `operation_rows`.
_BUSY = """
    SELECT o.id, o.kind, o.state FROM operations o WHERE o.collection_id = s.collection_id AND o.writes
       AND (o.state = 'running' OR (o.state = 'pending' AND (o.run_after <= now() OR o.attempt > 0)))
"""

_TAKE_DUE = f"""
    SELECT s.collection_id, s.interval_seconds, s.mode, s.paused_at, s.next_due, c.user_id
    FROM collection_syncs s JOIN collections c ON c.id = s.collection_id
    WHERE s.paused_at IS NULL AND s.next_due <= now() AND c.paused_at IS NULL AND s.collection_id <> ALL(:besides)
      AND NOT EXISTS ({_BUSY})
      AND NOT EXISTS (SELECT 1 FROM sync_runs r WHERE r.collection_id = s.collection_id AND r.state = 'running')
    ORDER BY s.next_due LIMIT 1 FOR UPDATE OF s SKIP LOCKED
"""

_WHY_WAITING = f"""
    SELECT CASE WHEN s.paused_at IS NOT NULL THEN 'paused'
                WHEN c.paused_at IS NOT NULL THEN 'its collection is paused'
                WHEN s.next_due > now() THEN NULL
                WHEN EXISTS ({_BUSY})
                  THEN (SELECT 'behind operation ' || b.id || ' (' || b.kind || ', ' || b.state || ')'
                        FROM ({_BUSY} ORDER BY o.state DESC, o.seq LIMIT 1) AS b)
                WHEN NOT EXISTS (SELECT 1 FROM workers w WHERE {ALIVE})
                  THEN 'no worker is alive; start one with `vecloom up` or `vecloom worker`'
                ELSE 'due; a worker begins it within a minute' END AS why
    FROM collection_syncs s JOIN collections c ON c.id = s.collection_id WHERE s.collection_id = :collection
"""


def _to_settings(row: RowMapping) -> SyncSettings:
    names = ("collection_id", "interval_seconds", "paused_at", "next_due")
    return SyncSettings(mode=AppendMode(row["mode"]), **{name: row[name] for name in names})


def _to_source(row: RowMapping) -> SourceSync:
    names = ("source_id", "url", "last_run_at", "failures", "error_code", "error_message", "next_try")
    return SourceSync(on_gone=on_gone_of(row["config"]), **{name: row[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSync:
    """A collection whose sync run is to begin, locked by the transaction that took it."""

    settings: SyncSettings
    user_id: UUID


class SyncRepository:
    """Takes ids, gives settings and sources, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {name: UUIDS for name in ("besides",) if name in values}
        result = await self._connection.execute(parsed(sql, **types), values)
        return result.mappings().all() if result.returns_rows else []

    # --- settings -------------------------------------------------------------------------------

    async def find(self, collection_id: UUID, *, lock: bool = False) -> SyncSettings | None:
        """The settings of a collection; with ``lock`` no scheduler takes it before the transaction ends."""
        suffix = " FOR UPDATE" if lock else ""
        rows = await self._rows(
            f"SELECT * FROM collection_syncs WHERE collection_id = :collection{suffix}", collection=collection_id
        )
        return _to_settings(rows[0]) if rows else None

    async def set(self, collection_id: UUID, *, interval_seconds: int, mode: AppendMode) -> SyncSettings:
        """Give a collection an interval; a new one begins now, the same one goes on."""
        rows = await self._rows(
            f"""INSERT INTO collection_syncs AS s (collection_id, interval_seconds, mode, next_due)
               VALUES (:collection, CAST(:seconds AS int), :mode,
                       {_NEXT.replace("interval_seconds", "CAST(:seconds AS int)")})
               ON CONFLICT (collection_id) DO UPDATE SET interval_seconds = excluded.interval_seconds,
                   mode = excluded.mode, next_due = CASE WHEN s.interval_seconds = excluded.interval_seconds
                                                         THEN s.next_due ELSE excluded.next_due END
               RETURNING *""",
            collection=collection_id,
            seconds=interval_seconds,
            mode=mode.value,
        )
        return _to_settings(rows[0])

    async def remove(self, collection_id: UUID) -> None:
        """Take a collection's interval away; its runs stay."""
        await self._rows("DELETE FROM collection_syncs WHERE collection_id = :collection", collection=collection_id)

    async def hold(self, collection_id: UUID, *, paused: bool) -> SyncSettings | None:
        """Pause or resume; None if the collection has no continuous sync."""
        rows = await self._rows(
            """UPDATE collection_syncs SET paused_at = CASE WHEN :paused THEN coalesce(paused_at, now()) END
               WHERE collection_id = :collection RETURNING *""",
            collection=collection_id,
            paused=paused,
        )
        return _to_settings(rows[0]) if rows else None

    async def advance(self, collection_id: UUID) -> None:
        """An interval from now, however long ago the last one should have ended."""
        await self._rows(
            f"UPDATE collection_syncs SET next_due = {_NEXT} WHERE collection_id = :collection",
            collection=collection_id,
        )

    async def heal_clock(self) -> int:
        """Bring times back that lie further ahead than an interval, after Postgres' clock was moved back."""
        rows = await self._rows(
            f"""UPDATE collection_syncs SET next_due = {_NEXT}
               WHERE next_due > now() + make_interval(secs => interval_seconds * {1 + JITTER} + 1)
               RETURNING collection_id"""
        )
        return len(rows)

    async def take_due(self, *, besides: Sequence[UUID]) -> DueSync | None:
        """The collection that has been due for longest and is neither paused nor busy; no other scheduler takes it."""
        rows = await self._rows(_TAKE_DUE, besides=list(besides))
        if not rows:
            return None
        return DueSync(settings=_to_settings(rows[0]), user_id=rows[0]["user_id"])

    async def why_waiting(self, collection_id: UUID) -> str | None:
        """Why the next sync run does not begin, for a person; None if it is only not due, or there is none."""
        rows = await self._rows(_WHY_WAITING, collection=collection_id)
        return rows[0]["why"] if rows else None

    # --- sources --------------------------------------------------------------------------------

    async def list_sources(self, collection_id: UUID) -> list[SourceSync]:
        """Oldest first."""
        rows = await self._rows(
            """SELECT s.id AS source_id, s.url, s.config, s.last_run_at, coalesce(f.failures, 0) AS failures,
                      f.error_code, f.error_message, CASE WHEN f.next_try > now() THEN f.next_try END AS next_try
               FROM sources s LEFT JOIN source_syncs f ON f.source_id = s.id
               WHERE s.collection_id = :collection ORDER BY s.created_at, s.id""",
            collection=collection_id,
        )
        return [_to_source(row) for row in rows]

    async def forgive(self, source_id: UUID) -> None:
        """Forget a source's failures: it was brought up to date."""
        await self._rows("DELETE FROM source_syncs WHERE source_id = :source", source=source_id)

    async def add_run(self, collection_id: UUID, *, trigger: Trigger, choice: AppendChoice) -> UUID | None:
        """Begin a sync run; None if the collection has one under way."""
        rows = await self._rows(
            """INSERT INTO sync_runs (id, collection_id, trigger, mode, confirm_removals, state)
               VALUES (:id, :collection, :trigger, :mode, :confirmed, 'running')
               ON CONFLICT (collection_id) WHERE state = 'running' DO NOTHING RETURNING id""",
            id=uuid4(),
            collection=collection_id,
            trigger=trigger.value,
            mode=choice.mode.value,
            confirmed=choice.confirm_removals,
        )
        return rows[0]["id"] if rows else None

    async def add_run_sources(self, run_id: UUID, given: Sequence[tuple[SourceSync, UUID | None]]) -> None:
        """Note which operation a run has begun for each source; None for one that is left out."""
        await self._connection.execute(
            parsed(
                """INSERT INTO sync_run_sources (run_id, source_id, url, operation_id, state, error_code,
                                                 error_message, finished_at)
                   SELECT :run, source, url, operation, CASE WHEN operation IS NULL THEN 'skipped' ELSE 'running' END,
                          code, message, CASE WHEN operation IS NULL THEN now() END
                   FROM unnest(:sources, :urls, :operations, :codes, :messages)
                     AS t (source, url, operation, code, message)""",
                sources=UUIDS,
                operations=UUIDS,
                urls=TEXTS,
                codes=TEXTS,
                messages=TEXTS,
            ),
            {
                "run": run_id,
                "sources": [source.source_id for source, _ in given],
                "urls": [source.url for source, _ in given],
                "operations": [operation for _, operation in given],
                "codes": [source.error_code if operation is None else None for source, operation in given],
                "messages": [source.error_message if operation is None else None for source, operation in given],
            },
        )

    async def trim_runs(self, collection_id: UUID, *, keep: int) -> None:
        """Forget the oldest ended runs of a collection, so that ``keep`` are left."""
        await self._rows(
            """DELETE FROM sync_runs WHERE collection_id = :collection AND state <> 'running' AND seq <=
                   (SELECT seq FROM sync_runs WHERE collection_id = :collection
                    ORDER BY seq DESC OFFSET :keep LIMIT 1)""",
            collection=collection_id,
            keep=keep,
        )

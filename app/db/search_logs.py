"""Rows of ``search_logs`` and ``search_log_entries``: whose searches are written down, and what was asked."""

import secrets
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double

from app.db.database import Database
from app.db.statements import BYTES, INTEGERS, TEXTS, UUIDS, parsed
from app.domain.searches import ENTRIES_PER_DAY, SearchEntry, SearchLog, SearchLogCounts

KEY_BYTES = 32
ROWS_PER_TRIM = 5000
FEWEST_PER_CALLER = 5
LOOKED_AT = 20_000
"""Newest entries that queries are chosen from."""

_FULL = f"(day = current_date AND today >= {ENTRIES_PER_DAY})"

# Whoever takes a log away waits for its row, or is waited for and leaves none: no entry outlives its log. Rows are
# locked in the order of ids, so that processes do not wait for each other in a circle.
_ADD = f"""
WITH given AS (
    SELECT * FROM unnest(:collections, :generations, :callers, :queries, :modes, :limits, :hits, :tooks, :ages)
        AS t (collection_id, generation_id, caller, query, mode, most_hits, hits, took_ms, age)
), locked AS (
    SELECT l.collection_id FROM search_logs l
    WHERE l.collection_id IN (SELECT collection_id FROM given) AND NOT {_FULL}
    ORDER BY l.collection_id FOR NO KEY UPDATE
), counted AS (
    UPDATE search_logs l SET day = current_date,
        today = CASE WHEN l.day = current_date THEN l.today ELSE 0 END
            + (SELECT count(*) FROM given g WHERE g.collection_id = l.collection_id)
    FROM locked WHERE l.collection_id = locked.collection_id RETURNING l.collection_id
)
INSERT INTO search_log_entries (collection_id, generation_id, at, caller, query, mode, most_hits, hits, took_ms)
SELECT g.collection_id, g.generation_id, now() - make_interval(secs => g.age), g.caller, g.query, g.mode, g.most_hits,
       g.hits, g.took_ms
FROM given g JOIN counted USING (collection_id) ORDER BY g.age DESC
"""

# A query that was asked again counts once, as it was asked last. Nobody's queries fill the answer while others ask too.
_RECENT = """
WITH kept AS (
    SELECT e.id, e.at, e.caller, e.query FROM search_log_entries e JOIN search_logs l USING (collection_id)
    WHERE e.collection_id = :collection AND e.at > now() - make_interval(days => l.keep_days)
    ORDER BY e.at DESC LIMIT :looked_at
), queries AS (
    SELECT DISTINCT ON (query) * FROM kept ORDER BY query, at DESC, id DESC
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY caller ORDER BY at DESC, id DESC) AS rank FROM queries
)
SELECT query FROM ranked
WHERE rank <= greatest(:fewest, ceil(CAST(:limit AS float8) / (SELECT count(DISTINCT caller) FROM queries)))
ORDER BY at DESC, id DESC LIMIT :limit
"""


class SearchLogRepository:
    """Takes ids, gives logs and queries, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        result = await self._connection.execute(parsed(sql), values)
        return result.mappings().all() if result.returns_rows else []

    async def find(self, collection_id: UUID) -> SearchLog | None:
        """The log of a collection, if it has one."""
        rows = await self._rows(
            f"""SELECT share, keep_days, {_FULL} IS TRUE AS full_today, created_at FROM search_logs
                WHERE collection_id = :collection""",
            collection=collection_id,
        )
        return SearchLog(**rows[0]) if rows else None

    async def set(self, collection_id: UUID, *, share: float, keep_days: int) -> None:
        """Begin a log, or change how it is kept; what it holds stays."""
        await self._rows(
            """INSERT INTO search_logs (collection_id, share, keep_days, key) VALUES (:collection, :share, :days, :key)
               ON CONFLICT (collection_id) DO UPDATE SET share = excluded.share, keep_days = excluded.keep_days""",
            collection=collection_id,
            share=share,
            days=keep_days,
            key=secrets.token_bytes(KEY_BYTES),
        )

    async def remove(self, collection_id: UUID) -> None:
        """End a log, and delete it with its key."""
        await self._rows("DELETE FROM search_logs WHERE collection_id = :collection", collection=collection_id)

    async def count(self, collection_id: UUID) -> SearchLogCounts:
        """What a log holds."""
        rows = await self._rows(
            # grouped first, which hashes: count(DISTINCT …) would sort all of them
            """SELECT coalesce(sum(n), 0)::bigint AS entries, count(*) AS queries, min(oldest) AS oldest,
                      max(newest) AS newest,
                      (SELECT count(*) FROM (SELECT DISTINCT caller FROM search_log_entries
                                             WHERE collection_id = :collection) c) AS callers
               FROM (SELECT count(*) AS n, min(at) AS oldest, max(at) AS newest FROM search_log_entries
                     WHERE collection_id = :collection GROUP BY query) q""",
            collection=collection_id,
        )
        return SearchLogCounts(**rows[0])

    async def add(self, entries: Sequence[SearchEntry], *, now: float) -> int:
        """Write searches down whose queries are clean, unless their log is gone or full; how many.

        ``now`` is by the clock that ``SearchEntry.at`` is by.
        """
        statement = parsed(
            _ADD,
            collections=UUIDS,
            generations=UUIDS,
            callers=BYTES,
            queries=TEXTS,
            modes=TEXTS,
            limits=INTEGERS,
            hits=INTEGERS,
            tooks=ARRAY(Double),
            ages=ARRAY(Double),
        )
        values = {
            "collections": [entry.collection_id for entry in entries],
            "generations": [entry.generation_id for entry in entries],
            "callers": [entry.caller for entry in entries],
            "queries": [entry.query for entry in entries],
            "modes": [entry.mode.value for entry in entries],
            "limits": [entry.limit for entry in entries],
            "hits": [entry.hits for entry in entries],
            "tooks": [entry.took_ms for entry in entries],
            "ages": [max(0.0, now - entry.at) for entry in entries],
        }
        return (await self._connection.execute(statement, values)).rowcount

    async def list_recent_queries(self, collection_id: UUID, limit: int) -> list[str]:
        """Different queries, newest first; where several users ask, each has at most an equal part of ``limit``.

        Of few that is not fewer than ``FEWEST_PER_CALLER``.
        """
        rows = await self._rows(
            _RECENT, collection=collection_id, limit=limit, fewest=FEWEST_PER_CALLER, looked_at=LOOKED_AT
        )
        return [row["query"] for row in rows]

    async def count_old(self) -> int:
        """Entries that their logs keep no longer."""
        rows = await self._rows(
            """SELECT count(*) AS n FROM search_log_entries e JOIN search_logs l USING (collection_id)
               WHERE e.at < now() - make_interval(days => l.keep_days)"""
        )
        return int(rows[0]["n"])

    async def drop_old(self, *, rows: int) -> int:
        """Drop some of those; how many."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM search_log_entries WHERE id IN (
                       SELECT e.id FROM search_logs l CROSS JOIN LATERAL (
                           SELECT id FROM search_log_entries WHERE collection_id = l.collection_id
                             AND at < now() - make_interval(days => l.keep_days) LIMIT :rows) e LIMIT :rows)"""
            ),
            {"rows": rows},
        )
        return dropped.rowcount


async def trim_search_logs(database: Database) -> int:
    """Drop what logs keep no longer, some thousand rows a transaction; how many they were."""
    total, dropped = 0, ROWS_PER_TRIM
    while dropped == ROWS_PER_TRIM:
        async with database.begin() as connection:
            dropped = await SearchLogRepository(connection).drop_old(rows=ROWS_PER_TRIM)
        total += dropped
    return total

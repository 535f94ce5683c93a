"""Rows of ``collection_stats``: what a collection held, hour by hour, and what it holds now."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import JSON, UUIDS, parsed
from app.domain.statistics import Amounts, CollectionStatistics, GrowthPoint

MOST_TYPES = 50
MOST_SOURCES = 100
HOURS_KEPT_DAYS = 7
"""So many days every snapshot is kept, later one a day."""
DAYS_KEPT = 400
MOST_POINTS = 200

_FILE_TYPE = r"lower(coalesce(substring(regexp_replace(split_part(path, '#', 1), '^.*/', '') FROM '.\.([^.]+)$'), ''))"

# One look at each document, whatever is asked of it.
_FIGURES = f"""
WITH d AS (
    SELECT state, source_id, chunk_count, tokens, size, updated_at, state <> 'removed' AS is_there,
           {_FILE_TYPE} AS file_type FROM documents WHERE collection_id = :collection
)
SELECT * FROM (
    SELECT grouping(state) = 0 AS is_state, grouping(file_type) = 0 AS is_type, grouping(source_id) = 0 AS is_source,
           state, file_type, source_id, count(*) AS all_documents,
           count(*) FILTER (WHERE is_there) AS documents,
           coalesce(sum(chunk_count) FILTER (WHERE is_there), 0)::bigint AS chunks,
           coalesce(sum(tokens) FILTER (WHERE is_there), 0)::bigint AS tokens,
           coalesce(sum(size) FILTER (WHERE is_there), 0)::bigint AS bytes, max(updated_at) AS changed_at
    FROM d GROUP BY GROUPING SETS ((), (state), (file_type), (source_id))
) figures
ORDER BY is_state OR is_type OR is_source, is_type, is_source, documents DESC LIMIT 5000
"""

_CACHE = """
SELECT coalesce(sum((result->'cache'->>'hits')::bigint), 0)::bigint AS hits,
       coalesce(sum((result->'cache'->>'misses')::bigint), 0)::bigint AS misses
FROM operations WHERE collection_id = :collection AND state = 'completed' AND result->'cache' IS NOT NULL
"""

# Those whose turn is longest over come first, so that a round that is stopped keeps nobody waiting for ever.
_DUE = """
SELECT c.id FROM collections c
LEFT JOIN LATERAL (SELECT max(taken_at) AS taken_at FROM collection_stats s WHERE s.collection_id = c.id) last ON true
WHERE (last.taken_at IS NULL OR last.taken_at < now() - make_interval(secs => :age)) AND c.id <> ALL(:without)
ORDER BY last.taken_at NULLS FIRST LIMIT :limit
"""

_THIN = """
DELETE FROM collection_stats s WHERE collection_id = :collection AND (
    taken_at < now() - make_interval(days => :days)
    OR (taken_at < now() - make_interval(days => :hours_days) AND EXISTS (
        SELECT 1 FROM collection_stats l WHERE l.collection_id = s.collection_id AND l.taken_at > s.taken_at
          AND l.taken_at < date_trunc('day', s.taken_at) + interval '1 day')))
"""

_GROWTH = """
SELECT DISTINCT ON (bucket) floor(extract(epoch FROM taken_at) / :bucket) AS bucket, taken_at, documents, chunks,
    tokens, bytes
FROM collection_stats
WHERE collection_id = :collection AND taken_at > now() - make_interval(days => :days)
ORDER BY bucket, taken_at DESC
"""


class CollectionStatsRepository:
    """Reads what collections hold, and keeps it; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def measure(self, collection_id: UUID) -> CollectionStatistics:
        """What a collection holds now."""
        rows = (await self._connection.execute(text(_FIGURES), {"collection": collection_id})).mappings().all()
        cache = (await self._connection.execute(text(_CACHE), {"collection": collection_id})).one()
        total = next(row for row in rows if not (row["is_state"] or row["is_type"] or row["is_source"]))
        there = [row for row in rows if row["documents"]]
        sources = [row for row in there if row["is_source"]]
        return CollectionStatistics(
            total=_amounts(total),
            by_state={row["state"]: row["all_documents"] for row in rows if row["is_state"]},
            by_file_type=_by_file_type([row for row in there if row["is_type"]]),
            by_source={row["source_id"]: _amounts(row) for row in sources[:MOST_SOURCES]},
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            changed_at=total["changed_at"],
        )

    async def list_due(self, *, older_than_seconds: float, without: Sequence[UUID], limit: int) -> list[UUID]:
        """Collections whose last snapshot is older, the oldest first."""
        rows = await self._connection.execute(
            parsed(_DUE, without=UUIDS),
            {"age": float(older_than_seconds), "without": list(without), "limit": limit},
        )
        return [row.id for row in rows]

    async def keep(self, collection_id: UUID, statistics: CollectionStatistics) -> None:
        """Keep what a collection holds now, and thin out what it held long ago; one that is gone is left out."""
        details: dict[str, Any] = {
            "by_state": statistics.by_state,
            "by_file_type": {name: asdict(amounts) for name, amounts in statistics.by_file_type.items()},
            "by_source": {str(source): asdict(amounts) for source, amounts in statistics.by_source.items()},
            "cache": {"hits": statistics.cache_hits, "misses": statistics.cache_misses},
            "changed_at": statistics.changed_at and statistics.changed_at.isoformat(),
        }
        await self._connection.execute(
            parsed(
                """INSERT INTO collection_stats (collection_id, documents, chunks, tokens, bytes, details)
                   SELECT id, :documents, :chunks, :tokens, :bytes, :details FROM collections WHERE id = :collection
                   ON CONFLICT DO NOTHING""",
                details=JSON,
            ),
            {"collection": collection_id, "details": details, **asdict(statistics.total)},
        )
        values = {"collection": collection_id, "days": DAYS_KEPT, "hours_days": HOURS_KEPT_DAYS}
        await self._connection.execute(text(_THIN), values)

    async def list_growth(self, collection_id: UUID, *, days: int) -> list[GrowthPoint]:
        """What it held in the last days, oldest first: at most about 200 points, evenly spread."""
        values = {"collection": collection_id, "days": days, "bucket": max(3600.0, days * 86_400 / MOST_POINTS)}
        rows = await self._connection.execute(text(_GROWTH), values)
        return [GrowthPoint(taken_at=row["taken_at"], amounts=_amounts(row)) for row in rows.mappings()]


def _amounts(row: RowMapping) -> Amounts:
    return Amounts(documents=row["documents"], chunks=row["chunks"], tokens=row["tokens"], bytes=row["bytes"])


def _by_file_type(rows: Sequence[RowMapping]) -> dict[str, Amounts]:
    found = {row["file_type"]: _amounts(row) for row in rows[:MOST_TYPES]}
    rest = [_amounts(row) for row in rows[MOST_TYPES:]]
    if rest:
        names = ("documents", "chunks", "tokens", "bytes")
        found["other"] = Amounts(**{name: sum(getattr(amounts, name) for amounts in rest) for name in names})
    return found

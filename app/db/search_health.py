"""Rows of ``search_health``: what became of the searches of each generation, minute by minute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double

from app.db.database import Database
from app.db.statements import INTEGERS, UUIDS, parsed
from app.domain.searches import SearchCounts, SearchHealth

KEPT_DAYS = 7
ROWS_PER_TRIM = 5000

# An answer without hits is right where there is nothing to find. Generations that are gone are left out.
_ADD = """
INSERT INTO search_health AS h (generation_id, minute, searches, empty, failed, of_store, of_model, milliseconds)
SELECT g.id, date_trunc('minute', now()), t.searches,
       CASE WHEN t.empty > 0 AND EXISTS (SELECT 1 FROM chunks c WHERE c.collection_id = g.collection_id
                                           AND c.generation_id = g.id) THEN t.empty ELSE 0 END,
       t.failed, t.of_store, t.of_model, t.milliseconds
FROM unnest(:generations, :searches, :empty, :failed, :of_store, :of_model, :milliseconds)
    AS t (generation_id, searches, empty, failed, of_store, of_model, milliseconds)
JOIN generations g ON g.id = t.generation_id
ORDER BY g.id FOR KEY SHARE OF g
ON CONFLICT (generation_id, minute) DO UPDATE SET searches = h.searches + excluded.searches,
    empty = h.empty + excluded.empty, failed = h.failed + excluded.failed, of_store = h.of_store + excluded.of_store,
    of_model = h.of_model + excluded.of_model, milliseconds = h.milliseconds + excluded.milliseconds
"""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the searches of a generation since somebody last looked.

    Attributes:
        of_store: failures in which a store did not answer.
        of_model: failures in which the model did not.
        milliseconds: of all that have an answer.
    """

    searches: int = 0
    empty: int = 0
    failed: int = 0
    of_store: int = 0
    of_model: int = 0
    milliseconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Count the searches of another tally too."""
        self.searches += other.searches
        self.empty += other.empty
        self.failed += other.failed
        self.of_store += other.of_store
        self.of_model += other.of_model
        self.milliseconds += other.milliseconds


class SearchHealthRepository:
    """Adds up and reads; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        return (await self._connection.execute(parsed(sql), values)).mappings().all()

    async def add(self, tallies: Mapping[UUID, Tally]) -> None:
        """Count searches by generation for this minute."""
        counts = ("searches", "empty", "failed", "of_store", "of_model")
        statement = parsed(_ADD, generations=UUIDS, milliseconds=ARRAY(Double), **dict.fromkeys(counts, INTEGERS))
        values = {name: [getattr(tally, name) for tally in tallies.values()] for name in (*counts, "milliseconds")}
        await self._connection.execute(statement, {"generations": list(tallies), **values})

    async def read(self, collection_id: UUID, *, days: int) -> SearchHealth:
        """What became of the searches of a collection in the last days; ``KEPT_DAYS`` at most are there."""
        rows = await self._rows(
            """SELECT coalesce(sum(h.searches), 0)::bigint AS searches, coalesce(sum(h.empty), 0)::bigint AS empty,
                      coalesce(sum(h.failed), 0)::bigint AS failed, coalesce(sum(h.milliseconds), 0) AS milliseconds
               FROM search_health h JOIN generations g ON g.id = h.generation_id
               WHERE g.collection_id = :collection AND h.minute > now() - make_interval(days => :days)""",
            collection=collection_id,
            days=days,
        )
        names = ("searches", "empty", "failed")
        counts = SearchCounts(**{name: rows[0][name] for name in names})
        return SearchHealth(days=days, counts=counts, milliseconds=float(rows[0]["milliseconds"]))

    async def count_minutes(self) -> dict[datetime, tuple[int, float]]:
        """Searches of all collections in this minute and the one before, and how many seconds of each have passed."""
        rows = await self._rows(
            """SELECT m.minute, coalesce(sum(h.searches) FILTER (WHERE g.id IS NOT NULL), 0)::bigint AS n,
                      least(60, extract(epoch FROM clock_timestamp() - m.minute))::float8 AS seconds
               FROM generate_series(date_trunc('minute', now()) - interval '1 minute', now(), interval '1 minute')
                   AS m (minute)
               LEFT JOIN search_health h ON h.minute = m.minute
               LEFT JOIN generations g ON g.id = h.generation_id AND g.state = 'active'
               GROUP BY m.minute"""
        )
        return {row["minute"]: (int(row["n"]), float(row["seconds"])) for row in rows}

    async def count_old(self) -> int:
        """Minutes that are kept no longer."""
        rows = await self._rows(
            "SELECT count(*) AS n FROM search_health WHERE minute < now() - make_interval(days => :days)",
            days=KEPT_DAYS,
        )
        return int(rows[0]["n"])

    async def drop_old(self, *, rows: int) -> int:
        """Drop some of those; how many."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM search_health WHERE (generation_id, minute) IN (
                       SELECT generation_id, minute FROM search_health
                       WHERE minute < now() - make_interval(days => :days) ORDER BY minute LIMIT :rows)"""
            ),
            {"days": KEPT_DAYS, "rows": rows},
        )
        return dropped.rowcount


async def trim_search_health(database: Database) -> int:
    """Drop what is kept no longer, some thousand rows a transaction; how many they were."""
    total, dropped = 0, ROWS_PER_TRIM
    while dropped == ROWS_PER_TRIM:
        async with database.begin() as connection:
            dropped = await SearchHealthRepository(connection).drop_old(rows=ROWS_PER_TRIM)
        total += dropped
    return total

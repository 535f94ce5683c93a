"""What nobody needs any more: old operations, generations past their time, chunks and collections no row knows."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import TEXTS, parsed

MARKER_BYTES = 5
UNMARKED = re.compile(r"vecloom_[0-9a-f]{32}_[0-9a-f]{12}")
"""Names that versions before the marker gave. They are ours only where a row knows them."""

_OLD = """state IN ('completed', 'failed', 'cancelled') AND finished_at < now() - make_interval(days => :days)"""

_DELETE_OLD = f"""
WITH old AS (
    SELECT id FROM operations WHERE {_OLD} ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM operations o USING old WHERE o.id = old.id RETURNING o.id
"""

_DROP_TIME = """coalesce(g.drop_after, coalesce(g.retired_at, now()) + make_interval(secs => greatest(
    CAST(:window AS float8), least(:base + :per_10k * floor((SELECT count(*) FROM chunks c
        WHERE c.collection_id = g.collection_id AND c.generation_id = g.id) / 10000.0), :most))))"""

_SET_DROP_TIMES = (
    f"UPDATE generations g SET drop_after = {_DROP_TIME} WHERE g.state = 'retired' AND g.drop_after IS NULL"
)

# One that is being built is nobody's only when its collection has had no operation for as long. One that was replaced
# stays as long as somebody may be bringing it back.
_PAST_THEIR_TIME = f"""
SELECT g.name, g.state FROM generations g JOIN collections c ON c.id = g.collection_id
WHERE c.active_generation_id IS DISTINCT FROM g.id AND ((g.state = 'retired' AND {_DROP_TIME} < now()
        AND NOT EXISTS (SELECT 1 FROM operations r WHERE r.collection_id = g.collection_id AND r.kind = 'ROLLBACK'
            AND r.state IN ('pending', 'running')))
    OR (g.state = 'building' AND g.created_at < now() - make_interval(secs => :grace) AND NOT EXISTS (
        SELECT 1 FROM operations o WHERE o.collection_id = g.collection_id
          AND (o.state IN ('pending', 'running') OR o.finished_at > now() - make_interval(secs => :grace)))))
ORDER BY g.created_at
"""

_GENERATIONS_OF_CHUNKS = """
WITH RECURSIVE pairs AS (
    (SELECT collection_id, generation_id FROM chunks
     WHERE (collection_id, generation_id) > (:collection, :generation) ORDER BY 1, 2 LIMIT 1)
    UNION ALL
    SELECT following.* FROM pairs p, LATERAL (
        SELECT collection_id, generation_id FROM chunks
        WHERE (collection_id, generation_id) > (p.collection_id, p.generation_id) ORDER BY 1, 2 LIMIT 1) following
), page AS (SELECT * FROM pairs LIMIT :limit)
SELECT p.collection_id, p.generation_id, g.id IS NULL OR g.state = 'dropped' AS is_orphan
FROM page p LEFT JOIN generations g ON g.id = p.generation_id ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRules:
    """How long what is replaced or given up is kept, in seconds."""

    window: float
    delay_base: float
    delay_per_10k: float
    delay_most: float
    grace: float

    def values(self) -> dict[str, float]:
        """As parameters of the statements above."""
        return {
            "window": float(self.window),
            "base": float(self.delay_base),
            "per_10k": float(self.delay_per_10k),
            "most": float(self.delay_most),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPair:
    """A generation that chunks say they belong to."""

    collection_id: UUID
    generation_id: UUID
    is_orphan: bool


def generation_name(marker: str, collection_id: UUID, generation_id: UUID) -> str:
    """Name of a new physical collection: whose it is, of what collection, which generation."""
    return f"vecloom_{marker}_{collection_id.hex}_{generation_id.hex[:12]}"


def diagnosis_name(marker: str, suffix: str) -> str:
    """Name of a physical collection that lives for a moment; ``suffix`` is 12 hexadecimal digits."""
    return f"vecloom_{marker}_diagnosis_{suffix}"


def is_marked(name: str, marker: str) -> bool:
    """Whether a physical collection was made by the installation of this marker."""
    return re.fullmatch(rf"vecloom_{marker}_([0-9a-f]{{32}}|diagnosis)_[0-9a-f]{{12}}", name) is not None


async def read_marker(connection: AsyncConnection) -> str:
    """The marker of this database where it is now; made when it is first asked for.

    A database that was copied or restored elsewhere has another place and gets another marker: what the original
    has made in a Qdrant that both use is not taken for its own.
    """
    row = (
        await connection.execute(
            text(
                """SELECT oid::text AS database, has_function_privilege('pg_control_system()', 'EXECUTE') AS may_ask
                   FROM pg_database WHERE datname = current_database()"""
            )
        )
    ).one()
    system = (
        await connection.scalar(text("SELECT system_identifier::text FROM pg_control_system()")) if row.may_ask else ""
    )
    place = f"{system}:{row.database}"
    known = await connection.scalar(text("SELECT marker FROM installations WHERE place = :place"), {"place": place})
    if known is None:
        known = await connection.scalar(
            text(
                """INSERT INTO installations AS i (place, marker) VALUES (:place, :marker)
                   ON CONFLICT (place) DO UPDATE SET marker = i.marker RETURNING i.marker"""
            ),
            {"place": place, "marker": secrets.token_hex(MARKER_BYTES)},
        )
    return str(known)


class LeftoverRepository:
    """Finds what nobody needs, and removes it in small batches; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    # operations

    async def count_old_operations(self, *, days: int) -> int:
        """Operations that finished longer ago."""
        count = await self._connection.scalar(text(f"SELECT count(*) FROM operations WHERE {_OLD}"), {"days": days})
        return int(count or 0)

    async def delete_old_operations(self, *, days: int, limit: int) -> list[UUID]:
        """Delete some of them with their sums; one that somebody retries at this moment stays."""
        rows = await self._connection.execute(text(_DELETE_OLD), {"days": days, "limit": limit})
        return [row.id for row in rows]

    async def find_known_operations(self, ids: Sequence[UUID]) -> set[UUID]:
        """Those of these that have a row."""
        rows = await self._connection.execute(
            text("SELECT id FROM operations WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
        )
        return {row.id for row in rows}

    # generations

    async def set_drop_times(self, rules: DropRules) -> int:
        """Say of retired generations until when they are kept, where nobody has said it yet."""
        return (await self._connection.execute(text(_SET_DROP_TIMES), rules.values())).rowcount

    async def list_past_their_time(self, rules: DropRules, *, limit: int) -> dict[str, str]:
        """State by name of generations that may be dropped: retired after their time, or building and nobody builds."""
        values = {**rules.values(), "grace": float(rules.grace), "limit": limit}
        rows = await self._connection.execute(text(f"{_PAST_THEIR_TIME} LIMIT :limit"), values)
        return {row.name: row.state for row in rows}

    async def mark_dropped(self, rules: DropRules, name: str) -> bool:
        """Give a generation up for good, if it still may be; nobody can make it active any more."""
        marked = await self._connection.execute(
            text(
                f"""UPDATE generations SET state = 'dropped' WHERE name = :name AND state IN ('retired', 'building')
                    AND name IN (SELECT name FROM ({_PAST_THEIR_TIME}) past)"""
            ),
            {**rules.values(), "grace": float(rules.grace), "name": name},
        )
        return marked.rowcount == 1

    async def read_states(self, names: Sequence[str]) -> dict[str, str]:
        """State of the generation of each name that has one."""
        rows = await self._connection.execute(
            parsed("SELECT name, state FROM generations WHERE name = ANY(:names)", names=TEXTS), {"names": list(names)}
        )
        return {row.name: row.state for row in rows}

    # physical collections that no generation knows

    async def note_unknown(self, names: Sequence[str]) -> None:
        """Remember since when each of these is unknown, and forget all others."""
        values = {"names": list(names)}
        await self._connection.execute(
            parsed("DELETE FROM unknown_collections WHERE name <> ALL(:names)", names=TEXTS), values
        )
        await self._connection.execute(
            parsed(
                """INSERT INTO unknown_collections (name) SELECT name FROM unnest(:names) AS given (name)
                   ON CONFLICT DO NOTHING""",
                names=TEXTS,
            ),
            values,
        )

    async def list_long_unknown(self, *, seconds: float) -> list[str]:
        """Those that have been unknown for longer."""
        rows = await self._connection.execute(
            text(
                """SELECT name FROM unknown_collections WHERE first_seen_at < now() - make_interval(secs => :seconds)
                   ORDER BY first_seen_at, name"""
            ),
            {"seconds": seconds},
        )
        return [row.name for row in rows]

    async def forget_unknown(self, name: str) -> None:
        """It is dropped."""
        await self._connection.execute(text("DELETE FROM unknown_collections WHERE name = :name"), {"name": name})

    # chunks

    async def list_chunk_pairs(self, after: tuple[UUID, UUID], *, limit: int) -> list[ChunkPair]:
        """Generations that chunks belong to, in order, by looking at one chunk of each."""
        values = {"collection": after[0], "generation": after[1], "limit": limit}
        rows = await self._connection.execute(
            parsed(_GENERATIONS_OF_CHUNKS, collection=Uuid(), generation=Uuid()), values
        )
        return [ChunkPair(**row) for row in rows.mappings()]

    async def count_chunks(self, pair: ChunkPair) -> int:
        """How many chunks a generation has."""
        count = await self._connection.scalar(
            text("SELECT count(*) FROM chunks WHERE collection_id = :collection AND generation_id = :generation"),
            {"collection": pair.collection_id, "generation": pair.generation_id},
        )
        return int(count or 0)

    async def delete_orphan_chunks(self, pair: ChunkPair, *, limit: int) -> int:
        """Delete some chunks of a generation that is dropped or has no row; gives how many."""
        deleted = await self._connection.execute(
            text(
                """DELETE FROM chunks WHERE collection_id = :collection AND generation_id = :generation AND id IN (
                       SELECT id FROM chunks WHERE collection_id = :collection AND generation_id = :generation
                       LIMIT :limit)
                   AND NOT EXISTS (SELECT 1 FROM generations WHERE id = :generation AND state <> 'dropped')"""
            ),
            {"collection": pair.collection_id, "generation": pair.generation_id, "limit": limit},
        )
        return deleted.rowcount

    async def delete_old_ticks(self) -> int:
        """Delete what workers of an older version remember of their periodic jobs."""
        deleted = await self._connection.execute(text("DELETE FROM cron_ticks WHERE tick < now() - interval '1 day'"))
        return deleted.rowcount

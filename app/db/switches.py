"""Generations that became active and are watched: how searches were before, and how they are since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import JSON, JSON_OR_NULL, parsed
from app.domain.searches import SearchCounts

BEFORE = timedelta(days=1)
"""How long before a switch searches are looked at."""

_IS_OVER = """coalesce(g.activated_at < now() - make_interval(mins => CAST(g.watch ->> 'minutes' AS int)), false)"""

# One that is to be rolled back is listed until it is, whatever the time.
_WATCHED = f"""
SELECT g.id AS generation_id, g.collection_id, c.user_id, g.activated_at,
       g.watch ->> 'regression' AS regression, {_IS_OVER} AS is_over, r.id AS before_id,
       coalesce(r.model = g.model, false) AS is_same_model
FROM generations g JOIN collections c ON c.id = g.collection_id AND c.deleted_at IS NULL
LEFT JOIN LATERAL (
    SELECT id, model FROM generations WHERE collection_id = g.collection_id AND state = 'retired'
      AND activated_at IS NOT NULL
    ORDER BY retired_at DESC NULLS LAST LIMIT 1
) r ON true
WHERE g.watch IS NOT NULL AND g.state = 'active' AND (g.watch ? 'regression' OR NOT {_IS_OVER})
ORDER BY g.activated_at, g.id LIMIT :limit
"""

# What both sides share did not answer: a switch neither causes that nor does going back mend it.
_COUNTS = """
SELECT coalesce(sum(searches - shared), 0)::bigint AS searches, coalesce(sum(empty), 0)::bigint AS empty,
       coalesce(sum(failed - shared), 0)::bigint AS failed
FROM (SELECT *, of_store + CASE WHEN :same_model THEN of_model ELSE 0 END AS shared FROM search_health) h
WHERE generation_id = :generation AND minute >= date_trunc('minute', CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR minute < CAST(:until AS timestamptz))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A generation that took over from another one, and is watched.

    Attributes:
        regression: how searches have become worse since, if that is decided.
        is_over: whether its time to be watched is over.
        before_id: the newest generation that it has replaced; None if there is none to go back to.
        is_same_model: whether both ask the same model.
    """

    generation_id: UUID
    collection_id: UUID
    user_id: UUID
    activated_at: datetime
    regression: str | None
    is_over: bool
    before_id: UUID | None
    is_same_model: bool


class SwitchRepository:
    """Takes ids, gives switches and counts, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        return (await self._connection.execute(parsed(sql), values)).mappings().all()

    async def watch(self, generation_id: UUID, *, minutes: int | None) -> None:
        """Have a generation watched for so long after it becomes active; None ends that."""
        await self._connection.execute(
            parsed("UPDATE generations SET watch = :watch WHERE id = :id", watch=JSON_OR_NULL),
            {"id": generation_id, "watch": None if minutes is None else {"minutes": minutes}},
        )

    async def forget_ended(self) -> None:
        """Have nobody watch what was replaced, or has been watched for long enough, should it become active again."""
        await self._connection.execute(
            parsed(
                f"""UPDATE generations g SET watch = NULL
                   WHERE g.watch IS NOT NULL AND (g.state IN ('retired', 'dropped')
                      OR (g.state = 'active' AND {_IS_OVER} AND NOT g.watch ? 'regression'))"""
            )
        )

    async def list_watched(self, *, limit: int) -> list[Switch]:
        """Those that are watched now, and those that are to be rolled back; oldest first."""
        return [Switch(**row) for row in await self._rows(_WATCHED, limit=limit)]

    async def count_before(self, switch: Switch) -> SearchCounts:
        """What became of the searches of the generation before, in its last hours."""
        if switch.before_id is None:
            return SearchCounts()
        until = switch.activated_at
        return await self._count(switch.before_id, switch, since=until - BEFORE, until=until)

    async def count_since(self, switch: Switch) -> SearchCounts:
        """What became of the searches since the switch."""
        return await self._count(switch.generation_id, switch, since=switch.activated_at, until=None)

    async def _count(
        self, generation_id: UUID, switch: Switch, *, since: datetime, until: datetime | None
    ) -> SearchCounts:
        rows = await self._rows(
            _COUNTS, generation=generation_id, same_model=switch.is_same_model, since=since, until=until
        )
        return SearchCounts(**rows[0])

    async def note_regression(self, switch: Switch, *, words: str) -> bool:
        """Decide that a switch is to be rolled back; False if it is not the active one any more, or that is decided."""
        decided = await self._connection.execute(
            parsed(
                """UPDATE generations SET watch = watch || :regression
                   WHERE id = :id AND state = 'active' AND watch IS NOT NULL AND NOT watch ? 'regression'""",
                regression=JSON,
            ),
            {"id": switch.generation_id, "regression": {"regression": words}},
        )
        return decided.rowcount == 1

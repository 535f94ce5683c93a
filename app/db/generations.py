"""How it stands with the generations of a collection, read in one statement."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.collections import read_generation
from app.db.tables import chunks, generations
from app.domain.collections import GenerationState
from app.domain.generations import GenerationStatus

MOST_GENERATIONS = 100


class GenerationRepository:
    """Reads; changes nothing."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def list_standing(self, collection_id: UUID) -> list[GenerationStatus]:
        """Those that were not dropped, newest first, with the points of each counted."""
        points = (
            select(func.count())
            .select_from(chunks)
            .where(chunks.c.collection_id == collection_id, chunks.c.generation_id == generations.c.id)
            .correlate(generations)
            .scalar_subquery()
        )
        query = (
            select(generations, points.label("points"))
            .where(generations.c.collection_id == collection_id, generations.c.state != GenerationState.DROPPED.value)
            .order_by(generations.c.created_at.desc())
            .limit(MOST_GENERATIONS)
        )
        return [
            GenerationStatus(
                generation=read_generation(row),
                points=row["points"],
                activated_at=row["activated_at"],
                retired_at=row["retired_at"],
                drop_after=row["drop_after"],
            )
            for row in (await self._connection.execute(query)).mappings()
        ]

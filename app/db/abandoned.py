"""Generations that a rebuild has begun and nobody goes on with, and rows that dropped ones leave."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Uuid
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed

ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """A generation that was given up."""

    id: UUID
    collection_id: UUID
    name: str


class AbandonedRepository:
    """Gives generations up; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def give_up(self, operation_id: UUID | None = None) -> list[Abandoned]:
        """Mark as dropped what operations were building that have ended, or what one of them was."""
        rows = await self._connection.execute(
            parsed(
                """UPDATE generations g SET state = 'dropped' WHERE g.state = 'building' AND g.operation_id IS NOT NULL
                   AND (CAST(:operation AS uuid) IS NULL OR g.operation_id = CAST(:operation AS uuid))
                   AND NOT EXISTS (SELECT 1 FROM operations o
                                   WHERE o.id = g.operation_id AND o.state IN ('pending', 'running'))
                   RETURNING g.id, g.collection_id, g.name""",
                operation=Uuid(),
            ),
            {"operation": operation_id},
        )
        return [Abandoned(**row) for row in rows.mappings()]

    async def delete_rows(self) -> int:
        """Delete some of what was written down about the documents of dropped generations; how much."""
        deleted = await self._connection.execute(
            parsed(
                f"""DELETE FROM generation_documents WHERE (generation_id, document_id) IN (
                        SELECT d.generation_id, d.document_id FROM generation_documents d
                        JOIN generations g ON g.id = d.generation_id AND g.state = 'dropped' LIMIT {ROWS_AT_ONCE})"""
            )
        )
        return deleted.rowcount

    async def list_switched(self, *, seconds: float) -> dict[UUID, str]:
        """Names of active generations, by collection, of which some began to serve in the last seconds."""
        rows = await self._connection.execute(
            parsed(
                """SELECT collection_id, name FROM generations WHERE state = 'active' AND operation_id IS NOT NULL
                   AND activated_at > now() - make_interval(secs => :seconds)"""
            ),
            {"seconds": float(seconds)},
        )
        return {row.collection_id: row.name for row in rows}

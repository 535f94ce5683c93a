"""Rows of ``sources``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, bindparam, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables import sources
from app.domain.documents import Source, SourceKind
from app.domain.errors import SourceExistsError, SourceUnknownError


def _to_source(row: RowMapping) -> Source:
    names = ("id", "collection_id", "url", "config", "last_run_at", "last_result")
    return Source(kind=SourceKind(row["kind"]), **{name: row[name] for name in names})


class SourceRepository:
    """Takes ids, gives sources, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, collection_id: UUID, *, kind: SourceKind, url: str, config: dict[str, Any]) -> Source:
        """Raises SourceExistsError if the collection has a source with this URL."""
        values = {"id": uuid4(), "collection_id": collection_id, "kind": kind.value, "url": url, "config": config}
        try:
            row = await self._connection.execute(insert(sources).values(values).returning(sources))
        except IntegrityError as error:
            raise SourceExistsError(f"the collection already has the source {url}") from error
        return _to_source(row.mappings().one())

    async def get(self, collection_id: UUID, source_id: UUID) -> Source:
        """Raises SourceUnknownError."""
        query = select(sources).where(sources.c.collection_id == collection_id, sources.c.id == source_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise SourceUnknownError(source_id)
        return _to_source(row)

    async def list_all(self, collection_id: UUID) -> Sequence[Source]:
        """Oldest first."""
        query = select(sources).where(sources.c.collection_id == collection_id).order_by(sources.c.created_at)
        return [_to_source(row) for row in (await self._connection.execute(query)).mappings()]

    async def record_run(self, source_id: UUID, result: dict[str, Any]) -> None:
        """Keep when the source was last brought up to date, and what came of it."""
        await self._connection.execute(
            text("UPDATE sources SET last_run_at = now(), last_result = :result WHERE id = :id").bindparams(
                bindparam("result", type_=JSONB)
            ),
            {"id": source_id, "result": result},
        )

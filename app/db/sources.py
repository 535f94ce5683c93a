"""Rows of ``sources``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, bindparam, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables import collections, sources
from app.domain.documents import Source, SourceKind
from app.domain.errors import SourceExistsError, SourceUnknownError


def _to_source(row: RowMapping) -> Source:
    names = ("id", "collection_id", "url", "config", "last_run_at", "last_result", "secrets")
    return Source(kind=SourceKind(row["kind"]), **{name: row[name] for name in names})


class SourceRepository:
    """Takes ids, gives sources, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self, collection_id: UUID, *, kind: SourceKind, url: str, config: dict[str, Any], secrets: bytes | None = None
    ) -> Source:
        """Raises SourceExistsError if the collection has a source with this URL."""
        values = {
            "id": uuid4(),
            "collection_id": collection_id,
            "kind": kind.value,
            "url": url,
            "config": config,
            "secrets": secrets,
        }
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

    async def find_kind(self, collection_id: UUID, kind: SourceKind) -> Source | None:
        """The oldest source of a kind that a collection has."""
        query = select(sources).where(sources.c.collection_id == collection_id, sources.c.kind == kind.value)
        row = (await self._connection.execute(query.order_by(sources.c.created_at).limit(1))).mappings().first()
        return None if row is None else _to_source(row)

    async def list_all(self, collection_id: UUID) -> Sequence[Source]:
        """Oldest first."""
        query = select(sources).where(sources.c.collection_id == collection_id).order_by(sources.c.created_at)
        return [_to_source(row) for row in (await self._connection.execute(query)).mappings()]

    async def change(self, source_id: UUID, *, config: dict[str, Any], secrets: bytes | None) -> Source:
        """What is said of a source from now on; it exists."""
        query = update(sources).where(sources.c.id == source_id).values(config=config, secrets=secrets)
        row = await self._connection.execute(query.returning(sources))
        return _to_source(row.mappings().one())

    async def list_with_secrets(self, user_id: UUID) -> Sequence[Source]:
        """Sources of all of a user's collections that have secrets."""
        query = (
            select(sources)
            .join(collections, collections.c.id == sources.c.collection_id)
            .where(collections.c.user_id == user_id, sources.c.secrets.is_not(None))
            .order_by(sources.c.id)
        )
        return [_to_source(row) for row in (await self._connection.execute(query)).mappings()]

    async def renew_secrets(self, source_id: UUID, *, before: bytes | None, after: bytes) -> bool:
        """Replace secrets by the same ones under another key, unless somebody has changed them meanwhile."""
        query = update(sources).where(sources.c.id == source_id, sources.c.secrets == before).values(secrets=after)
        return (await self._connection.execute(query)).rowcount > 0

    async def record_run(self, source_id: UUID, result: dict[str, Any]) -> None:
        """Keep when the source was last brought up to date, and what came of it."""
        await self._connection.execute(
            text("UPDATE sources SET last_run_at = now(), last_result = :result WHERE id = :id").bindparams(
                bindparam("result", type_=JSONB)
            ),
            {"id": source_id, "result": result},
        )

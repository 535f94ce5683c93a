"""Which documents a collection has, and what they are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDocument:
    """A document, as people know it."""

    id: UUID
    uri: str
    title: str | None


async def load_names(connection: AsyncConnection, collection_id: UUID, ids: Sequence[UUID]) -> list[NamedDocument]:
    """Those of the ids that the collection has, in any order."""
    rows = await connection.execute(
        parsed("SELECT id, uri, title FROM documents WHERE collection_id = :collection AND id = ANY(:ids)"),
        {"collection": collection_id, "ids": list(ids)},
    )
    return [NamedDocument(**row) for row in rows.mappings()]


async def sample_documents(connection: AsyncConnection, collection_id: UUID, *, limit: int) -> list[UUID]:
    """Some documents that can be searched; the same ones as long as the collection has the same documents."""
    rows = await connection.execute(
        parsed(
            """SELECT id FROM documents WHERE collection_id = :collection AND state = 'completed' AND chunk_count > 0
               ORDER BY md5(id::text) LIMIT :limit"""
        ),
        {"collection": collection_id, "limit": limit},
    )
    return list(rows.scalars())


async def read_mark(connection: AsyncConnection, collection_id: UUID) -> str:
    """What a collection has, in a few characters: another one once a document has come, gone or changed."""
    rows = await connection.execute(
        parsed(
            """SELECT count(*) || ' ' || coalesce(sum(chunk_count), 0) || ' ' || coalesce(max(updated_at)::text, '')
               FROM documents WHERE collection_id = :collection AND state <> 'removed'"""
        ),
        {"collection": collection_id},
    )
    return str(rows.scalar_one())


async def find_long(
    connection: AsyncConnection, collection_id: UUID, generation_id: UUID, ids: Sequence[UUID], *, tokens: int
) -> set[UUID]:
    """Those of the ids that a generation has a chunk of with more tokens."""
    rows = await connection.execute(
        parsed(
            """SELECT DISTINCT document_id FROM chunks WHERE collection_id = :collection
                 AND generation_id = :generation AND document_id = ANY(:ids) AND tokens > :tokens"""
        ),
        {"collection": collection_id, "generation": generation_id, "ids": list(ids), "tokens": tokens},
    )
    return set(rows.scalars())

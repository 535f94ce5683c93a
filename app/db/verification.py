"""What the manifest of a generation says must be in the vector store, in the order of point ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.documents import CHUNKS_OF_IDS, ChunkRow
from app.db.shared_documents import OTHERS
from app.db.statements import UUIDS, parsed
from app.domain.documents import HEADINGS_END, HEADINGS_JOIN, DocumentState

WRITTEN = frozenset({DocumentState.PENDING, DocumentState.PROCESSING})
"""States in which a document's points may be on their way."""

_MINE = "c.collection_id = :collection AND c.generation_id = :generation"

EMBEDDED_TEXT = f"""CASE WHEN c.headings IS NULL THEN c.text
                    ELSE array_to_string(c.headings, '{HEADINGS_JOIN}') || '{HEADINGS_END}' || c.text END"""

_ROW = f"""c.id, c.document_id, sha256(convert_to({EMBEDDED_TEXT}, 'UTF8')) AS text_hash,
           octet_length(c.text) AS bytes, d.source_id, d.path, {OTHERS} AS others"""
_OWNED = "JOIN documents d ON d.id = c.document_id AND d.state <> 'removed'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One point that must exist: a chunk, with the hash of its text as it is stored now, and its document's place."""

    id: UUID
    document_id: UUID
    text_hash: bytes
    bytes: int
    source_id: UUID
    path: str
    others: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The document of a chunk, as far as its points are labelled with it."""

    source_id: UUID
    others: tuple[UUID, ...]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMark:
    """Where a document stands. Two equal marks mean that nothing was written to it between them."""

    id: UUID
    uri: str
    state: DocumentState
    dirty: bool
    updated_at: datetime
    chunk_count: int
    rows: int

    @property
    def most_chunks(self) -> int:
        """How many chunks it may have, whichever of the two numbers is wrong."""
        return max(self.chunk_count, self.rows)


def _to_row(row: RowMapping) -> ManifestRow:
    names = ("id", "document_id", "text_hash", "bytes", "source_id", "path")
    return ManifestRow(others=tuple(row["others"]), **{name: row[name] for name in names})


def _to_chunk(row: RowMapping) -> ChunkRow:
    names = ("id", "document_id", "ordinal", "start", "end", "tokens", "text", "parent_start", "parent_end", "gap")
    return ChunkRow(headings=tuple(row["headings"] or ()), **{name: row[name] for name in names})


def _to_mark(row: RowMapping) -> DocumentMark:
    return DocumentMark(**{**row, "state": DocumentState(row["state"])})


class ManifestRepository:
    """The manifest of one generation, as a verification reads and mends it; never commits."""

    def __init__(self, connection: AsyncConnection, *, collection_id: UUID, generation_id: UUID) -> None:
        self._connection = connection
        self._scope = {"collection": collection_id, "generation": generation_id}

    async def _rows(self, sql: str, **values: Any) -> Sequence[RowMapping]:  # noqa: ANN401 — bound values
        statement = parsed(sql, **{name: UUIDS for name, value in values.items() if isinstance(value, list)})
        scope = {name: value for name, value in self._scope.items() if f":{name}" in sql}
        result = await self._connection.execute(statement, {**scope, **values})
        return result.mappings().all() if result.returns_rows else []

    async def has_writer(self) -> bool:
        """Whether an operation writes to the collection, or has begun to and goes on later."""
        rows = await self._rows(
            """SELECT EXISTS (SELECT 1 FROM operations WHERE collection_id = :collection AND writes
                   AND (state = 'running' OR (state = 'pending' AND attempt > 0))) AS is_written"""
        )
        return bool(rows[0]["is_written"])

    async def count(self) -> int:
        """How many points there must be, removed documents aside."""
        return int((await self._rows(f"SELECT count(*) AS n FROM chunks c WHERE {_MINE}"))[0]["n"])

    async def list_page(self, *, after: UUID | None, limit: int) -> tuple[list[ManifestRow], UUID | None]:
        """The next points in the order of their ids, and the id to go on after; None at the end.

        The page is cut before documents are looked at, so that no statistics can make Postgres sort all chunks.
        """
        rows = await self._rows(
            f"""SELECT {_ROW}, d.id IS NOT NULL AS owned
                FROM (SELECT * FROM chunks c WHERE {_MINE} AND (CAST(:after AS uuid) IS NULL OR c.id > :after)
                      ORDER BY c.id LIMIT :limit) AS c LEFT {_OWNED} ORDER BY c.id""",
            after=after,
            limit=limit,
        )
        found = [_to_row(row) for row in rows if row["owned"]]
        return found, rows[-1]["id"] if len(rows) == limit else None

    async def list_rows(self, ids: Sequence[UUID]) -> list[ManifestRow]:
        """Those of these points that must exist."""
        rows = await self._rows(f"SELECT {_ROW} FROM {CHUNKS_OF_IDS} {_OWNED}", ids=list(ids))
        return [_to_row(row) for row in rows]

    async def load_chunks(self, ids: Sequence[UUID]) -> list[tuple[ChunkRow, Owner]]:
        """Chunks with what their documents are labelled with."""
        rows = await self._rows(
            f"""SELECT c.id, c.document_id, c.ordinal, c.start_char AS start, c.end_char AS "end", c.tokens, c.text,
                       c.headings, c.parent_start, c.parent_end, c.gap, d.source_id, d.path, {OTHERS} AS others
                FROM {CHUNKS_OF_IDS} {_OWNED}""",
            ids=list(ids),
        )
        return [
            (_to_chunk(row), Owner(source_id=row["source_id"], others=tuple(row["others"]), path=row["path"]))
            for row in rows
        ]

    async def find_marks(self, document_ids: Sequence[UUID]) -> dict[UUID, DocumentMark]:
        """Marks of the documents that exist, each with its number of chunk rows."""
        rows = await self._rows(_marks("d.id = ANY(:ids)"), ids=list(document_ids))
        return {row["id"]: _to_mark(row) for row in rows}

    async def list_marks(self, *, after: UUID | None, limit: int) -> list[DocumentMark]:
        """Marks of the next documents in the order of their ids."""
        where = "d.collection_id = :collection AND (CAST(:after AS uuid) IS NULL OR d.id > :after)"
        rows = await self._rows(f"{_marks(where)} ORDER BY d.id LIMIT :limit", after=after, limit=limit)
        return [_to_mark(row) for row in rows]

    async def forget_chunks(self, ids: Sequence[UUID]) -> None:
        """Drop chunk rows that nothing can be made of."""
        await self._rows(f"DELETE FROM chunks c WHERE {_MINE} AND c.id = ANY(:ids)", ids=list(ids))

    async def forget_removed(self, document_ids: Sequence[UUID]) -> None:
        """Drop what is left in the manifest of removed documents."""
        ids = list(document_ids)
        await self._rows(f"DELETE FROM chunks c WHERE {_MINE} AND c.document_id = ANY(:ids)", ids=ids)
        await self._rows("UPDATE documents SET chunk_count = 0, updated_at = now() WHERE id = ANY(:ids)", ids=ids)

    async def read_again(self, document_ids: Sequence[UUID]) -> set[UUID]:
        """Make documents pending as if nobody knew their content, so that the next APPEND reads them; gives them."""
        rows = await self._rows(
            """UPDATE documents SET state = 'pending', content_hash = NULL, attempts = 0, points_dirty = true,
                      change = 'changed', changed_by = NULL, updated_at = now()
               WHERE id = ANY(:ids) AND state <> 'removed' RETURNING id""",
            ids=list(document_ids),
        )
        return {row["id"] for row in rows}


def _marks(where: str) -> str:
    return f"""SELECT d.id, d.uri, d.state, d.points_dirty OR d.stale_labels IS NOT NULL AS dirty, d.updated_at,
                      d.chunk_count, counted.rows
               FROM documents d, LATERAL (SELECT count(*) AS rows FROM chunks c
                                          WHERE {_MINE} AND c.document_id = d.id) AS counted
               WHERE {where}"""

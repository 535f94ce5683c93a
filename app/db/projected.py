"""Rows of ``documents`` and ``chunks`` as a projection needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.db.documents import CHUNKS_OF_IDS, ManifestRows
from app.domain.documents import NEVER_SEEN_NS

PREVIEW = 240
"""Characters of a chunk that are shown of it."""
TEXT = 4000
"""Characters of a chunk that labels are made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """What is shown of a chunk."""

    id: UUID
    document_id: UUID
    preview: str
    uri: str
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """Which characters of its document a chunk has."""

    id: UUID
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourRow:
    """What of a document its colour may say."""

    id: UUID
    source: str
    uri: str
    path: str
    title: str | None
    modified_ns: int


class ProjectedRepository(ManifestRows):
    """What the manifest of one collection knows of points."""

    async def list_previews(self, generation_id: UUID, *, after: UUID | None, limit: int) -> list[PreviewRow]:
        """Of the chunks that come next in the order of ids.

        The page is cut before documents are looked at, so that no statistics can make Postgres sort all chunks.
        """
        begin = "AND id > :after" if after is not None else ""
        values = {"after": after} if after is not None else {}
        rows = await self._execute(
            f"""SELECT c.id, c.document_id, left(c.text, {PREVIEW}) AS preview, coalesce(d.uri, '') AS uri, d.title
                FROM (SELECT * FROM chunks WHERE collection_id = :collection AND generation_id = :generation {begin}
                      ORDER BY id LIMIT :limit) c LEFT JOIN documents d ON d.id = c.document_id ORDER BY c.id""",
            generation=generation_id,
            limit=limit,
            **values,
        )
        return [PreviewRow(**row) for row in rows]

    async def list_spans(self, generation_id: UUID, *, after: UUID | None, limit: int) -> list[SpanRow]:
        """Of the chunks that come next in the order of ids."""
        begin = "AND id > :after" if after is not None else ""
        values = {"after": after} if after is not None else {}
        rows = await self._execute(
            f"""SELECT id, start_char AS start, end_char AS "end" FROM chunks
                WHERE collection_id = :collection AND generation_id = :generation {begin} ORDER BY id LIMIT :limit""",
            generation=generation_id,
            limit=limit,
            **values,
        )
        return [SpanRow(**row) for row in rows]

    async def load_previews(self, generation_id: UUID, ids: Sequence[UUID]) -> dict[UUID, PreviewRow]:
        """Of some chunks, by id; those that the manifest does not know are missing."""
        rows = await self._execute(
            f"""SELECT c.id, c.document_id, left(c.text, {PREVIEW}) AS preview, d.uri, d.title
                FROM {CHUNKS_OF_IDS} JOIN documents d ON d.id = c.document_id""",
            generation=generation_id,
            ids=list(ids),
        )
        return {row["id"]: PreviewRow(**row) for row in rows}

    async def load_texts(self, generation_id: UUID, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Beginnings of some chunks, by id."""
        rows = await self._execute(
            f"SELECT c.id, left(c.text, {TEXT}) AS text FROM {CHUNKS_OF_IDS}",
            generation=generation_id,
            ids=list(ids),
        )
        return {row["id"]: row["text"] for row in rows}

    async def list_colours(self, *, after: UUID | None, limit: int) -> list[ColourRow]:
        """Of the documents that come next in the order of ids."""
        begin = "AND d.id > :after" if after is not None else ""
        values = {"after": after} if after is not None else {}
        rows = await self._execute(
            f"""SELECT d.id, s.url AS source, d.uri, d.path, d.title, d.modified_ns
                FROM documents d JOIN sources s ON s.id = d.source_id
                WHERE d.collection_id = :collection AND d.chunk_count > 0 {begin} ORDER BY d.id LIMIT :limit""",
            limit=limit,
            **values,
        )
        return [ColourRow(**row) for row in rows]

    async def find_ages(self) -> tuple[int, int]:
        """When the oldest and the newest document were changed last, in nanoseconds since 1970."""
        rows = await self._execute(
            f"""SELECT coalesce(min(modified_ns), 0) AS oldest, coalesce(max(modified_ns), 0) AS newest FROM documents
                WHERE collection_id = :collection AND chunk_count > 0 AND modified_ns <> {NEVER_SEEN_NS}"""
        )
        return rows[0]["oldest"], rows[0]["newest"]

    async def list_indexed_since(self, generation_id: UUID, since: datetime, *, limit: int) -> list[UUID]:
        """Chunks of documents that were indexed at a time or later, newest first."""
        rows = await self._execute(
            """SELECT c.id FROM documents d JOIN chunks c ON c.collection_id = :collection
                  AND c.generation_id = :generation AND c.document_id = d.id
               WHERE d.collection_id = :collection AND d.state = 'completed' AND d.updated_at >= :since
               ORDER BY d.updated_at DESC, d.id, c.ordinal LIMIT :limit""",
            generation=generation_id,
            since=since,
            limit=limit,
        )
        return [row["id"] for row in rows]

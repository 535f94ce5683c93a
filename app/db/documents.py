"""Rows of ``documents`` and ``chunks``: the manifest of a generation."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import copy_rows
from app.db.operation_rows import ALIVE
from app.db.statements import UUIDS, parsed
from app.domain.documents import Document, DocumentState, FileVersion, PreparedDocument, embedded_text
from app.domain.identity import locator_of
from app.domain.sanitising import sanitise

CHUNK_COLUMNS = (
    "collection_id", "generation_id", "id", "document_id", "ordinal", "start_char", "end_char", "tokens", "text",
    "headings", "parent_start", "parent_end", "gap",
)  # fmt: skip

_FIELDS = (
    "id", "collection_id", "source_id", "uri", "path", "size", "modified_ns", "content_hash", "mime_type", "title",
    "error_code", "error_message", "attempts", "chunk_count", "last_seen_at", "updated_at", "etag",
    "gone_since",
)  # fmt: skip


def to_document(row: RowMapping) -> Document:
    """The document of a row."""
    locator = locator_of(row["uri"], offset=row["record_offset"], length=row["record_length"])
    return Document(state=DocumentState(row["state"]), locator=locator, **{name: row[name] for name in _FIELDS})


CHUNKS_OF_IDS = """unnest(CAST(:ids AS uuid[])) AS wanted (id) JOIN LATERAL (
    SELECT * FROM chunks WHERE collection_id = :collection AND generation_id = :generation AND id >= wanted.id
    ORDER BY id LIMIT 1
) c ON c.id = wanted.id"""
"""Chunks by their ids. A plain condition makes Postgres read all chunks of the generation where its statistics are from
before they were written, for then another index seems as good; the order is one that the primary key alone has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRow:
    """One row of ``chunks`` of a known collection and generation."""

    id: UUID
    document_id: UUID
    ordinal: int
    start: int
    end: int
    tokens: int
    text: str
    headings: tuple[str, ...] = ()
    parent_start: int | None = None
    parent_end: int | None = None
    gap: str | None = None

    @property
    def embedded(self) -> str:
        """What its vector and its words are made of."""
        return embedded_text(self.text, self.headings)


PARTS = 8
"""Of what is pending for each worker that may share it: what one claim takes, so that nobody hoards."""


def safe_message(message: str | None) -> str | None:
    """A message as it may be stored."""
    return None if message is None else sanitise(message)


def _has_uuids(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], UUID)


class ManifestRows:
    """Statements on the manifest of one collection; never commits."""

    def __init__(self, connection: AsyncConnection, collection_id: UUID) -> None:
        self._connection = connection
        self._collection = collection_id

    async def _execute(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {name: UUIDS for name, value in values.items() if _has_uuids(value)}
        result = await self._connection.execute(parsed(sql, **types), {"collection": self._collection, **values})
        return result.mappings().all() if result.returns_rows else []


class DocumentRepository(ManifestRows):
    """Documents and chunks of one collection; never commits."""

    async def reset_processing(self, source_id: UUID) -> None:
        """Give back what a dead attempt had claimed; its points may be half written."""
        await self._execute(
            "UPDATE documents SET state = 'pending', points_dirty = true WHERE source_id = :source"
            " AND state = 'processing'",
            source=source_id,
        )

    async def unclaim(self, ids: Sequence[UUID]) -> None:
        """Give back claimed documents that were not begun."""
        await self._execute(
            "UPDATE documents SET state = 'pending' WHERE id = ANY(:ids) AND state = 'processing'", ids=list(ids)
        )

    async def release_processing(self) -> list[UUID]:
        """Give back what the attempt that ends now has claimed; its points may be half written."""
        rows = await self._execute(
            """UPDATE documents SET state = 'pending', points_dirty = true
               WHERE collection_id = :collection AND state = 'processing' RETURNING id"""
        )
        return [row["id"] for row in rows]

    async def claim(
        self, source_id: UUID, *, scan: UUID, limit: int, least: int, max_bytes: int, lane: UUID | None = None
    ) -> list[Document]:
        """Take the next pending documents that a scan has seen, in its order; other lanes do not see them.

        At most ``limit``, and no more than are ``max_bytes`` together, but always one. Where others share them, parts
        are a fraction of what is left, so that all lanes end together, but ``least``. A lane gets none once its offer
        is closed.
        """
        rows = await self._execute(
            f"""WITH open AS MATERIALIZED (
                   SELECT 1 WHERE CAST(:lane AS uuid) IS NULL OR EXISTS (SELECT 1 FROM lanes l JOIN lane_offers f
                       ON f.operation_id = l.operation_id AND f.token = l.token WHERE l.id = :lane)
               ), sharers AS MATERIALIZED (
                   SELECT CASE WHEN EXISTS (SELECT 1 FROM lane_offers WHERE scan = :scan)
                               THEN (SELECT greatest(1, count(*)) FROM workers w WHERE {ALIVE}) ELSE 1 END AS n
               ), seen AS MATERIALIZED (
                   SELECT count(*) AS n FROM (SELECT 1 FROM documents WHERE source_id = :source AND state = 'pending'
                       AND seen_by = :scan LIMIT {PARTS} * :limit * (SELECT n FROM sharers)) AS few
               ), next AS MATERIALIZED (
                   SELECT id, size, position FROM documents WHERE source_id = :source AND state = 'pending'
                       AND seen_by = :scan AND EXISTS (SELECT 1 FROM open) ORDER BY position
                       LIMIT (SELECT CASE WHEN sharers.n = 1 THEN :limit
                                          ELSE least(:limit, greatest(:least, seen.n / ({PARTS} * sharers.n))) END
                              FROM sharers, seen) FOR UPDATE SKIP LOCKED
               ), fitting AS (
                   SELECT id, sum(size) OVER (ORDER BY position) - size AS before FROM next
               )
               UPDATE documents d SET state = 'processing', lane = :lane, updated_at = now()
               FROM fitting WHERE d.id = fitting.id AND fitting.before < :bytes RETURNING d.*""",
            source=source_id,
            scan=scan,
            limit=limit,
            least=least,
            bytes=max_bytes,
            lane=lane,
        )
        return [to_document(row) for row in sorted(rows, key=lambda row: row["position"])]

    async def chunk_ids(self, generation_id: UUID, document_ids: Sequence[UUID]) -> dict[UUID, set[UUID]]:
        """The chunks each document has now."""
        rows = await self._execute(
            """SELECT document_id, array_agg(id) AS ids FROM chunks WHERE collection_id = :collection
               AND generation_id = :generation AND document_id = ANY(:documents) GROUP BY document_id""",
            generation=generation_id,
            documents=list(document_ids),
        )
        return {row["document_id"]: set(row["ids"]) for row in rows}

    async def find_copies(self, content_hashes: Sequence[bytes], *, besides: Sequence[UUID]) -> dict[bytes, UUID]:
        """A document with chunks for each content that has one, other than those named.

        No state is asked for: without fresh statistics Postgres would then read all completed documents instead.
        """
        rows = await self._execute(
            """SELECT wanted.content_hash, copy.id FROM unnest(CAST(:hashes AS bytea[])) AS wanted (content_hash),
               LATERAL (SELECT id FROM documents d WHERE d.collection_id = :collection
                        AND d.content_hash = wanted.content_hash AND d.chunk_count > 0 AND d.id <> ALL(:besides)
                        LIMIT 1) AS copy""",
            hashes=list(content_hashes),
            besides=list(besides),
        )
        return {row["content_hash"]: row["id"] for row in rows}

    async def replace_chunks(
        self, generation_id: UUID, *, added: Sequence[ChunkRow], moved: Sequence[ChunkRow], gone: Sequence[UUID]
    ) -> None:
        """Bring the chunk rows of some documents to their new content."""
        if gone:
            await self._execute(
                "DELETE FROM chunks"
                " WHERE collection_id = :collection AND generation_id = :generation AND id = ANY(:ids)",
                generation=generation_id,
                ids=list(gone),
            )
        if moved:
            await self._execute(
                """UPDATE chunks c SET ordinal = m.ordinal, start_char = m.start_char, end_char = m.end_char,
                     tokens = m.tokens, parent_start = m.parent_start, parent_end = m.parent_end, gap = m.gap
                   FROM unnest(:ids, CAST(:ordinals AS int[]), CAST(:starts AS int[]), CAST(:ends AS int[]),
                               CAST(:tokens AS int[]), CAST(:parent_starts AS int[]), CAST(:parent_ends AS int[]),
                               CAST(:gaps AS text[]))
                     AS m (id, ordinal, start_char, end_char, tokens, parent_start, parent_end, gap)
                   WHERE c.collection_id = :collection AND c.generation_id = :generation AND c.id = m.id""",
                generation=generation_id,
                ids=[chunk.id for chunk in moved],
                ordinals=[chunk.ordinal for chunk in moved],
                starts=[chunk.start for chunk in moved],
                ends=[chunk.end for chunk in moved],
                # a token may begin in what comes before, so the same text has not always the same number
                tokens=[chunk.tokens for chunk in moved],
                parent_starts=[chunk.parent_start for chunk in moved],
                parent_ends=[chunk.parent_end for chunk in moved],
                gaps=[chunk.gap for chunk in moved],
            )
        rows = [
            (
                *(self._collection, generation_id, c.id, c.document_id, c.ordinal, c.start, c.end, c.tokens, c.text),
                *(list(c.headings) or None, c.parent_start, c.parent_end, c.gap),
            )
            for c in added
        ]
        if rows:
            await copy_rows(self._connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)

    async def complete(self, prepared: Sequence[PreparedDocument], *, dirty: Collection[UUID]) -> None:
        """Record that all chunks and points of these documents are in place; ``dirty`` ones have leftovers."""
        await self._execute(
            """UPDATE documents d SET state = 'completed', content_hash = n.hash, mime_type = n.mime, title = n.title,
                    error_code = NULL, error_message = NULL, attempts = 0, chunk_count = n.chunks, tokens = n.tokens,
                    points_dirty = d.points_dirty OR n.dirty, updated_at = now(),
                    -- its new points know of one source
                    stale_labels = CASE WHEN EXISTS (SELECT 1 FROM document_sources h WHERE h.document_id = d.id)
                                        THEN coalesce(d.stale_labels, 'sources') ELSE d.stale_labels END
               FROM unnest(:ids, CAST(:hashes AS bytea[]), CAST(:mimes AS text[]), CAST(:titles AS text[]),
                           CAST(:chunks AS int[]), CAST(:tokens AS bigint[]), CAST(:dirty AS bool[]))
                 AS n (id, hash, mime, title, chunks, tokens, dirty)
               WHERE d.id = n.id""",
            ids=[document.document_id for document in prepared],
            hashes=[document.content_hash for document in prepared],
            mimes=[document.mime_type for document in prepared],
            titles=[document.title for document in prepared],
            chunks=[len(document.chunks) for document in prepared],
            tokens=[sum(chunk.tokens for chunk in document.chunks) for document in prepared],
            dirty=[document.document_id in dirty for document in prepared],
        )

    async def complete_unchanged(self, ids: Sequence[UUID]) -> None:
        """Record that touched files still have the content that is indexed."""
        await self._execute(
            """UPDATE documents SET state = 'completed', error_code = NULL,
                    change = CASE WHEN change = 'added' THEN change ELSE 'touched' END,
                    error_message = NULL, attempts = 0, updated_at = now() WHERE id = ANY(:ids)""",
            ids=list(ids),
        )

    async def note_versions(self, versions: Mapping[UUID, FileVersion]) -> None:
        """Record what was read where it is not what the scan saw.

        The next scan compares with what the manifest holds the result of, be that the content or an error, and not with
        what was there a moment before. Where nothing has scanned, as when documents are retried, that is all the same.
        """
        if not versions:
            return
        await self._execute(
            """UPDATE documents d SET size = n.size, modified_ns = n.modified_ns
               FROM unnest(:ids, CAST(:sizes AS bigint[]), CAST(:times AS bigint[])) AS n (id, size, modified_ns)
               WHERE d.id = n.id""",
            ids=list(versions),
            sizes=[version.size for version in versions.values()],
            times=[version.modified_ns for version in versions.values()],
        )

    async def fail(self, prepared: Sequence[PreparedDocument]) -> None:
        """Record why documents could not be indexed; what was indexed of them before stays."""
        await self._execute(
            """UPDATE documents d SET state = CASE WHEN n.code = 'needs_ocr' THEN 'needs_ocr' ELSE 'failed' END,
                    error_code = n.code, error_message = n.message, attempts = attempts + 1,
                    mime_type = coalesce(n.mime, mime_type), updated_at = now()
               FROM unnest(:ids, CAST(:codes AS text[]), CAST(:messages AS text[]), CAST(:mimes AS text[]))
                 AS n (id, code, message, mime) WHERE d.id = n.id""",
            ids=[document.document_id for document in prepared],
            codes=[document.error_code for document in prepared],
            messages=[safe_message(document.error_message) for document in prepared],
            mimes=[document.mime_type for document in prepared],
        )

    async def list_dirty(self, source_id: UUID, *, limit: int) -> list[UUID]:
        """Settled documents whose leftover points must be deleted."""
        rows = await self._execute(
            """SELECT id FROM documents WHERE source_id = :source AND points_dirty
               AND state IN ('completed', 'failed', 'needs_ocr') LIMIT :limit""",
            source=source_id,
            limit=limit,
        )
        return [row["id"] for row in rows]

    async def mark_clean(self, ids: Sequence[UUID]) -> None:
        """The store holds exactly the manifest's points of these documents."""
        await self._execute("UPDATE documents SET points_dirty = false WHERE id = ANY(:ids)", ids=list(ids))

    async def has_pending(self, source_id: UUID, *, scan: UUID) -> bool:
        """Whether documents that a scan has seen are still to be ingested."""
        rows = await self._execute(
            "SELECT 1 FROM documents WHERE source_id = :source AND state = 'pending' AND seen_by = :scan LIMIT 1",
            source=source_id,
            scan=scan,
        )
        return bool(rows)

    async def count_pending(self, source_id: UUID, *, scan: UUID, limit: int) -> int:
        """How many documents that a scan has seen are to be ingested, counted up to ``limit``."""
        rows = await self._execute(
            """SELECT count(*) AS n FROM (SELECT 1 FROM documents WHERE source_id = :source AND state = 'pending'
               AND seen_by = :scan LIMIT :limit) AS few""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return int(rows[0]["n"])

    async def remove(self, ids: Sequence[UUID], *, operation_id: UUID) -> None:
        """Drop the chunks of documents that are gone and mark them removed; dirty, for their points are still there."""
        await self._execute(
            "DELETE FROM chunks WHERE collection_id = :collection AND document_id = ANY(:ids)", ids=list(ids)
        )
        await self._execute(
            """UPDATE documents SET state = 'removed', chunk_count = 0, tokens = 0, content_hash = NULL,
                    points_dirty = true, error_code = NULL, error_message = NULL, updated_at = now(),
                    change = CASE WHEN change = 'added' AND changed_by = :operation
                                    OR content_hash IS NULL AND state IN ('pending', 'processing') THEN NULL
                                  ELSE 'removed' END,
                    changed_by = :operation
               WHERE id = ANY(:ids) AND state <> 'removed'""",
            ids=list(ids),
            operation=operation_id,
        )

    async def list_page(
        self, *, state: DocumentState | None, source_id: UUID | None, limit: int, after: UUID | None
    ) -> list[Document]:
        """A page of documents in id order."""
        rows = await self._execute(
            """SELECT * FROM documents d WHERE collection_id = :collection
               AND (CAST(:state AS text) IS NULL OR state = :state)
               AND (CAST(:source AS uuid) IS NULL OR source_id = :source OR EXISTS (
                   SELECT 1 FROM document_sources h WHERE h.document_id = d.id AND h.source_id = :source))
               AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit""",
            state=None if state is None else state.value,
            source=source_id,
            limit=limit,
            after=after,
        )
        return [to_document(row) for row in rows]

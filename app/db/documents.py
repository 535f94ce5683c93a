"""Rows of ``documents`` and ``chunks``: the manifest of a generation."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import copy_rows
from app.db.statements import BYTES, INTEGERS, TEXTS, UUIDS, parsed
from app.domain.documents import Document, DocumentState, PreparedDocument, ScannedDocument
from app.domain.identity import document_id, locator_of
from app.domain.sanitising import sanitise

CHUNK_COLUMNS = (
    "collection_id", "generation_id", "id", "document_id", "ordinal", "start_char", "end_char", "tokens", "text",
)  # fmt: skip

_FIELDS = (
    "id", "collection_id", "source_id", "uri", "path", "size", "modified_ns", "content_hash", "mime_type", "title",
    "error_code", "error_message", "attempts", "chunk_count", "last_seen_at", "updated_at",
)  # fmt: skip

# `same` compares content where the scan has read it, else size and modification time.
_UPSERT = """
WITH input AS (
    SELECT * FROM unnest(:ids, :uris, :paths, :offsets, :lengths, :sizes, :times, :positions, :hashes, :codes,
                         :messages)
      AS t (id, uri, path, record_offset, record_length, size, modified_ns, position, content_hash, error_code,
            error_message)
), judged AS (
    SELECT i.*, d.state AS old_state, d.change AS old_change, d.content_hash IS NULL AS never_indexed,
           coalesce(d.changed_by = :operation, false) AS ours,
           CASE WHEN i.error_code IS NOT NULL THEN 'failed'
                WHEN d.id IS NULL OR NOT same.it THEN 'pending'
                WHEN d.state IN ('completed', 'needs_ocr') THEN d.state
                WHEN d.state = 'failed' AND d.attempts >= :max_attempts THEN 'failed'
                ELSE 'pending' END AS new_state,
           coalesce(same.it, false) AS same
    FROM input i LEFT JOIN documents d ON d.id = i.id
    LEFT JOIN LATERAL (
        SELECT CASE WHEN i.content_hash IS NOT NULL AND d.content_hash IS NOT NULL
                    THEN d.content_hash = i.content_hash
                    ELSE d.size = i.size AND d.modified_ns = i.modified_ns END AS it) same ON true
), decided AS (
    SELECT *,
           CASE WHEN error_code IS NOT NULL THEN NULL
                WHEN old_state IS NULL OR old_state = 'removed' THEN 'added'
                WHEN old_change = 'added' AND (ours OR old_state IN ('pending', 'processing')) THEN 'added'
                WHEN NOT same THEN CASE WHEN never_indexed AND old_change IS NULL THEN 'added' ELSE 'changed' END
                WHEN ours THEN old_change
                WHEN old_state IN ('pending', 'processing')
                  THEN coalesce(old_change, CASE WHEN never_indexed THEN 'added' ELSE 'changed' END)
                WHEN new_state = 'pending' THEN 'retried' END AS change
    FROM judged
), written AS (
    INSERT INTO documents AS d (id, collection_id, source_id, uri, path, record_offset, record_length, size,
        modified_ns, position, state, error_code, error_message, seen_by, last_seen_at, change, changed_by)
    SELECT id, :collection, :source, uri, path, record_offset, record_length, size, modified_ns, position,
           new_state, error_code, error_message, :scan, now(), change,
           CASE WHEN change IS NOT NULL THEN CAST(:operation AS uuid) END FROM decided
    ON CONFLICT (id) DO UPDATE SET
        source_id = excluded.source_id, path = excluded.path, record_offset = excluded.record_offset,
        record_length = excluded.record_length, size = excluded.size, modified_ns = excluded.modified_ns,
        position = excluded.position, seen_by = excluded.seen_by, last_seen_at = excluded.last_seen_at,
        state = excluded.state,
        change = CASE WHEN excluded.error_code IS NULL THEN coalesce(excluded.change, d.change) END,
        changed_by = CASE WHEN excluded.error_code IS NULL THEN coalesce(excluded.changed_by, d.changed_by) END,
        points_dirty = d.points_dirty OR d.state = 'processing',
        attempts = CASE WHEN d.size = excluded.size AND d.modified_ns = excluded.modified_ns THEN d.attempts
                        ELSE 0 END,
        error_code = CASE WHEN excluded.state IN ('failed', 'needs_ocr')
                          THEN coalesce(excluded.error_code, d.error_code) END,
        error_message = CASE WHEN excluded.state IN ('failed', 'needs_ocr')
                             THEN coalesce(excluded.error_message, d.error_message) END
)
SELECT count(*) AS found,
       count(*) FILTER (WHERE error_code IS NOT NULL) AS errors,
       count(*) FILTER (WHERE change = 'added') AS new,
       count(*) FILTER (WHERE change = 'changed') AS changed,
       count(*) FILTER (WHERE error_code IS NULL AND coalesce(change NOT IN ('added', 'changed'), true)) AS unchanged,
       count(*) FILTER (WHERE new_state = 'pending') AS pending,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'completed') AS completed_again,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'failed') AS failed_again,
       count(*) FILTER (WHERE new_state = 'pending' AND ours AND old_state = 'needs_ocr') AS needs_ocr_again,
       coalesce(sum(size), 0)::bigint AS bytes
FROM decided
"""


def _to_document(row: RowMapping) -> Document:
    locator = locator_of(row["uri"], offset=row["record_offset"], length=row["record_length"])
    return Document(state=DocumentState(row["state"]), locator=locator, **{name: row[name] for name in _FIELDS})


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRow:
    """What search shows of a chunk."""

    id: UUID
    document_id: UUID
    uri: str
    path: str
    title: str | None
    text: str
    start: int
    end: int


def _safe(message: str | None) -> str | None:
    return None if message is None else sanitise(message)


def _has_uuids(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], UUID)


class DocumentRepository:
    """The manifest of one collection; never commits."""

    def __init__(self, connection: AsyncConnection, collection_id: UUID) -> None:
        self._connection = connection
        self._collection = collection_id

    async def _execute(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {name: UUIDS for name, value in values.items() if _has_uuids(value)}
        result = await self._connection.execute(parsed(sql, **types), {"collection": self._collection, **values})
        return result.mappings().all() if result.returns_rows else []

    async def record_scan(
        self,
        source_id: UUID,
        scanned: Sequence[ScannedDocument],
        *,
        scan: UUID,
        operation_id: UUID,
        first_position: int,
        max_attempts: int,
    ) -> dict[str, int]:
        """Upsert a batch of scanned documents and say how many are found, new, changed, unchanged, pending.

        What an earlier attempt at the same operation has added or changed is still this operation's work, and so is
        what an operation before it had found and never got to.

        A document whose state is ``pending`` afterwards has to be ingested.
        """
        statement = parsed(
            _UPSERT,
            ids=UUIDS,
            hashes=BYTES,
            **dict.fromkeys(("uris", "paths", "codes", "messages"), TEXTS),
            **dict.fromkeys(("offsets", "lengths", "sizes", "times", "positions"), INTEGERS),
        )
        values = {
            "collection": self._collection,
            "source": source_id,
            "scan": scan,
            "operation": operation_id,
            "max_attempts": max_attempts,
            "ids": [document_id(self._collection, item.uri) for item in scanned],
            "uris": [item.uri for item in scanned],
            "paths": [item.path for item in scanned],
            "offsets": [item.locator.offset for item in scanned],
            "lengths": [item.locator.length for item in scanned],
            "sizes": [item.size for item in scanned],
            "times": [item.modified_ns for item in scanned],
            "positions": list(range(first_position, first_position + len(scanned))),
            "hashes": [item.content_hash for item in scanned],
            "codes": [item.error_code for item in scanned],
            "messages": [_safe(item.error_message) for item in scanned],
        }
        row = (await self._connection.execute(statement, values)).mappings().one()
        return {name: int(row[name]) for name in row}

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

    async def claim(self, source_id: UUID, *, scan: UUID, limit: int) -> list[Document]:
        """Take the next pending documents that a scan has seen, in its order; other lanes do not see them."""
        rows = await self._execute(
            """UPDATE documents d SET state = 'processing', updated_at = now()
               FROM (SELECT id FROM documents WHERE source_id = :source AND state = 'pending'
                       AND seen_by = :scan ORDER BY position LIMIT :limit FOR UPDATE SKIP LOCKED) AS next
               WHERE d.id = next.id RETURNING d.*""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return [_to_document(row) for row in sorted(rows, key=lambda row: row["position"])]

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
                     tokens = m.tokens
                   FROM unnest(:ids, CAST(:ordinals AS int[]), CAST(:starts AS int[]), CAST(:ends AS int[]),
                               CAST(:tokens AS int[])) AS m (id, ordinal, start_char, end_char, tokens)
                   WHERE c.collection_id = :collection AND c.generation_id = :generation AND c.id = m.id""",
                generation=generation_id,
                ids=[chunk.id for chunk in moved],
                ordinals=[chunk.ordinal for chunk in moved],
                starts=[chunk.start for chunk in moved],
                ends=[chunk.end for chunk in moved],
                # a token may begin in what comes before, so the same text has not always the same number
                tokens=[chunk.tokens for chunk in moved],
            )
        rows = [
            (self._collection, generation_id, c.id, c.document_id, c.ordinal, c.start, c.end, c.tokens, c.text)
            for c in added
        ]
        if rows:
            await copy_rows(self._connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)

    async def complete(self, prepared: Sequence[PreparedDocument], *, dirty: Collection[UUID]) -> None:
        """Record that all chunks and points of these documents are in place; ``dirty`` ones have leftovers."""
        await self._execute(
            """UPDATE documents d SET state = 'completed', content_hash = n.hash, mime_type = n.mime, title = n.title,
                    error_code = NULL, error_message = NULL, attempts = 0, chunk_count = n.chunks, tokens = n.tokens,
                    points_dirty = d.points_dirty OR n.dirty, updated_at = now()
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
            messages=[_safe(document.error_message) for document in prepared],
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

    async def count_settled(self, source_ids: Sequence[UUID], *, operation_id: UUID) -> dict[str, int]:
        """Documents of sources that an operation has taken up and that need no more work, by state."""
        rows = await self._execute(
            """SELECT state, count(*) AS n FROM documents WHERE source_id = ANY(:sources) AND changed_by = :operation
               AND state IN ('completed', 'failed', 'needs_ocr') GROUP BY state""",
            sources=list(source_ids),
            operation=operation_id,
        )
        return {row["state"]: row["n"] for row in rows}

    async def summarise(
        self, source_ids: Sequence[UUID], *, operation_id: UUID, scans: Sequence[UUID]
    ) -> dict[str, int]:
        """What sources hold and what an operation did to that, each document counted once though sources overlap.

        Keys: ``completed``, ``failed`` and ``needs_ocr`` (states), ``added``, ``changed`` and ``removed`` (by the
        operation), ``unchanged`` (seen by these scans, readable then, and neither added nor changed).
        """
        rows = await self._execute(
            """SELECT count(*) FILTER (WHERE state = 'completed') AS completed,
                      count(*) FILTER (WHERE state = 'failed') AS failed,
                      count(*) FILTER (WHERE state = 'needs_ocr') AS needs_ocr,
                      count(*) FILTER (WHERE ours AND change = 'added') AS added,
                      count(*) FILTER (WHERE ours AND change = 'changed') AS changed,
                      count(*) FILTER (WHERE ours AND change = 'removed') AS removed,
                      count(*) FILTER (WHERE seen_by = ANY(:scans) AND NOT (state = 'failed' AND change = '')
                                       AND NOT (ours AND change IN ('added', 'changed'))) AS unchanged
               FROM (SELECT state, seen_by, coalesce(change, '') AS change,
                            coalesce(changed_by = :operation, false) AS ours
                     FROM documents WHERE source_id = ANY(:sources)) AS d""",
            sources=list(source_ids),
            operation=operation_id,
            scans=list(scans),
        )
        return dict(rows[0])

    async def count_gone(self, source_id: UUID, *, scan: UUID) -> int:
        """Documents of the source that this scan has not seen."""
        rows = await self._execute(
            """SELECT count(*) AS n FROM documents WHERE source_id = :source AND state <> 'removed'
               AND seen_by IS DISTINCT FROM :scan""",
            source=source_id,
            scan=scan,
        )
        return int(rows[0]["n"])

    async def list_gone(self, source_id: UUID, *, scan: UUID, limit: int) -> list[UUID]:
        """Some documents of the source that this scan has not seen, or whose removal was not finished."""
        rows = await self._execute(
            """SELECT id FROM documents WHERE source_id = :source AND (state <> 'removed' OR points_dirty)
               AND seen_by IS DISTINCT FROM :scan LIMIT :limit""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return [row["id"] for row in rows]

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
            """SELECT * FROM documents WHERE collection_id = :collection
               AND (CAST(:state AS text) IS NULL OR state = :state)
               AND (CAST(:source AS uuid) IS NULL OR source_id = :source)
               AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit""",
            state=None if state is None else state.value,
            source=source_id,
            limit=limit,
            after=after,
        )
        return [_to_document(row) for row in rows]

    async def load_hits(self, generation_id: UUID, ids: Sequence[UUID]) -> dict[UUID, HitRow]:
        """Text and document of chunks, by id; chunks the manifest does not know are missing."""
        rows = await self._execute(
            """SELECT c.id, c.document_id, d.uri, d.path, d.title, c.text, c.start_char AS start, c.end_char AS "end"
               FROM chunks c JOIN documents d ON d.id = c.document_id
               WHERE c.collection_id = :collection AND c.generation_id = :generation AND c.id = ANY(:ids)""",
            generation=generation_id,
            ids=list(ids),
        )
        return {row["id"]: HitRow(**row) for row in rows}

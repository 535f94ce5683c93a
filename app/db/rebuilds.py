"""What a generation beside the active one holds of each document: rows of ``generation_documents``.

Such a generation is being built, or was replaced and may come back. A row stands before anything of its document is
written, so that whatever may be in the vector store can be found. What the row was made from is known by
``documents.updated_at``, which every change of a document's content changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.documents import PARTS, ChunkRow, ManifestRows, to_document
from app.db.operation_rows import ALIVE
from app.db.shared_documents import OTHERS
from app.domain.documents import Document

_HAS_CONTENT = "d.state <> 'removed' AND (d.content_hash IS NOT NULL OR d.chunk_count > 0)"
_LABELS = f"md5(d.source_id::text || ' ' || d.path || ' ' || ({OTHERS})::text)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A document that is to be brought into the generation.

    Attributes:
        version: what the row says once the document as it is now is held.
        others: its sources beside the one it belongs to.
        labels: what filters shall see of it, hashed.
        held_labels: what they see of points the generation has of it; None if it has none.
    """

    document: Document
    version: datetime
    others: tuple[UUID, ...]
    labels: str
    held_labels: str | None
    is_record: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldDocument:
    """What the generation holds of a document from now on."""

    document_id: UUID
    version: datetime
    labels: str
    chunk_count: int
    tokens: int
    is_dirty: bool = False
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a generation is: documents by what is to be done about them, and chunks of those that it holds."""

    pending: int = 0
    held: int = 0
    failed: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A document that could not be built as it was asked for."""

    document_id: UUID
    uri: str
    error_code: str
    error_message: str | None = field(default=None)


def _to_claimed(row: RowMapping) -> Claimed:
    return Claimed(
        document=to_document(row),
        version=row["updated_at"],
        others=tuple(row["others"]),
        labels=row["new_labels"],
        held_labels=row["held_labels"],
        is_record=row["record_offset"] is not None,
    )


class RebuildRepository(ManifestRows):
    """What one generation of a collection holds; never commits."""

    def __init__(self, connection: AsyncConnection, collection_id: UUID, generation_id: UUID) -> None:
        super().__init__(connection, collection_id)
        self._generation = generation_id

    async def _run(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        return await self._execute(sql, generation=self._generation, **values)

    async def seed(self) -> int:
        """Make every document pending that the generation does not hold as it is now; how many are pending then."""
        await self._run(
            f"""INSERT INTO generation_documents (generation_id, document_id, state)
                SELECT :generation, d.id, 'pending' FROM documents d WHERE d.collection_id = :collection
                  AND {_HAS_CONTENT} AND NOT EXISTS (SELECT 1 FROM generation_documents g
                      WHERE g.generation_id = :generation AND g.document_id = d.id)
                ON CONFLICT DO NOTHING""",
        )
        await self._run(
            f"""UPDATE generation_documents g SET state = 'pending' FROM documents d
                WHERE g.generation_id = :generation AND g.state = 'held' AND d.id = g.document_id
                  AND d.collection_id = :collection AND {_HAS_CONTENT}
                  AND (g.version IS DISTINCT FROM d.updated_at OR g.labels IS DISTINCT FROM {_LABELS})""",
        )
        return (await self.count()).pending

    async def count(self) -> Progress:
        """How many documents are pending and held; ``failed`` ones are held with an error."""
        rows = await self._run(
            """SELECT count(*) FILTER (WHERE state <> 'held') AS pending,
                      count(*) FILTER (WHERE state = 'held') AS held,
                      count(*) FILTER (WHERE state = 'held' AND error_code IS NOT NULL) AS failed,
                      coalesce(sum(chunk_count) FILTER (WHERE state = 'held'), 0) AS chunks
               FROM generation_documents WHERE generation_id = :generation""",
        )
        return Progress(**{name: int(rows[0][name]) for name in ("pending", "held", "failed", "chunks")})

    async def has_pending(self) -> bool:
        """Whether a document waits to be claimed."""
        return bool(
            await self._run(
                "SELECT 1 FROM generation_documents WHERE generation_id = :generation AND state = 'pending' LIMIT 1"
            )
        )

    async def reset_claimed(self) -> None:
        """Give back what a dead attempt had in hand; its points may be half written. Its lanes have to have ended."""
        await self._run(
            """UPDATE generation_documents SET state = 'pending', points_dirty = true, lane = NULL
               WHERE generation_id = :generation AND state = 'claimed'""",
        )

    async def unclaim(self, ids: Sequence[UUID]) -> None:
        """Give back documents that nobody has begun with."""
        await self._run(
            """UPDATE generation_documents SET state = 'pending'
               WHERE generation_id = :generation AND document_id = ANY(:ids) AND state = 'claimed'""",
            ids=list(ids),
        )

    async def claim(self, *, limit: int, least: int, lane: UUID | None = None) -> list[Claimed]:
        """Take the next pending documents; those that are gone meanwhile are left to the next sweep.

        Where others share them, parts are a fraction of what is left, so that all end together, but ``least``. A lane
        gets none once its offer is closed.
        """
        rows = await self._run(
            f"""WITH open AS MATERIALIZED (
                    SELECT 1 WHERE CAST(:lane AS uuid) IS NULL OR EXISTS (SELECT 1 FROM lanes l JOIN lane_offers f
                        ON f.operation_id = l.operation_id AND f.token = l.token WHERE l.id = :lane)
                ), sharers AS MATERIALIZED (
                    SELECT CASE WHEN EXISTS (SELECT 1 FROM lane_offers WHERE generation_id = :generation)
                                THEN (SELECT greatest(1, count(*)) FROM workers w WHERE {ALIVE}) ELSE 1 END AS n
                ), waiting AS MATERIALIZED (
                    SELECT count(*) AS n FROM (SELECT 1 FROM generation_documents WHERE generation_id = :generation
                        AND state = 'pending' LIMIT {PARTS} * :limit * (SELECT n FROM sharers)) AS few
                ), next AS MATERIALIZED (
                    SELECT document_id FROM generation_documents WHERE generation_id = :generation
                      AND state = 'pending' AND EXISTS (SELECT 1 FROM open) ORDER BY document_id
                      LIMIT (SELECT CASE WHEN sharers.n = 1 THEN :limit
                                         ELSE least(:limit, greatest(:least, waiting.n / ({PARTS} * sharers.n))) END
                             FROM sharers, waiting) FOR UPDATE SKIP LOCKED
                ), taken AS (
                    UPDATE generation_documents g SET state = 'claimed', lane = :lane FROM next
                    WHERE g.generation_id = :generation AND g.document_id = next.document_id
                    RETURNING g.document_id, g.labels AS held_labels
                )
                SELECT d.*, {_LABELS} AS new_labels, {OTHERS} AS others, taken.held_labels, taken.document_id
                FROM taken LEFT JOIN documents d ON d.id = taken.document_id AND d.collection_id = :collection
                  AND {_HAS_CONTENT}""",
            limit=limit,
            least=least,
            lane=lane,
        )
        if gone := [row["document_id"] for row in rows if row["id"] is None]:
            await self._run(
                """UPDATE generation_documents SET state = 'held', version = NULL, points_dirty = true
                   WHERE generation_id = :generation AND document_id = ANY(:ids)""",
                ids=gone,
            )
        return [_to_claimed(row) for row in rows if row["id"] is not None]

    async def list_page(self, *, after: UUID, limit: int) -> list[Claimed]:
        """The next documents with content in the order of their ids, as a dry run reads them."""
        rows = await self._run(
            f"""SELECT d.*, {_LABELS} AS new_labels, {OTHERS} AS others, NULL AS held_labels FROM documents d
                WHERE d.collection_id = :collection AND {_HAS_CONTENT}
                  AND d.id > :after ORDER BY d.id LIMIT :limit""",
            after=after,
            limit=limit,
        )
        return [_to_claimed(row) for row in rows]

    async def count_documents(self) -> int:
        """How many documents of the collection have content."""
        rows = await self._execute(
            f"SELECT count(*) AS n FROM documents d WHERE d.collection_id = :collection AND {_HAS_CONTENT}"
        )
        return int(rows[0]["n"])

    async def count_chunks(self) -> tuple[int, int]:
        """How many chunks the generation has, and how many tokens these have."""
        rows = await self._run(
            """SELECT count(*) AS n, coalesce(sum(tokens), 0) AS tokens FROM chunks
               WHERE collection_id = :collection AND generation_id = :generation"""
        )
        return int(rows[0]["n"]), int(rows[0]["tokens"])

    async def load_chunks(self, documents: Sequence[UUID]) -> dict[UUID, list[ChunkRow]]:
        """The chunks of documents in their order; one without any is missing."""
        rows = await self._run(
            """SELECT id, document_id, ordinal, start_char AS start, end_char AS "end", tokens, text, headings,
                      parent_start, parent_end, gap
               FROM chunks WHERE collection_id = :collection AND generation_id = :generation
                 AND document_id = ANY(:documents) ORDER BY document_id, ordinal""",
            documents=list(documents),
        )
        chunks: dict[UUID, list[ChunkRow]] = {}
        for row in rows:
            chunk = ChunkRow(**{**row, "headings": tuple(row["headings"] or ())})
            chunks.setdefault(chunk.document_id, []).append(chunk)
        return chunks

    async def hold(self, held: Sequence[HeldDocument]) -> None:
        """Record that the chunks and points of documents are in place; dirty ones stay so until they are cleaned."""
        await self._run(
            """UPDATE generation_documents g SET state = 'held', lane = NULL, version = n.version, labels = n.labels,
                    chunk_count = n.chunks, tokens = n.tokens, points_dirty = g.points_dirty OR n.dirty,
                    error_code = n.code, error_message = n.message
               FROM unnest(:ids, CAST(:versions AS timestamptz[]), CAST(:labels AS text[]), CAST(:chunks AS int[]),
                           CAST(:tokens AS bigint[]), CAST(:dirty AS bool[]), CAST(:codes AS text[]),
                           CAST(:messages AS text[])) AS n (id, version, labels, chunks, tokens, dirty, code, message)
               WHERE g.generation_id = :generation AND g.document_id = n.id""",
            ids=[one.document_id for one in held],
            versions=[one.version for one in held],
            labels=[one.labels for one in held],
            chunks=[one.chunk_count for one in held],
            tokens=[one.tokens for one in held],
            dirty=[one.is_dirty for one in held],
            codes=[one.error_code for one in held],
            messages=[one.error_message for one in held],
        )

    async def list_gone(self, *, limit: int) -> list[UUID]:
        """Some documents that the generation has, or may have, and that the collection does not have any more."""
        rows = await self._run(
            f"""SELECT g.document_id FROM generation_documents g WHERE g.generation_id = :generation
                  AND g.state <> 'claimed' AND NOT EXISTS (SELECT 1 FROM documents d WHERE d.id = g.document_id
                      AND d.collection_id = :collection AND {_HAS_CONTENT}) LIMIT :limit""",
            limit=limit,
        )
        return [row["document_id"] for row in rows]

    async def forget(self, ids: Sequence[UUID]) -> None:
        """Drop chunks and rows of documents whose points are deleted."""
        for table in ("chunks", "generation_documents"):
            mine = "collection_id = :collection AND " if table == "chunks" else ""
            await self._run(
                f"DELETE FROM {table} WHERE {mine}generation_id = :generation AND document_id = ANY(:ids)",
                ids=list(ids),
            )

    async def list_dirty(self, *, limit: int) -> list[UUID]:
        """Held documents whose leftover points must be deleted."""
        rows = await self._run(
            """SELECT document_id FROM generation_documents WHERE generation_id = :generation AND points_dirty
               AND state = 'held' LIMIT :limit""",
            limit=limit,
        )
        return [row["document_id"] for row in rows]

    async def mark_clean(self, ids: Sequence[UUID]) -> None:
        """The store holds exactly the generation's points of these documents."""
        await self._run(
            """UPDATE generation_documents SET points_dirty = false
               WHERE generation_id = :generation AND document_id = ANY(:ids)""",
            ids=list(ids),
        )

    async def list_problems(self, *, limit: int) -> list[Problem]:
        """Documents that could not be built as it was asked for."""
        rows = await self._run(
            """SELECT g.document_id, d.uri, g.error_code, g.error_message FROM generation_documents g
               JOIN documents d ON d.id = g.document_id AND d.collection_id = :collection
               WHERE g.generation_id = :generation AND g.error_code IS NOT NULL ORDER BY d.uri LIMIT :limit""",
            limit=limit,
        )
        return [Problem(**row) for row in rows]

    # --- the switch -----------------------------------------------------------------------------

    async def keep_manifest(self) -> None:
        """Write down what the active generation holds, which is about to be replaced and may come back."""
        await self._run(
            f"""INSERT INTO generation_documents
                       (generation_id, document_id, state, version, labels, chunk_count, tokens, points_dirty)
                SELECT :generation, d.id, 'held', d.updated_at, {_LABELS}, d.chunk_count, d.tokens, d.points_dirty
                FROM documents d WHERE d.collection_id = :collection AND {_HAS_CONTENT}
                ON CONFLICT (generation_id, document_id) DO UPDATE SET state = 'held', version = excluded.version,
                    labels = excluded.labels, chunk_count = excluded.chunk_count, tokens = excluded.tokens,
                    points_dirty = excluded.points_dirty, error_code = NULL, error_message = NULL""",
        )

    async def take_manifest(self) -> None:
        """Have the documents say what a generation holds that becomes the active one; its own rows go.

        A document that it could not hold at all has failed.
        """
        await self._run(
            """UPDATE documents d SET chunk_count = g.chunk_count, tokens = g.tokens,
                    points_dirty = d.points_dirty OR g.points_dirty,
                    state = CASE WHEN g.error_code IS NOT NULL AND g.chunk_count = 0 AND d.state = 'completed'
                                 THEN 'failed' ELSE d.state END,
                    error_code = CASE WHEN g.chunk_count = 0 THEN coalesce(g.error_code, d.error_code)
                                      ELSE d.error_code END,
                    error_message = CASE WHEN g.chunk_count = 0 THEN coalesce(g.error_message, d.error_message)
                                         ELSE d.error_message END
               FROM generation_documents g WHERE g.generation_id = :generation AND g.state = 'held'
                 AND d.id = g.document_id AND d.collection_id = :collection
                 AND (d.chunk_count <> g.chunk_count OR d.tokens <> g.tokens OR g.points_dirty
                      OR g.error_code IS NOT NULL)""",
        )
        await self._run("DELETE FROM generation_documents WHERE generation_id = :generation")

"""Documents that several sources have: who has them, to whom they pass over, and what filters see of that.

A document belongs to one source, the last whose scan found something to do about it; the others are in
``document_sources``. Where sources do not overlap that table is empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.documents import ManifestRows

OTHERS = """coalesce((SELECT array_agg(h.source_id ORDER BY h.source_id) FROM document_sources h
                      WHERE h.document_id = d.id AND h.source_id <> d.source_id), '{}')"""
"""Of a document ``d``: its sources beside the one it belongs to."""

IS_SHARED = "EXISTS (SELECT 1 FROM document_sources h WHERE h.document_id = d.id AND h.source_id <> d.source_id)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What filters shall see of a document's points; ``path_too`` if not only its sources have changed."""

    document_id: UUID
    source_id: UUID
    others: tuple[UUID, ...]
    path: str
    path_too: bool


class SharedDocumentRepository(ManifestRows):
    """Sources of one collection's documents; never commits."""

    async def pass_on(self, ids: Sequence[UUID], *, source_id: UUID) -> set[UUID]:
        """Give documents that a source loses to another one that has them; those that nobody else has are missing.

        The next scan of the new one decides about the rest: what was pending stays so until then.
        """
        rows = await self._execute(
            """WITH heir AS (
                   SELECT DISTINCT ON (document_id) document_id, source_id, path, seen_by FROM document_sources
                   WHERE document_id = ANY(:ids) AND source_id <> :source ORDER BY document_id, source_id
               ), passed AS (
                   UPDATE documents d SET source_id = heir.source_id, path = heir.path, seen_by = heir.seen_by,
                       stale_labels = 'path', points_dirty = d.points_dirty OR d.state = 'processing', lane = NULL,
                       state = CASE WHEN d.state = 'processing' THEN 'pending' ELSE d.state END
                   FROM heir WHERE d.id = heir.document_id AND d.source_id = :source AND d.state <> 'removed'
                   RETURNING d.id, heir.source_id
               ), held AS (
                   DELETE FROM document_sources h USING passed
                   WHERE h.document_id = passed.id AND h.source_id = passed.source_id
               )
               SELECT id FROM passed""",
            ids=list(ids),
            source=source_id,
        )
        return {row["id"] for row in rows}

    async def let_go(self, source_id: UUID, *, scan: UUID | None, limit: int) -> int:
        """End what a source has of documents that belong to others, those aside that a scan has seen; how many."""
        rows = await self._execute(
            """WITH lost AS (
                   DELETE FROM document_sources h USING (
                       SELECT document_id FROM document_sources WHERE source_id = :source
                       AND (CAST(:scan AS uuid) IS NULL OR seen_by IS DISTINCT FROM CAST(:scan AS uuid)) LIMIT :limit
                   ) AS few WHERE h.document_id = few.document_id AND h.source_id = :source
                   RETURNING h.document_id
               ), relabelled AS (
                   UPDATE documents d SET stale_labels = coalesce(d.stale_labels, 'sources')
                   FROM lost WHERE d.id = lost.document_id
               )
               SELECT count(*) AS n FROM lost""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return int(rows[0]["n"])

    async def list_stale(self, *, limit: int) -> list[Label]:
        """Labels of settled documents whose points still say something else."""
        rows = await self._execute(
            f"""SELECT d.id, d.source_id, d.path, d.stale_labels = 'path' AS path_too, {OTHERS} AS others
                FROM documents d WHERE d.collection_id = :collection AND d.stale_labels IS NOT NULL LIMIT :limit""",
            limit=limit,
        )
        return [
            Label(
                document_id=row["id"],
                source_id=row["source_id"],
                others=tuple(row["others"]),
                path=row["path"],
                path_too=row["path_too"],
            )
            for row in rows
        ]

    async def mark_labelled(self, ids: Sequence[UUID]) -> None:
        """Filters see of these documents what is true."""
        await self._execute("UPDATE documents SET stale_labels = NULL WHERE id = ANY(:ids)", ids=list(ids))

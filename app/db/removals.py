"""What has to be known and done to take a source out of a collection."""

from collections.abc import Sequence
from uuid import UUID

from app.db.deletions import DOCUMENTS_AT_ONCE
from app.db.documents import ManifestRows


class RemovalRepository(ManifestRows):
    """Documents of one collection that go with their source; never commits."""

    async def count_left(self, source_id: UUID) -> int:
        """Documents of the source that are not removed yet."""
        rows = await self._execute(
            "SELECT count(*) AS n FROM documents WHERE source_id = :source AND state <> 'removed'", source=source_id
        )
        return int(rows[0]["n"])

    async def list_left(self, source_id: UUID, *, limit: int) -> list[UUID]:
        """Some documents of the source that are not removed yet."""
        rows = await self._execute(
            "SELECT id FROM documents WHERE source_id = :source AND state <> 'removed' LIMIT :limit",
            source=source_id,
            limit=limit,
        )
        return [row["id"] for row in rows]

    async def mark_removed(
        self, ids: Sequence[UUID], *, generations: Sequence[UUID], operation_id: UUID
    ) -> tuple[int, list[UUID]]:
        """Drop the chunks of documents and mark them removed, and dirty until their points are gone.

        Returns:
            How many chunks that were, and the documents that nobody may have been writing to when the removal began:
            theirs are gone for good once they are deleted.
        """
        dropped = await self._execute(
            """WITH gone AS (DELETE FROM chunks WHERE collection_id = :collection AND generation_id = ANY(:generations)
                             AND document_id = ANY(:ids) RETURNING 1) SELECT count(*) AS n FROM gone""",
            generations=list(generations),
            ids=list(ids),
        )
        marked = await self._execute(
            """WITH before AS (
                   SELECT id, points_dirty OR state = 'processing' AS touched FROM documents
                   WHERE id = ANY(:ids) AND state <> 'removed' FOR UPDATE
               )
               UPDATE documents d SET state = 'removed', chunk_count = 0, tokens = 0, content_hash = NULL,
                    points_dirty = true, error_code = NULL, error_message = NULL,
                    lane = NULL, stale_labels = NULL, change = 'removed', changed_by = :operation, updated_at = now()
               FROM before b WHERE d.id = b.id RETURNING d.id, b.touched""",
            ids=list(ids),
            operation=operation_id,
        )
        return int(dropped[0]["n"]), [row["id"] for row in marked if not row["touched"]]

    async def list_dirty(self, source_id: UUID, *, limit: int) -> list[UUID]:
        """Removed documents of the source that may have points again."""
        rows = await self._execute(
            "SELECT id FROM documents WHERE source_id = :source AND points_dirty AND state = 'removed' LIMIT :limit",
            source=source_id,
            limit=limit,
        )
        return [row["id"] for row in rows]

    async def mark_clean(self, ids: Sequence[UUID]) -> None:
        """The store holds no points of these documents."""
        await self._execute("UPDATE documents SET points_dirty = false WHERE id = ANY(:ids)", ids=list(ids))

    async def forget(self, source_id: UUID) -> int:
        """Delete the rows of documents that are removed and have no points any more; how many that were."""
        rows = await self._execute(
            f"""WITH gone AS (DELETE FROM documents WHERE id IN (
                    SELECT id FROM documents WHERE source_id = :source AND state = 'removed' AND NOT points_dirty
                    LIMIT {DOCUMENTS_AT_ONCE}) RETURNING 1) SELECT count(*) AS n FROM gone""",
            source=source_id,
        )
        return int(rows[0]["n"])

    async def forget_source(self, source_id: UUID) -> str | None:
        """Delete the row of a source that has no documents any more; its URL, or None if it was gone."""
        rows = await self._execute(
            "DELETE FROM sources WHERE collection_id = :collection AND id = :source RETURNING url", source=source_id
        )
        return rows[0]["url"] if rows else None

    async def list_foreign_lanes(self, operation_id: UUID) -> list[UUID]:
        """Other operations of the collection with lanes that may still be at work."""
        rows = await self._execute(
            """SELECT DISTINCT l.operation_id FROM lanes l JOIN operations o ON o.id = l.operation_id
               WHERE o.collection_id = :collection AND l.operation_id <> :operation AND l.lease_until > now()
                 AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = l.worker_id AND w.stopped_at IS NOT NULL)""",
            operation=operation_id,
        )
        return [row["operation_id"] for row in rows]

    async def list_rebuilds(self) -> list[UUID]:
        """Operations that build a generation beside the active one now, and are not known to be dead."""
        rows = await self._execute(
            """SELECT id FROM operations WHERE collection_id = :collection AND kind IN ('REINDEX', 'ROLLBACK')
               AND state = 'running' AND lease_until > now()"""
        )
        return [row["id"] for row in rows]

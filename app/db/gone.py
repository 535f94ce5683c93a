"""Documents that their source does not have any more and that are not removed."""

from uuid import UUID

from app.db.scans import ScanRepository
from app.db.shared_documents import IS_SHARED
from app.domain.documents import NEVER_SEEN_NS


class GoneRepository(ScanRepository):
    """What a finished scan has not seen; never commits."""

    async def list_shared(self, source_id: UUID, *, scan: UUID, limit: int) -> list[UUID]:
        """Some documents that are gone and that another source has too."""
        rows = await self._execute(
            f"""SELECT id FROM documents d WHERE source_id = :source AND state <> 'removed'
                AND seen_by IS DISTINCT FROM :scan AND {IS_SHARED} LIMIT :limit""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return [row["id"] for row in rows]

    async def list_unread(self, source_id: UUID, *, scan: UUID, limit: int) -> list[UUID]:
        """Some documents that were found once, never ingested, and are gone: nothing of them can be kept."""
        rows = await self._execute(
            """SELECT id FROM documents WHERE source_id = :source AND state IN ('pending', 'processing')
               AND content_hash IS NULL AND seen_by IS DISTINCT FROM :scan LIMIT :limit""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return [row["id"] for row in rows]

    async def settle_kept(self, source_id: UUID, *, scan: UUID) -> None:
        """What was about to be read again and is gone stays as it was read before."""
        await self._execute(
            f"""UPDATE documents SET state = 'completed', modified_ns = {NEVER_SEEN_NS}, etag = NULL, updated_at = now()
               WHERE source_id = :source AND state = 'pending' AND content_hash IS NOT NULL
                 AND seen_by IS DISTINCT FROM :scan""",
            source=source_id,
            scan=scan,
        )

    async def mark(self, source_id: UUID, *, scan: UUID, limit: int) -> int:
        """Note of some documents since when they are gone; how many of them that were."""
        rows = await self._execute(
            """UPDATE documents SET gone_since = now(), updated_at = now() WHERE id IN (
                   SELECT id FROM documents WHERE source_id = :source AND state <> 'removed' AND gone_since IS NULL
                     AND seen_by IS DISTINCT FROM :scan LIMIT :limit) RETURNING id""",
            source=source_id,
            scan=scan,
            limit=limit,
        )
        return len(rows)

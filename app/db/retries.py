"""Documents that are tried again without a scan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.documents import ManifestRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which documents are tried again.

    Attributes:
        ids: these, whatever they failed with and however often; None for all that failed and have attempts left.
        include_needs_ocr: pictures and scans too, where no ids are given.
        settled: error codes that stay what they are as long as the document does.
        scan_only: error codes that only a scan can take back; no choice overrules them.
    """

    ids: tuple[UUID, ...] | None
    include_needs_ocr: bool
    settled: Collection[str]
    scan_only: Collection[str]
    max_attempts: int


class RetryRepository(ManifestRows):
    """What one operation tries again in one collection, with its own id in place of a scan's; never commits."""

    async def find_missing(self, ids: Sequence[UUID]) -> UUID | None:
        """One of these documents that the collection does not have, if there is any."""
        rows = await self._execute(
            """SELECT given.id FROM unnest(:ids) AS given (id) WHERE NOT EXISTS (SELECT 1 FROM documents d
               WHERE d.id = given.id AND d.collection_id = :collection AND d.state <> 'removed') LIMIT 1""",
            ids=list(ids),
        )
        return rows[0]["id"] if rows else None

    async def take(self, choice: Choice, *, operation_id: UUID) -> None:
        """Make the chosen documents pending; those that the operation has taken before stay as it left them."""
        await self._execute(
            f"""UPDATE documents SET state = 'pending', seen_by = :operation, change = 'retried',
                    changed_by = :operation, error_code = NULL, error_message = NULL, updated_at = now(),
                    attempts = CASE WHEN :by_id THEN 0 ELSE attempts END
                WHERE collection_id = :collection AND state IN ('failed', 'needs_ocr')
                  AND changed_by IS DISTINCT FROM CAST(:operation AS uuid)
                  AND coalesce(error_code, '') <> ALL(CAST(:scan_only AS text[]))
                  AND {
                "id = ANY(:ids)"
                if choice.ids
                else '''(state = 'needs_ocr' AND :with_ocr OR state = 'failed'
                    AND attempts < :most AND coalesce(error_code, '') <> ALL(CAST(:settled AS text[])))'''
            }""",
            operation=operation_id,
            by_id=choice.ids is not None,
            scan_only=sorted(choice.scan_only),
            **(
                {"ids": list(choice.ids)}
                if choice.ids
                else {
                    "with_ocr": choice.include_needs_ocr,
                    "most": choice.max_attempts,
                    "settled": sorted(choice.settled),
                }
            ),
        )

    async def list_sources(self, operation_id: UUID) -> list[UUID]:
        """Sources with documents that the operation has still to try."""
        rows = await self._execute(
            """SELECT DISTINCT source_id FROM documents WHERE collection_id = :collection
               AND state IN ('pending', 'processing') AND seen_by = :operation ORDER BY source_id""",
            operation=operation_id,
        )
        return [row["source_id"] for row in rows]

    async def count(self, operation_id: UUID) -> dict[str, int]:
        """What the operation has taken, by state."""
        rows = await self._execute(
            """SELECT state, count(*) AS n FROM documents WHERE collection_id = :collection
               AND changed_by = :operation GROUP BY state""",
            operation=operation_id,
        )
        return {row["state"]: int(row["n"]) for row in rows}

    async def list_uris(
        self, source_id: UUID, *, operation_id: UUID, after: UUID | None, limit: int
    ) -> list[tuple[UUID, str]]:
        """The next documents of a source that the operation has still to try, in the order of their ids."""
        rows = await self._execute(
            """SELECT id, uri FROM documents WHERE source_id = :source AND state IN ('pending', 'processing')
               AND seen_by = :operation AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit""",
            source=source_id,
            operation=operation_id,
            after=after,
            limit=limit,
        )
        return [(row["id"], row["uri"]) for row in rows]

    async def refuse(self, ids: Sequence[UUID], *, code: str, message: str) -> None:
        """Have documents failed that may not be read."""
        await self._execute(
            """UPDATE documents SET state = 'failed', error_code = :code, error_message = :message,
                    updated_at = now() WHERE id = ANY(:ids)""",
            ids=list(ids),
            code=code,
            message=message,
        )

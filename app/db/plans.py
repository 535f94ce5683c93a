"""Reads what a dry run has to know of a collection; writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.documents import ManifestRows
from app.db.scans import JUDGED, SCAN_TYPES, scan_values
from app.db.shared_documents import IS_SHARED
from app.db.statements import parsed
from app.domain.documents import Document, DocumentState, ScannedDocument

_JUDGE = f"""{JUDGED}
SELECT id, position, new_state, change, old_change, old_hash, old_code,
       coalesce(old_source = :source AND old_state <> 'removed', false) AND NOT EXISTS (
           SELECT 1 FROM document_sources h WHERE h.document_id = decided.id AND h.source_id <> :source) AS was_here,
       old_state,
       coalesce(never_indexed AND old_state IN ('pending', 'processing'), false) AS is_blank
FROM decided ORDER BY position
"""

_RATES = """
SELECT o.collection_id = CAST(:collection AS uuid) AS is_own, o.result
FROM operations o JOIN collections c ON c.id = o.collection_id
WHERE o.user_id = :user AND o.state = 'completed' AND o.kind IN ('INDEX', 'APPEND') AND c.model = :model
  AND (o.result ->> 'tokens')::float8 >= :least
ORDER BY o.collection_id IS NOT DISTINCT FROM CAST(:collection AS uuid) DESC, o.created_at DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a document of the manifest is, as far as it matters once it is gone.

    Attributes:
        is_blank: found once and never ingested; its end is no removal.
    """

    state: str
    error_code: str | None
    is_blank: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the scan of an operation would make of a document.

    Attributes:
        document: as it would be claimed, if its ``state`` is pending.
        change: what the operation would note at it; ``is_ours`` says whether that is the operation's own finding.
        error_code: why it would stay as it is, if it failed before or cannot be read.
        before: what the source has in its place now, if anything.
    """

    document: Document
    change: str | None
    is_ours: bool
    error_code: str | None
    before: Standing | None


class PlanRepository(ManifestRows):
    """What an operation would find in one collection, which need not exist."""

    async def judge(
        self,
        source_id: UUID,
        scanned: Sequence[ScannedDocument],
        *,
        operation_id: UUID,
        first_position: int,
        max_attempts: int,
    ) -> list[Judged]:
        """The same judgement as ``ScanRepository.record_scan`` comes to, in the order of the scan."""
        values = {
            "source": source_id,
            "operation": operation_id,
            "max_attempts": max_attempts,
            **scan_values(self._collection, scanned, first_position=first_position),
        }
        rows = (await self._connection.execute(parsed(_JUDGE, **SCAN_TYPES), values)).mappings().all()
        judged = []
        for row, item in zip(rows, scanned, strict=True):
            document = Document(
                id=row["id"],
                collection_id=self._collection,
                source_id=source_id,
                uri=item.uri,
                path=item.path,
                locator=item.locator,
                size=item.size,
                modified_ns=item.modified_ns,
                state=DocumentState(row["new_state"]),
                content_hash=row["old_hash"],
                error_message=item.error_message,
                etag=item.etag,
            )
            before = Standing(state=row["old_state"], error_code=row["old_code"], is_blank=row["is_blank"])
            is_readable = item.error_code is None
            judged.append(
                Judged(
                    document=document,
                    change=(row["change"] or row["old_change"]) if is_readable else None,
                    is_ours=is_readable and row["change"] is not None,
                    error_code=item.error_code or row["old_code"],
                    before=before if row["was_here"] else None,
                )
            )
        return judged

    async def count_standing(self, source_id: UUID) -> dict[Standing, int]:
        """What the source alone has now, removed documents left out."""
        rows = await self._execute(
            f"""SELECT state, error_code, content_hash IS NULL AND state IN ('pending', 'processing') AS is_blank,
                      count(*) AS n
               FROM documents d WHERE source_id = :source AND state <> 'removed' AND NOT {IS_SHARED}
               GROUP BY 1, 2, 3""",
            source=source_id,
        )
        return {
            Standing(state=row["state"], error_code=row["error_code"], is_blank=row["is_blank"]): row["n"]
            for row in rows
        }


async def list_results(
    connection: AsyncConnection, user_id: UUID, *, collection_id: UUID | None, model: str, least_tokens: int, limit: int
) -> tuple[list[dict[str, object]], bool]:
    """Results of the newest operations that embedded something with a model, and whether they are the collection's.

    If the collection has none, they are those of the user's other collections.
    """
    values = {
        "collection": collection_id,
        "user": user_id,
        "model": model,
        "least": least_tokens,
        "limit": limit,
    }
    rows = (await connection.execute(text(_RATES), values)).mappings().all()
    own = [row["result"] for row in rows if row["is_own"]]
    return (own, True) if own else ([row["result"] for row in rows], False)

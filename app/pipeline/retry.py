"""Tries documents again that failed, without looking for others."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.db.retries import Choice, RetryRepository
from app.domain.documents import Source, SourceKind
from app.domain.errors import DomainError
from app.domain.identity import locator_of
from app.domain.ports import DocumentSource
from app.pipeline.context import IngestContext
from app.pipeline.ingest import ingest_source
from app.pipeline.scanning import Scanning

SCAN_ONLY = frozenset(
    {
        "archive_bomb",
        "archive_too_deep",
        "corrupt_archive",
        "duplicate_record",
        "invalid_record",
        "symlink_outside_source",
        "unreadable_gitignore",
    }
)
"""Said by a scan of what stands around a document: only another scan can take it back."""

SETTLED = SCAN_ONLY | {
    "corrupt_document",
    "document_too_large",
    "empty_document",
    "encrypted_document",
    "unsupported_format",
}
"""Codes of documents, not of errors with a class, that stay true as long as the document does."""

LOOKED_AT_ONCE = 1000
OUTSIDE = "symlink_outside_source"


def settled_codes() -> frozenset[str]:
    """Error codes with which trying again is in vain. What nobody knows is tried again."""
    codes = set(SETTLED)
    above: list[type[DomainError]] = [DomainError]
    while above:
        error = above.pop()
        above += error.__subclasses__()
        if not error.retryable:
            codes.add(error.code)
    return frozenset(codes)


def choose(config: dict[str, Any], *, max_attempts: int) -> Choice:
    """Which documents an operation with this config tries again."""
    return Choice(
        ids=tuple(UUID(document) for document in config["ids"]) if config.get("ids") else None,
        include_needs_ocr=bool(config.get("include_needs_ocr")),
        settled=settled_codes(),
        scan_only=SCAN_ONLY,
        max_attempts=max_attempts,
    )


async def retry_source(context: IngestContext, source: Source, adapter: DocumentSource) -> None:
    """Ingest what the operation has taken of one source.

    Raises:
        SourceNotFoundError: if nothing is there any more; what was taken is pending, and the next APPEND decides.
        SliceEndedError, SourceVanishedError: as ``ingest_source``.
    """
    operation_id = context.lease.operation_id
    await adapter.require_present()
    if source.kind is SourceKind.DIRECTORY:
        await _refuse_outsiders(context, source)
    await ingest_source(context, source.id, adapter, scanning=Scanning.past(operation_id))


async def _refuse_outsiders(context: IngestContext, source: Source) -> None:
    """No scan has looked at these just now, so what has become a link out of the source is found here."""
    root = locator_of(source.url).path
    after: UUID | None = None
    while True:
        async with context.database.begin() as connection:
            page = await RetryRepository(connection, context.collection.id).list_uris(
                source.id, operation_id=context.lease.operation_id, after=after, limit=LOOKED_AT_ONCE
            )
        if not page:
            return
        after = page[-1][0]
        outside = await asyncio.to_thread(find_outside, root, page)
        if outside:
            async with context.database.fenced(context.lease) as connection:
                retries = RetryRepository(connection, context.collection.id)
                await retries.refuse(outside, code=OUTSIDE, message="a link that leads out of the source")
            context.account.failed += len(outside)


def find_outside(root: str, documents: Sequence[tuple[UUID, str]]) -> list[UUID]:
    """Documents, as ids and URIs, whose bytes lie outside of the root now."""
    real_root = os.path.realpath(root)
    outside = []
    for document, uri in documents:
        real = os.path.realpath(locator_of(uri).path)
        if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
            outside.append(document)
    return outside

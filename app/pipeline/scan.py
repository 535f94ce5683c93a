"""Compares a source with the manifest: what is new, changed, unchanged, gone."""

import asyncio
import time
from collections import Counter
from contextlib import aclosing
from uuid import UUID

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.db.documents import DocumentRepository
from app.db.scans import ScanRepository
from app.db.shared_documents import SharedDocumentRepository
from app.domain.documents import ScannedDocument, Source
from app.domain.errors import MassDeletionGuardError
from app.domain.ports import DocumentSource
from app.pipeline.context import IngestContext
from app.pipeline.scanning import Scanning

GUARD_FROM_DOCUMENTS = 20
GUARD_SHARE = 0.5
LOST_AT_ONCE = 1000

Batch = list[ScannedDocument]


async def scan_source(
    context: IngestContext, source: Source, adapter: DocumentSource, scanning: Scanning
) -> Counter[str]:
    """Write the manifest of a source; while a batch is written, the next one is looked for.

    Returns:
        Its counts: found, new, changed, unchanged, gone, pending, errors, skipped, bytes. Documents that the scan has
        not seen are gone.
    """
    counts: Counter[str] = Counter()
    await context.report.send_update("scanning_documents", {"status": "started", "source": source.url, "found": 0})
    found, batches = anyio.create_memory_object_stream[Batch](0)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_look(adapter, found))
            tasks.create_task(_record(context, source, batches, scanning=scanning, counts=counts))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    counts["skipped"] = sum(adapter.skipped.values())
    async with context.database.begin() as connection:
        counts["gone"] = await ScanRepository(connection, context.collection.id).count_gone(source.id, scan=scanning.id)
    names = ("found", "new", "changed", "unchanged", "gone", "skipped", "errors", "bytes")
    await context.report.send_update("scanning_completed", {name: counts[name] for name in names})
    scanning.finish()
    return counts


async def _look(adapter: DocumentSource, out: MemoryObjectSendStream[Batch]) -> None:
    async with out, aclosing(adapter.scan()) as batches:
        async for batch in batches:
            await out.send(batch)


async def _record(
    context: IngestContext,
    source: Source,
    batches: MemoryObjectReceiveStream[Batch],
    *,
    scanning: Scanning,
    counts: Counter[str],
) -> None:
    started = time.monotonic()
    async with batches:
        async for batch in batches:
            async with context.database.fenced(context.lease) as connection:
                scans = ScanRepository(connection, context.collection.id)
                recorded = await scans.record_scan(
                    source.id,
                    batch,
                    scan=scanning.id,
                    operation_id=context.lease.operation_id,
                    first_position=counts["found"],
                    max_attempts=context.limits.document_max_attempts,
                )
            counts.update(recorded)
            context.account.take_scan(recorded)
            before, started = started, time.monotonic()
            context.account.add("discover", started - before, recorded["found"], size=recorded["bytes"])
            if recorded["pending"]:
                scanning.tell()
            for item in batch:
                if item.error_code is not None:
                    await context.report.send_update(
                        "document_failed",
                        {"uri": item.uri, "error_code": item.error_code, "error_message": item.error_message},
                    )
            await context.report.send_update(
                "scanning_documents", {"status": "running", "source": source.url, "found": counts["found"]}
            )


async def remove_gone(
    context: IngestContext, source: Source, *, scan: UUID, counts: Counter[str], confirmed: bool = False
) -> None:
    """Remove documents that a finished scan has not seen: chunks first, and dirty until their points are gone too.

    What another source has stays, and belongs to that from now on.

    Raises:
        MassDeletionGuardError: if most of a source of some size is gone and nobody has confirmed that; nothing is
            removed.
    """
    known = counts["found"] + counts["gone"]
    if not confirmed and known >= GUARD_FROM_DOCUMENTS and counts["gone"] > known * GUARD_SHARE:
        raise MassDeletionGuardError(counts["gone"], known, collection=context.collection.name)
    while True:
        async with context.database.begin() as connection:
            gone = await ScanRepository(connection, context.collection.id).list_gone(
                source.id, scan=scan, limit=context.limits.removal_batch_size
            )
        if not gone:
            break
        async with context.database.fenced(context.lease) as connection:
            shared = SharedDocumentRepository(connection, context.collection.id)
            passed = await shared.pass_on(gone, source_id=source.id)
            gone = [document for document in gone if document not in passed]
            await DocumentRepository(connection, context.collection.id).remove(
                gone, operation_id=context.lease.operation_id
            )
        context.require_lease()
        await context.store.delete_documents(context.generation.name, gone)
        async with context.database.fenced(context.lease) as connection:
            await DocumentRepository(connection, context.collection.id).mark_clean(gone)
    await let_go(context, source.id, scan=scan)


async def let_go(context: IngestContext, source_id: UUID, *, scan: UUID) -> None:
    """What belongs to other sources and is gone here is theirs alone from now on."""
    async with context.database.fenced(context.lease) as connection:
        shared = SharedDocumentRepository(connection, context.collection.id)
        while await shared.let_go(source_id, scan=scan, limit=LOST_AT_ONCE):
            pass

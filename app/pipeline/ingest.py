"""One lane of ingestion: claims documents and takes them through prepare, embed, store and commit at once."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.db.documents import DocumentRepository
from app.domain.documents import Document, FileVersion, PreparedDocument, PrepareRequest
from app.domain.errors import LaneBlindError, SliceEndedError
from app.domain.ports import DocumentSource
from app.pipeline.budget import ByteBudget
from app.pipeline.context import IngestContext, Limits
from app.pipeline.fetch import UNREADABLE, prepare_fetched
from app.pipeline.isolate import prepare_isolated
from app.pipeline.lanes import (
    close_lanes,
    count_all,
    look_after_lanes,
    look_for_sharers,
    offer_lanes,
    wait_for_earlier_lanes,
)
from app.pipeline.scanning import Scanning
from app.pipeline.write import delete_leftovers, write_group
from app.traces import stage_span

CLAIM_DOCUMENTS = 200
CLAIM_BYTES = 4 * 1024 * 1024
GROUP_DOCUMENTS = 100
GROUP_BYTES = 512 * 1024
"""Small enough that the model has something to do soon, and that all processes end together."""
FEW_DOCUMENTS = 2
"""A group of fewer costs more than is gained by preparing them side by side."""
WRITERS = 14
"""So many groups may wait for the model or the stores: in shared operations they are small."""
PROGRESS_SECONDS = 0.25
UNKNOWN_BYTES = 64 * 1024
"""What a document counts as whose source does not say how large it is."""

Group = list[Document]


async def ingest_source(
    context: IngestContext, source_id: UUID, adapter: DocumentSource, *, scanning: Scanning
) -> None:
    """Ingest all pending documents of a source that a scan has seen, or will see.

    Raises:
        SliceEndedError: if the slice was asked to yield; what was finished is committed, the rest is pending.
        SourceVanishedError: if the source itself disappeared; what it had and was not read is pending.
    """
    await scanning.wait_for_work()
    await wait_for_earlier_lanes(context)
    async with context.database.fenced(context.lease) as connection:
        await DocumentRepository(connection, context.collection.id).reset_processing(source_id)
    await look_for_sharers(context)
    ended = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_report_progress(context, scanning, until=ended))
            group.create_task(_offer_all(context, source_id, scanning))
            group.create_task(look_after_lanes(context, until=ended))
            work = group.create_task(_work_with_lanes(context, source_id, adapter, scanning))
            work.add_done_callback(lambda _: ended.set())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    await count_all(context)
    await context.report.send_update("ingest_progress", context.account.snapshot())
    await delete_leftovers(context, source_id)
    if context.should_yield() and await _has_pending(context, source_id, scanning.id):
        raise SliceEndedError("the slice ended before all documents were ingested")


async def _has_pending(context: IngestContext, source_id: UUID, scan: UUID) -> bool:
    async with context.database.begin() as connection:
        return await DocumentRepository(connection, context.collection.id).has_pending(source_id, scan=scan)


async def _offer_all(context: IngestContext, source_id: UUID, scanning: Scanning) -> None:
    """Let other workers share what is left when all is found; before, they might have nothing to take."""
    await scanning.wait_for_all()
    if not context.should_yield():
        await offer_lanes(context, source_id, scanning.id)
    scanning.close()


async def _report_progress(context: IngestContext, scanning: Scanning, *, until: asyncio.Event) -> None:
    while not until.is_set():
        snapshot = context.account.snapshot(is_scanning=not scanning.is_over)
        await context.report.send_update("ingest_progress", snapshot)
        with suppress(TimeoutError):
            async with asyncio.timeout(PROGRESS_SECONDS):
                await until.wait()


async def _work_with_lanes(
    context: IngestContext, source_id: UUID, adapter: DocumentSource, scanning: Scanning
) -> None:
    """Work until nothing is pending and no lane has anything in hand; what lanes give back is done here."""
    while True:
        await run_lane(context, source_id, adapter, scanning)
        if await close_lanes(context):
            continue
        # what the last lanes had in hand may have been given back at any moment until now
        if context.should_yield() or not await _has_pending(context, source_id, scanning.id):
            return


async def run_lane(context: IngestContext, source_id: UUID, adapter: DocumentSource, scanning: Scanning) -> None:
    """Take documents through all stages until none is pending and none can come, or the slice is to end.

    Raises:
        LaneBlindError: in another worker's lane, if it cannot read what the scan has seen.
    """
    budget = ByteBudget(context.limits.pipeline_max_bytes)
    preparers = context.processes.size + 1
    to_prepare, groups = anyio.create_memory_object_stream[Group](1)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_claim_documents(context, source_id, scanning, to_prepare))
            for _ in range(preparers + WRITERS):
                tasks.create_task(_carry_groups(context, adapter, budget, groups.clone()))
            groups.close()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _claim_documents(
    context: IngestContext, source_id: UUID, scanning: Scanning, out: MemoryObjectSendStream[Group]
) -> None:
    async with out:
        while not context.should_yield():
            await context.demand.wait()
            limit, least = context.demand.choose_claim(CLAIM_DOCUMENTS)
            is_last = scanning.look()
            async with context.database.fenced(context.lease) as connection:
                manifest = DocumentRepository(connection, context.collection.id)
                documents = await manifest.claim(
                    source_id,
                    scan=scanning.id,
                    limit=limit,
                    least=least,
                    max_bytes=CLAIM_BYTES,
                    lane=context.lease.lane,
                )
            if not documents and is_last:
                return
            if not documents:
                await scanning.wait_for_news()
            for group in group_documents(documents, processes=context.processes.size):
                context.demand.take()
                await out.send(group)


def group_documents(documents: Sequence[Document], *, processes: int = 1, most_bytes: int = GROUP_BYTES) -> list[Group]:
    """Cut claimed documents into groups that are prepared and committed together, few ones for all processes."""
    groups: list[Group] = []
    size = 0
    most = min(GROUP_DOCUMENTS, max(FEW_DOCUMENTS, -(-len(documents) // processes)))
    for document in documents:
        if not groups or len(groups[-1]) == most or size + size_of(document) > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(document)
        size += size_of(document)
    return groups


def size_of(document: Document) -> int:
    """Its bytes, or a guess where its source names versions but no sizes."""
    return UNKNOWN_BYTES if document.size == 0 and document.etag is not None else document.size


async def _carry_groups(
    context: IngestContext, adapter: DocumentSource, budget: ByteBudget, groups: MemoryObjectReceiveStream[Group]
) -> None:
    """Take one group after the other through all stages; several carriers overlap them."""
    async with groups:
        async for group in groups:
            if context.should_yield():
                context.demand.drop()
                await _unclaim(context, group)
                continue
            async with budget.hold(sum(size_of(document) for document in group)):
                with stage_span("prepare", documents=len(group)):
                    prepared = await _prepare(context, adapter, group)
                context.demand.drop()
                if any(document.error_code in UNREADABLE for document in prepared):
                    if adapter.is_local and context.lease.lane is not None:
                        raise LaneBlindError("this worker cannot read what the scan has seen")
                    await adapter.require_present()
                texts = sum(len(document.chunks) for document in prepared)
                with context.demand.holding(texts, documents=len(group)) as held:
                    await write_group(context, group, prepared, held)


async def _unclaim(context: IngestContext, group: Group) -> None:
    """Give documents back that nobody has begun with: a slice that is to end takes up nothing new."""
    async with context.database.fenced(context.lease) as connection:
        manifest = DocumentRepository(connection, context.collection.id)
        await manifest.unclaim([document.id for document in group])


def make_requests(group: Sequence[Document], limits: Limits, *, model: str) -> list[PrepareRequest]:
    """What child processes are asked about documents that are embedded with a model."""
    return [
        PrepareRequest(
            document_id=document.id,
            uri=document.uri,
            path=document.path,
            locator=document.locator,
            known_hash=document.content_hash,
            max_bytes=limits.document_max_bytes,
            seen_version=_seen_version(document),
            ocr=limits.ocr,
            tokenizer=limits.tokenizers.get(model),
        )
        for document in group
    ]


def _seen_version(document: Document) -> FileVersion | None:
    """What the last scan saw of a file or a member; None of what the next one knows by its content, or by an etag."""
    place = document.locator
    is_record = place.offset is not None and not place.members
    if is_record or not document.uri.startswith("file:"):
        return None
    return FileVersion(size=document.size, modified_ns=document.modified_ns)


async def _prepare(context: IngestContext, adapter: DocumentSource, group: Group) -> list[PreparedDocument]:
    async def prepare(documents: Sequence[Document]) -> list[PreparedDocument]:
        return await prepare_isolated(
            context.processes,
            make_requests(documents, context.limits, model=context.generation.model),
            context.generation.chunking,
            timeout_seconds=context.limits.document_timeout_seconds,
        )

    def note_seconds(seconds: float) -> None:
        # its documents are counted when they are read here
        context.account.add("read", seconds, 0)

    with context.account.queued("read", len(group)):
        prepared = await prepare_fetched(
            adapter, group, spool=context.limits.spool, prepare=prepare, note_seconds=note_seconds
        )
    sizes = {document.id: document.size for document in group}
    for document in prepared:
        for stage, seconds in document.seconds.items():
            tokens = sum(chunk.tokens for chunk in document.chunks) if stage == "chunk" else 0
            context.account.add(stage, seconds, 1, size=sizes[document.document_id], tokens=tokens)
    return prepared

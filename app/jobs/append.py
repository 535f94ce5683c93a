"""APPEND: bring one source up to date."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.scans import ScanRepository
from app.db.sources import SourceRepository
from app.db.syncs import SyncRepository
from app.db.totals import TotalsRepository
from app.domain.collections import Collection, Generation
from app.domain.documents import Source
from app.domain.operations import Operation
from app.domain.ports import DocumentSource, Embedder
from app.domain.syncs import FULL, AppendChoice
from app.jobs.context import JobContext, Resources
from app.jobs.generation import make_ready, open_generation
from app.pipeline.account import Account
from app.pipeline.cache import EmbeddingCache
from app.pipeline.context import IngestContext
from app.pipeline.demand import ROUNDS, Demand
from app.pipeline.fair_queue import Customer
from app.pipeline.gone import settle_gone
from app.pipeline.ingest import ingest_source
from app.pipeline.labels import refresh_labels
from app.pipeline.scan import scan_source
from app.pipeline.scanning import Scanning
from app.pipeline.shared import SharedVectors
from app.traces import stage_span

SHARED_BYTES = 4 * 1024 * 1024
"""What an operation keeps of its newest vectors, in case a text comes again before the manifest knows it."""


async def append_source(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Scan the source, ingest what changed, settle what is gone; into a first generation if INDEX never made one."""
    async with context.resources.database.begin() as connection:
        collection = await CollectionRepository(connection).get(operation.user_id, operation.require_collection())
        source = await SourceRepository(connection).get(collection.id, UUID(operation.config["source_id"]))
    generation = await open_generation(context, collection)
    choice = AppendChoice.of(operation.config)
    result = await bring_up_to_date(context, collection, generation, [source], choice)
    await context.report.send_update("append_completed", {**result, "failed": result["documents_failed"]})
    return result


def open_ingest(context: JobContext, collection: Collection, generation: Generation) -> IngestContext:
    """What the stages of one operation share, with its accounts at zero."""
    resources = context.resources
    slots, requests = resources.processes.size, resources.limits.embedding_concurrency
    account = Account(
        lanes={"read": slots, "extract": slots, "chunk": slots, "embed": requests, "store": 4},
        is_lane=context.lease.lane is not None,
    )
    embedder = context.find_embedder(generation.model)
    customer = Customer(
        user=collection.user_id,
        operation=context.lease.operation_id,
        go_on=context.require_lease,
        on_wait=context.tell_why_waiting,
        busy=account.embedding,
    )
    return IngestContext(
        database=resources.database,
        store=resources.store,
        embedder=embedder,
        processes=resources.processes,
        lease=context.lease,
        collection=collection,
        generation=generation,
        report=context.report,
        limits=resources.limits,
        line=resources.lines.find(generation.model),
        customer=customer,
        cache=open_cache(resources, embedder, fingerprint=generation.fingerprint, dimension=generation.dimension),
        should_yield=context.should_yield,
        note_progress=context.note_progress,
        require_lease=context.require_lease,
        account=account,
        shared=SharedVectors(max_bytes=SHARED_BYTES),
        poke=resources.poke,
        signals=resources.signals,
        demand=Demand(
            groups=slots + 1,
            texts=ROUNDS * requests * resources.limits.embedding_batch_size,
            is_shared=context.lease.lane is not None,
        ),
        may_write=asyncio.Event(),
    )


def open_cache(resources: Resources, embedder: Embedder, *, fingerprint: str, dimension: int) -> EmbeddingCache | None:
    """The cache of a model's vectors, or None if there is none or the model costs less than a look-up."""
    if embedder.cache_prefix is None or resources.embedding_cache_bytes == 0:
        return None
    return EmbeddingCache(
        resources.database, fingerprint=fingerprint, prefix=embedder.cache_prefix, dimension=dimension
    )


async def bring_up_to_date(
    context: JobContext,
    collection: Collection,
    generation: Generation,
    sources: Sequence[Source],
    choice: AppendChoice = FULL,
) -> dict[str, Any]:
    """Ingest sources one after the other into a generation and sum up what all attempts at the operation have done.

    Documents are scanned and prepared while the model is asked whether it is the generation's; they are embedded and
    written only then.
    """
    ingest = open_ingest(context, collection, generation)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_allow_writing(context, ingest))
            work = tasks.create_task(_ingest_sources(context, ingest, sources, choice))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return work.result()


async def _allow_writing(context: JobContext, ingest: IngestContext) -> None:
    await make_ready(context, ingest.generation, ingest.embedder)
    ingest.may_write.set()


async def _ingest_sources(
    context: JobContext, ingest: IngestContext, sources: Sequence[Source], choice: AppendChoice
) -> dict[str, Any]:
    account = ingest.account
    await _carry_on(ingest, sources)
    scans: list[UUID] = []
    skipped, kept = 0, 0
    for source in sources:
        async with context.resources.open_source(source) as adapter:
            scan, found = await _bring_source_up_to_date(ingest, source, adapter, choice)
        scans.append(scan)
        skipped += found["skipped"]
        kept += found["kept"]
    return describe(account, await _summarise(ingest, sources, scans), skipped=skipped, kept=kept)


def describe(account: Account, totals: Mapping[str, int], *, skipped: int, kept: int = 0) -> dict[str, Any]:
    """The result of an operation that ingests; ``totals`` are as ``ScanRepository.summarise`` gives them."""
    return {
        "documents_added": totals["added"],
        "documents_changed": totals["changed"],
        "documents_removed": totals["removed"],
        "documents_kept": kept,
        "unchanged": totals["unchanged"],
        "documents_failed": totals["failed"],
        "needs_ocr": totals["needs_ocr"],
        "skipped": skipped,
        "documents": totals["completed"],
        "chunks": account.amount("chunks"),
        "tokens": account.amount("tokens"),
        "reused_chunks": account.amount("reused"),
        "cache": account.cache_summary(),
        "seconds": round(time.monotonic() - account.started, 3),
        "embedder_busy_ratio": round(account.embedder_busy_ratio(), 3),
        "limiting_stage": account.limiting_stage(),
        "stages": account.stage_table(),
        "workers": 1 + account.most_sharers,
    }


async def _carry_on(context: IngestContext, sources: Sequence[Source]) -> None:
    """Count what earlier attempts at the operation have done."""
    operation_id = context.lease.operation_id
    async with context.database.begin() as connection:
        context.account.carry_on(await TotalsRepository(connection, operation_id).load())
        scans = ScanRepository(connection, context.collection.id)
        settled = await scans.count_settled([source.id for source in sources], operation_id=operation_id)
        context.account.carry_documents(settled)


async def _bring_source_up_to_date(
    context: IngestContext, source: Source, adapter: DocumentSource, choice: AppendChoice
) -> tuple[UUID, Counter[str]]:
    scanning = Scanning()
    try:
        async with asyncio.TaskGroup() as tasks:
            look = tasks.create_task(_scan(context, source, adapter, scanning))
            if not adapter.can_fetch_while_scanning:
                await look
            tasks.create_task(ingest_source(context, source.id, adapter, scanning=scanning))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    scan, found = scanning.id, look.result()
    await context.may_write.wait()
    if not adapter.unseen:
        # only a scan that saw everything may say what is gone
        await settle_gone(context, source, choice, scan=scan, counts=found)
    await refresh_labels(context.database, context.store, context.lease, context.collection.id)
    async with context.database.fenced(context.lease) as connection:
        scans = ScanRepository(connection, context.collection.id)
        result = await scans.summarise([source.id], operation_id=context.lease.operation_id, scans=[scan])
        await SourceRepository(connection).record_run(source.id, {**result, "skipped": found["skipped"]})
        await SyncRepository(connection).forgive(source.id)
    return scan, found


async def _scan(context: IngestContext, source: Source, adapter: DocumentSource, scanning: Scanning) -> Counter[str]:
    with stage_span("scan", source_id=str(source.id)):
        return await scan_source(context, source, adapter, scanning)


async def _summarise(context: IngestContext, sources: Sequence[Source], scans: Sequence[UUID]) -> dict[str, int]:
    async with context.database.begin() as connection:
        return await ScanRepository(connection, context.collection.id).summarise(
            [source.id for source in sources], operation_id=context.lease.operation_id, scans=scans
        )

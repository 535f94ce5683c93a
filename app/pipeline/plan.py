"""A dry run: reads and chunks what an operation would read and chunk, and counts instead of storing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.db.database import Database
from app.db.documents import ChunkRow, DocumentRepository
from app.db.plans import Judged, PlanRepository, Standing
from app.domain.documents import (
    Chunking,
    Document,
    DocumentState,
    PreparedDocument,
    ScannedDocument,
    Source,
)
from app.domain.errors import SliceEndedError
from app.domain.identity import text_hash
from app.domain.ports import DocumentSource, Processes, Reporter
from app.domain.syncs import FULL
from app.pipeline.budget import ByteBudget
from app.pipeline.cache import EmbeddingCache
from app.pipeline.context import IngestContext, Limits
from app.pipeline.copies import load_copies
from app.pipeline.distinct import DistinctTexts
from app.pipeline.fetch import UNREADABLE, prepare_fetched
from app.pipeline.gone import removes_gone
from app.pipeline.ingest import (
    CLAIM_BYTES,
    CLAIM_DOCUMENTS,
    PROGRESS_SECONDS,
    Group,
    group_documents,
    make_requests,
    size_of,
)
from app.pipeline.isolate import prepare_isolated
from app.pipeline.tally import Tally
from app.pipeline.write import diff_chunks

CARRIERS_BESIDE = 2
"""Groups that are compared and counted while all processes prepare others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanContext:
    """What a dry run needs.

    Attributes:
        source: its ``id`` and ``collection_id`` are made up if the collection, or the source in it, does not exist.
        ingest: what the real operation would use, for what the collection holds; None while it holds nothing.
        cache: where the real operation would look vectors up, if anywhere.
    """

    database: Database
    processes: Processes
    limits: Limits
    report: Reporter
    operation_id: UUID
    source: Source
    model: str
    chunking: Chunking
    ingest: IngestContext | None
    cache: EmbeddingCache | None
    should_yield: Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Some texts that have to be embedded, no more than one request takes."""

    texts: list[str]
    tokens: list[int]

    def offer(self, chunk: ChunkRow, *, limits: Limits) -> None:
        """Take a chunk if it fits."""
        fits = sum(self.tokens) + chunk.tokens <= limits.embedding_batch_tokens
        if not self.texts or (fits and len(self.texts) < limits.embedding_batch_size):
            self.texts.append(chunk.embedded)
            self.tokens.append(chunk.tokens)


class Plan:
    """One dry run over one source; nothing it finds is kept but counts, hashes of texts and a sample of them."""

    def __init__(self, context: PlanContext, adapter: DocumentSource) -> None:
        self.tally = Tally()
        self.sample = Sample(texts=[], tokens=[])
        self._context = context
        self._adapter = adapter
        self._changes: dict[UUID, str | None] = {}
        self._seen: Counter[Standing] = Counter()
        self._last_file: str | None = None

    async def run(self) -> None:
        """Scan the source and prepare what the operation would; the figures are in ``tally`` then.

        Raises:
            SliceEndedError: if it was asked to stop; it begins anew.
            SourceNotFoundError, SourceVanishedError: as the real operation would.
        """
        ended = asyncio.Event()
        with DistinctTexts() as distinct:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._report_progress(until=ended))
                    lane = tasks.create_task(self._run_lane(distinct))
                    lane.add_done_callback(lambda _: ended.set())
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures
        await self._context.report.send_update("plan_progress", self.tally.progress())

    async def _report_progress(self, *, until: asyncio.Event) -> None:
        while not until.is_set():
            await self._context.report.send_update("plan_progress", self.tally.progress())
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await until.wait()

    async def _run_lane(self, distinct: DistinctTexts) -> None:
        preparers = self._context.processes.size + 1
        budget = ByteBudget(self._context.limits.pipeline_max_bytes)
        to_prepare, groups = anyio.create_memory_object_stream[Group](preparers)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._scan(to_prepare))
                for _ in range(preparers + CARRIERS_BESIDE):
                    tasks.create_task(self._carry_groups(budget, groups.clone(), distinct))
                groups.close()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    # --- scan -----------------------------------------------------------------------------------

    async def _scan(self, out: MemoryObjectSendStream[Group]) -> None:
        """Send what has to be read, in the groups that the real operation would make of it."""
        waiting: list[Document] = []
        async with out:
            async for documents in self._judge_all():
                waiting += documents
                while len(waiting) >= CLAIM_DOCUMENTS:
                    await _send_claim(waiting, out)
            while waiting:
                await _send_claim(waiting, out)
        self.tally.skipped = sum(self._adapter.skipped.values())
        async with self._context.database.begin() as connection:
            source = self._context.source
            standing = Counter(await PlanRepository(connection, source.collection_id).count_standing(source.id))
        # only a scan that saw everything may say what is gone
        removes = not self._adapter.unseen and removes_gone(source, FULL)
        ingest = self._context.ingest
        name = "" if ingest is None else ingest.collection.name
        self.tally.settle_gone(standing - self._seen, removes=removes, collection=name)

    async def _judge_all(self) -> AsyncIterator[list[Document]]:
        """Documents that have to be read; the others are counted."""
        context, source = self._context, self._context.source
        where = {"source": source.url}
        await context.report.send_update("scanning_documents", {"status": "started", **where, "found": 0})
        async for batch in self._adapter.scan():
            async with context.database.begin() as connection:
                judged = await PlanRepository(connection, source.collection_id).judge(
                    source.id,
                    batch,
                    operation_id=context.operation_id,
                    first_position=self.tally.found,
                    max_attempts=context.limits.document_max_attempts,
                )
            yield [one.document for item, one in zip(batch, judged, strict=True) if self._has_to_be_read(item, one)]
            for item in batch:
                if item.error_code is not None:
                    await self._tell_failure(item.uri, item.error_code, item.error_message)
            found = {"status": "running", **where, "found": self.tally.found}
            await context.report.send_update("scanning_documents", found)

    def _has_to_be_read(self, item: ScannedDocument, judged: Judged) -> bool:
        tally, document = self.tally, judged.document
        tally.found += 1
        tally.size += item.size
        # records of one file come one after the other
        tally.files += item.locator.path != self._last_file
        self._last_file = item.locator.path
        if judged.before is not None:
            self._seen[judged.before] += 1
        if document.state is not DocumentState.PENDING:
            state = document.state.value
            tally.settle(state, change=judged.change, is_ours=judged.is_ours, error_code=judged.error_code)
            return False
        tally.total += 1
        self._changes[document.id] = judged.change
        return True

    async def _tell_failure(self, uri: str, code: str, message: str | None) -> None:
        failure = {"uri": uri, "error_code": code, "error_message": message}
        await self._context.report.send_update("document_failed", failure)

    # --- read, compare, count -------------------------------------------------------------------

    async def _carry_groups(
        self, budget: ByteBudget, groups: MemoryObjectReceiveStream[Group], distinct: DistinctTexts
    ) -> None:
        async with groups:
            async for group in groups:
                if self._context.should_yield():
                    raise SliceEndedError("a dry run was asked to stop; it keeps nothing and begins anew")
                async with budget.hold(sum(size_of(document) for document in group)):
                    prepared = await self._prepare(group)
                    if any(document.error_code in UNREADABLE for document in prepared):
                        await self._adapter.require_present()
                    await self._count_chunks(prepared, distinct)
                self._settle(prepared)
                uris = {document.id: document.uri for document in group}
                for item in prepared:
                    if item.error_code is not None:
                        await self._tell_failure(uris[item.document_id], item.error_code, item.error_message)

    async def _prepare(self, group: Group) -> list[PreparedDocument]:
        context, limits = self._context, self._context.limits

        async def prepare(documents: Sequence[Document]) -> list[PreparedDocument]:
            requests = make_requests(documents, limits, model=context.model)
            return await prepare_isolated(
                context.processes, requests, context.chunking, timeout_seconds=limits.document_timeout_seconds
            )

        return await prepare_fetched(
            self._adapter, group, spool=limits.spool, prepare=prepare, note_seconds=lambda _: None
        )

    async def _count_chunks(self, prepared: Sequence[PreparedDocument], distinct: DistinctTexts) -> None:
        """Count the chunks of fresh documents, and by where their vectors come from; see ``write_group``."""
        fresh = [item for item in prepared if not item.unchanged and item.error_code is None]
        tally, ingest, present = self.tally, self._context.ingest, {}
        if ingest is not None:
            async with ingest.database.begin() as connection:
                manifest = DocumentRepository(connection, ingest.collection.id)
                present = await manifest.chunk_ids(ingest.generation.id, [item.document_id for item in fresh])
        changes = diff_chunks(fresh, present)
        copies = await load_copies(ingest, fresh) if ingest is not None and changes.added else {}
        keys = [text_hash(chunk.embedded) for chunk in changes.added]
        unknown = [chunk for chunk, key in zip(changes.added, keys, strict=True) if key not in copies]
        cached = await find_cached(self._context, unknown)
        left = [number for number, key in enumerate(keys) if key not in copies and key not in cached]
        is_new = await distinct.add([keys[number] for number in left])
        new = [changes.added[number] for number, is_first in zip(left, is_new, strict=True) if is_first]
        tally.chunks += len(changes.added) + len(changes.moved)
        tally.points += len(changes.added)
        tally.tokens += sum(chunk.tokens for chunk in new)
        tally.reuse["in_place"] += len(changes.moved)
        tally.reuse["copies"] += sum(key in copies for key in keys)
        tally.reuse["cache"] += sum(key not in copies and key in cached for key in keys)
        tally.reuse["same_run"] += len(left) - len(new)
        for chunk in new:
            self.sample.offer(chunk, limits=self._context.limits)

    def _settle(self, prepared: Sequence[PreparedDocument]) -> None:
        """Count documents that were read; see ``DocumentRepository.complete``, ``complete_unchanged`` and ``fail``."""
        for item in prepared:
            change, state = self._changes.pop(item.document_id), "completed"
            if item.error_code is not None:
                state = "needs_ocr" if item.error_code == "needs_ocr" else "failed"
            elif item.unchanged and change != "added":
                change = "touched"
            self.tally.settle(state, change=change, is_ours=True, error_code=item.error_code)
            self.tally.done += 1


async def _send_claim(waiting: list[Document], out: MemoryObjectSendStream[Group]) -> None:
    """Send what the real operation would claim next; see ``DocumentRepository.claim``."""
    number = size = 0
    while number < min(CLAIM_DOCUMENTS, len(waiting)) and size < CLAIM_BYTES:
        size += waiting[number].size
        number += 1
    for group in group_documents(waiting[:number]):
        await out.send(group)
    del waiting[:number]


async def find_cached(context: PlanContext, chunks: Sequence[ChunkRow]) -> set[bytes]:
    """Which of some chunks, by ``text_hash``, have vectors in the cache that the real operation would use."""
    if context.cache is None or not chunks:
        return set()
    found = await context.cache.find([chunk.embedded for chunk in chunks])
    return {text_hash(chunks[index].embedded) for index in found}

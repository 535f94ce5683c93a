"""A dry run of a rebuild: reads and cuts what it would read and cut, and counts instead of storing."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.rebuilds import RebuildRepository
from app.domain.documents import PreparedDocument
from app.domain.errors import SliceEndedError
from app.domain.identity import text_hash
from app.domain.rebuilds import Level
from app.pipeline.budget import ByteBudget
from app.pipeline.distinct import DistinctTexts
from app.pipeline.ingest import CLAIM_DOCUMENTS, PROGRESS_SECONDS, size_of
from app.pipeline.plan import CARRIERS_BESIDE, Sample
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.read import Rebuilt, Sources, opening_sources, read_group
from app.pipeline.rebuild.rounds import Group, group_claimed
from app.pipeline.rebuild.vectors import find_known
from app.pipeline.write import diff_chunks

POINT_BYTES = 400
"""Of a point beside its vector: links of the index, payload, postings."""
ROW_BYTES = 200
"""Of a chunk beside its text: ids, places, headings, entries of the indexes."""
FLOAT_BYTES = 4
_BEFORE_ALL = UUID(int=0)


@dataclass(slots=True, kw_only=True)
class RebuildTally:
    """The figures of a dry run.

    Attributes:
        documents, done: documents with content, and those that were looked at.
        embedding: documents with at least one text whose vector has to be made.
        tokens: of those texts.
        reuse: chunks whose vectors exist, by where.
        text_bytes: of all chunks.
        outdated: documents whose source has another version by now.
        problems: documents that cannot be built as it was asked for, by error code.
    """

    documents: int = 0
    done: int = 0
    embedding: int = 0
    chunks: int = 0
    tokens: int = 0
    text_bytes: int = 0
    outdated: int = 0
    reuse: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    def progress(self) -> dict[str, Any]:
        """The data of a ``plan_progress`` event."""
        documents = {"total": self.documents, "done": self.done, "found": self.documents}
        return {"documents": documents, "chunks": self.chunks, "tokens": self.tokens}

    def result(self, *, level: Level, dimension: int) -> dict[str, Any]:
        """What a rebuild would do and take; ``disk_bytes`` beside what is there, until the old one is dropped."""
        reuse = {name: self.reuse[name] for name in ("copies", "same_run", "cache")}
        reused = sum(reuse.values())
        per_point = dimension * FLOAT_BYTES + POINT_BYTES + ROW_BYTES
        return {
            "documents": self.documents,
            "documents_to_extract": self.documents if level is Level.SOURCE else 0,
            "documents_to_chunk": self.documents if level in (Level.TEXT, Level.SOURCE) else 0,
            "documents_to_embed": self.embedding,
            "documents_failed": sum(self.problems.values()),
            "documents_outdated": self.outdated,
            "failed_by_code": dict(sorted(self.problems.items())),
            "chunks": self.chunks,
            "tokens": self.tokens,
            "reused_chunks": reused,
            "reused_share": round(reused / self.chunks, 4) if self.chunks else 1.0,
            "reuse": reuse,
            "disk_bytes": self.chunks * per_point + self.text_bytes,
        }


class RebuildPlan:
    """One dry run; nothing it finds is kept but counts, hashes of texts and a sample of them."""

    def __init__(self, context: RebuildContext) -> None:
        self.tally = RebuildTally()
        self.sample = Sample(texts=[], tokens=[])
        self._context = context

    async def run(self) -> None:
        """Prepare what the rebuild would; the figures are in ``tally`` then.

        Raises:
            SliceEndedError: if it was asked to stop; it begins anew.
        """
        ingest, ended = self._context.ingest, asyncio.Event()
        async with ingest.database.begin() as connection:
            self.tally.documents = await self._rebuilds(connection).count_documents()
        with DistinctTexts() as distinct:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._report_progress(until=ended))
                    work = tasks.create_task(self._carry_all(distinct))
                    work.add_done_callback(lambda _: ended.set())
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures
        await ingest.report.send_update("plan_progress", self.tally.progress())

    def _rebuilds(self, connection: AsyncConnection) -> RebuildRepository:
        return RebuildRepository(connection, self._context.ingest.collection.id, self._context.old.id)

    async def _report_progress(self, *, until: asyncio.Event) -> None:
        while not until.is_set():
            await self._context.ingest.report.send_update("plan_progress", self.tally.progress())
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await until.wait()

    async def _carry_all(self, distinct: DistinctTexts) -> None:
        ingest = self._context.ingest
        budget = ByteBudget(ingest.limits.pipeline_max_bytes)
        to_carry, groups = anyio.create_memory_object_stream[Group](1)
        async with opening_sources(self._context) as sources:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._list(to_carry))
                    for _ in range(ingest.processes.size + 1 + CARRIERS_BESIDE):
                        tasks.create_task(self._carry(budget, groups.clone(), sources, distinct))
                    groups.close()
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures

    async def _list(self, out: MemoryObjectSendStream[Group]) -> None:
        ingest, after = self._context.ingest, _BEFORE_ALL
        async with out:
            while True:
                async with ingest.database.begin() as connection:
                    page = await self._rebuilds(connection).list_page(after=after, limit=CLAIM_DOCUMENTS)
                for group in group_claimed(page, processes=ingest.processes.size):
                    await out.send(group)
                if len(page) < CLAIM_DOCUMENTS:
                    return
                after = page[-1].document.id

    async def _carry(
        self,
        budget: ByteBudget,
        groups: MemoryObjectReceiveStream[Group],
        sources: Sources,
        distinct: DistinctTexts,
    ) -> None:
        async with groups:
            async for group in groups:
                if self._context.ingest.should_yield():
                    raise SliceEndedError("a dry run was asked to stop; it keeps nothing and begins anew")
                async with budget.hold(sum(size_of(claimed.document) for claimed in group)):
                    await self._count(await read_group(self._context, group, sources), distinct)

    async def _count(self, rebuilt: list[Rebuilt], distinct: DistinctTexts) -> None:
        """Count chunks by where their vectors come from; see ``write_group``."""
        tally, ingest = self.tally, self._context.ingest
        chunks = diff_chunks(
            [PreparedDocument(document_id=one.document_id, chunks=one.chunks) for one in rebuilt], {}
        ).added
        known = await find_known(self._context, chunks)
        keys = [text_hash(chunk.embedded) for chunk in chunks]
        unknown = [chunk for chunk, key in zip(chunks, keys, strict=True) if key not in known]
        found = await ingest.cache.find([chunk.embedded for chunk in unknown]) if ingest.cache and unknown else {}
        cached = {text_hash(unknown[number].embedded) for number in found}
        left = [number for number, key in enumerate(keys) if key not in known and key not in cached]
        is_new = await distinct.add([keys[number] for number in left])
        new = [chunks[number] for number, is_first in zip(left, is_new, strict=True) if is_first]
        tally.done += len(rebuilt)
        tally.chunks += len(chunks)
        tally.text_bytes += sum(len(chunk.text.encode()) for chunk in chunks)
        tally.tokens += sum(chunk.tokens for chunk in new)
        tally.embedding += len({chunk.document_id for chunk in new})
        tally.reuse["copies"] += sum(key in known for key in keys)
        tally.reuse["cache"] += sum(key not in known and key in cached for key in keys)
        tally.reuse["same_run"] += len(left) - len(new)
        for one in rebuilt:
            tally.outdated += one.is_outdated
            if one.error_code is not None:
                tally.problems[one.error_code] += 1
        for chunk in new:
            self.sample.offer(chunk, limits=ingest.limits)

"""Brings a generation up to date with its collection, one round after the other, until nothing is left to do."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.documents import DocumentRepository
from app.db.rebuilds import Claimed, RebuildRepository
from app.domain.errors import GenerationMissingError, SliceEndedError
from app.pipeline.budget import ByteBudget
from app.pipeline.ingest import (
    CLAIM_DOCUMENTS,
    GROUP_BYTES,
    PROGRESS_SECONDS,
    WRITERS,
    group_documents,
    size_of,
)
from app.pipeline.lanes import (
    close_lanes,
    count_all,
    look_after_lanes,
    look_for_sharers,
    offer_generation,
    wait_for_earlier_lanes,
)
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.read import Sources, opening_sources, read_group
from app.pipeline.rebuild.write import write_group
from app.traces import stage_span

SMALL_BYTES = 64 * 1024
"""Of a group while people search: they wait for a piece of work at most, and a large one takes half a second."""

Group = list[Claimed]


class Rounds:
    """The rounds of one attempt. Nothing of them is lost with it: what is held stays held."""

    def __init__(self, context: RebuildContext) -> None:
        self._context = context
        self._number = 0

    async def begin(self) -> None:
        """Give back what an earlier attempt had in hand, and count what it has done."""
        ingest = self._context.ingest
        await wait_for_earlier_lanes(ingest)
        async with ingest.database.fenced(ingest.lease) as connection:
            rebuilds = self._rebuilds(connection)
            await rebuilds.reset_claimed()
            progress = await rebuilds.count()
        ingest.account.done = ingest.account.total = progress.held

    async def run(self) -> int:
        """One round: take out what is gone, bring in what is new or another; how many documents that were.

        Raises:
            SliceEndedError: if the slice was asked to yield; what was finished is kept.
        """
        self._number += 1
        gone = await self._sweep()
        ingest = self._context.ingest
        async with ingest.database.fenced(ingest.lease) as connection:
            pending = await self._rebuilds(connection).seed()
        ingest.account.total = ingest.account.settled + pending
        if pending:
            await look_for_sharers(ingest)
            await offer_generation(ingest, pending=pending)
            await self._work()
        await self._clean()
        return gone + pending

    def _rebuilds(self, connection: AsyncConnection) -> RebuildRepository:
        return rebuilds_of(self._context, connection)

    async def _sweep(self) -> int:
        """Removals win: whatever was brought in of a document that is gone goes, points first."""
        ingest, swept = self._context.ingest, 0
        while True:
            self._stop_if_asked()
            async with ingest.database.begin() as connection:
                gone = await self._rebuilds(connection).list_gone(limit=ingest.limits.removal_batch_size)
            if not gone:
                return swept
            await ingest.may_write.wait()
            ingest.require_lease()
            with suppress(GenerationMissingError):
                await ingest.store.delete_documents(self._context.generation.name, gone)
            async with ingest.database.fenced(ingest.lease) as connection:
                await self._rebuilds(connection).forget(gone)
            ingest.note_progress()
            swept += len(gone)

    async def _clean(self) -> None:
        """Delete points that the generation's manifest does not know."""
        ingest = self._context.ingest
        while True:
            async with ingest.database.begin() as connection:
                dirty = await self._rebuilds(connection).list_dirty(limit=ingest.limits.removal_batch_size)
                manifest = DocumentRepository(connection, ingest.collection.id)
                known = await manifest.chunk_ids(self._context.generation.id, dirty) if dirty else {}
            if not dirty:
                return
            await ingest.may_write.wait()
            ingest.require_lease()
            keep = [chunk_id for ids in known.values() for chunk_id in ids]
            await ingest.store.delete_documents(self._context.generation.name, dirty, keep=keep)
            async with ingest.database.fenced(ingest.lease) as connection:
                await self._rebuilds(connection).mark_clean(dirty)

    def _stop_if_asked(self) -> None:
        if self._context.ingest.should_yield():
            raise SliceEndedError("the slice ended before the rebuild was done")

    async def _work(self) -> None:
        ended = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report_progress(until=ended))
                tasks.create_task(look_after_lanes(self._context.ingest, until=ended))
                work = tasks.create_task(self._work_with_lanes())
                work.add_done_callback(lambda _: ended.set())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        await count_all(self._context.ingest)
        await self._tell()
        self._stop_if_asked()

    async def _work_with_lanes(self) -> None:
        """Work until nothing is pending and no lane has anything in hand; what lanes give back is done here."""
        ingest = self._context.ingest
        while True:
            await carry_all(self._context)
            if await close_lanes(ingest):
                continue
            async with ingest.database.begin() as connection:
                is_over = not await self._rebuilds(connection).has_pending()
            if ingest.should_yield() or is_over:
                return

    async def _report_progress(self, *, until: asyncio.Event) -> None:
        while not until.is_set():
            await self._tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_SECONDS):
                    await until.wait()

    async def _tell(self) -> None:
        snapshot = self._context.ingest.account.snapshot()
        about = {"stage": "build" if self._number == 1 else "catch_up", "level": self._context.level.value}
        await self._context.ingest.report.send_update("reprocessing_progress", {**snapshot, **about})


async def carry_all(context: RebuildContext) -> None:
    """Bring in documents until none is pending, or the slice is to end; also in the lane of another worker."""
    ingest = context.ingest
    budget = ByteBudget(ingest.limits.pipeline_max_bytes)
    to_carry, groups = anyio.create_memory_object_stream[Group](1)
    async with opening_sources(context) as sources:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_claim(context, to_carry))
                for _ in range(ingest.processes.size + 1 + WRITERS):
                    tasks.create_task(_carry(context, budget, groups.clone(), sources))
                groups.close()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures


def rebuilds_of(context: RebuildContext, connection: AsyncConnection) -> RebuildRepository:
    """What the generation that is made holds."""
    return RebuildRepository(connection, context.ingest.collection.id, context.generation.id)


async def _claim(context: RebuildContext, out: MemoryObjectSendStream[Group]) -> None:
    ingest = context.ingest
    async with out:
        while not ingest.should_yield():
            await ingest.demand.wait()
            limit, least = ingest.demand.choose_claim(CLAIM_DOCUMENTS)
            async with ingest.database.fenced(ingest.lease) as connection:
                claimed = await rebuilds_of(context, connection).claim(limit=limit, least=least, lane=ingest.lease.lane)
                # a lane gets none once its offer is closed; those that are gone are no work
                is_over = not claimed and (
                    ingest.lease.lane is not None or not await rebuilds_of(context, connection).has_pending()
                )
            if is_over:
                return
            await context.giving_way.look(ingest.database)
            most_bytes = SMALL_BYTES if context.giving_way.rest else GROUP_BYTES
            for group in group_claimed(claimed, processes=ingest.processes.size, most_bytes=most_bytes):
                ingest.demand.take()
                await out.send(group)


async def _carry(
    context: RebuildContext, budget: ByteBudget, groups: MemoryObjectReceiveStream[Group], sources: Sources
) -> None:
    ingest = context.ingest
    async with groups:
        async for group in groups:
            if ingest.should_yield():
                ingest.demand.drop()
                async with ingest.database.fenced(ingest.lease) as connection:
                    await rebuilds_of(context, connection).unclaim([claimed.document.id for claimed in group])
                continue
            async with budget.hold(sum(size_of(claimed.document) for claimed in group)):
                with stage_span("prepare", documents=len(group)):
                    rebuilt = await read_group(context, group, sources)
                ingest.demand.drop()
                texts = sum(len(one.chunks) for one in rebuilt)
                with ingest.demand.holding(texts, documents=len(group)) as held:
                    await write_group(context, group, rebuilt, held)


def group_claimed(claimed: Sequence[Claimed], *, processes: int, most_bytes: int = GROUP_BYTES) -> list[Group]:
    """The groups that the same documents would be ingested in."""
    by_id = {one.document.id: one for one in claimed}
    groups = group_documents([one.document for one in claimed], processes=processes, most_bytes=most_bytes)
    return [[by_id[document.id] for document in group] for group in groups]

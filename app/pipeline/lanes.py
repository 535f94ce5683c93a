"""How an attempt shares its documents with other workers, and waits for what they have in hand."""

import asyncio
from contextlib import suppress
from uuid import UUID

from app.db.documents import DocumentRepository
from app.db.lanes import LaneRepository
from app.db.totals import TotalsRepository
from app.domain.operations import LaneChange, LaneOffer
from app.pipeline.context import IngestContext

WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 0.5
LOOK_SECONDS = 1.0
SHARE_FROM_DOCUMENTS = 40
"""Fewer than these are done before another worker has begun."""


async def wait_for_earlier_lanes(context: IngestContext) -> None:
    """Return when no lane of an earlier attempt can write any more: it has ended, or its lease has."""
    operation_id, token = context.lease.operation_id, context.lease.token
    pause = WAIT_SECONDS
    with context.signals.hearing(operation_id) as left:
        while True:
            left.clear()
            async with context.database.begin() as connection:
                lanes = LaneRepository(connection)
                await lanes.end_dead(operation_id)
                if not await lanes.count(operation_id, besides=token):
                    return
            await context.poke(operation_id)
            pause = await _wait(left, pause)


async def _wait(left: asyncio.Event, pause: float) -> float:
    """Return when a lane has ended, or after a pause; gives the next one."""
    with suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await left.wait()
    return min(2 * pause, LONGEST_WAIT_SECONDS)


async def look_for_sharers(context: IngestContext) -> None:
    """Whether there are workers to share with: what is theirs later is not to be in hand here by then."""
    async with context.database.begin() as connection:
        context.demand.is_shared = await LaneRepository(connection).count_workers() > 1


async def offer_lanes(context: IngestContext, source_id: UUID, scan: UUID) -> None:
    """Let other workers share a source's documents, if there are enough of them."""
    async with context.database.fenced(context.lease) as connection:
        pending = await DocumentRepository(connection, context.collection.id).count_pending(
            source_id, scan=scan, limit=SHARE_FROM_DOCUMENTS
        )
        if pending < SHARE_FROM_DOCUMENTS:
            return
        offer = LaneOffer(source_id=source_id, scan=scan, generation_id=context.generation.id)
        await LaneRepository(connection).offer(context.lease, offer)
    await context.signals.tell(context.lease.operation_id, LaneChange.OFFERED)


async def offer_generation(context: IngestContext, *, pending: int) -> None:
    """Let other workers share what is pending of a whole generation, if there is enough of it."""
    if pending < SHARE_FROM_DOCUMENTS:
        return
    async with context.database.fenced(context.lease) as connection:
        await LaneRepository(connection).offer(context.lease, LaneOffer(generation_id=context.generation.id))
    await context.signals.tell(context.lease.operation_id, LaneChange.OFFERED)


async def close_lanes(context: IngestContext) -> int:
    """Let nobody join any more, and wait until no lane is left or a dead one's documents are pending again.

    Returns:
        How many lanes are left.
    """
    operation_id = context.lease.operation_id
    pause = WAIT_SECONDS
    with context.signals.hearing(operation_id) as left:
        async with context.database.begin() as connection:
            lanes = LaneRepository(connection)
            await lanes.close(context.lease)
            count = await lanes.count(operation_id)
        while count:
            context.require_lease()
            # each of them is to learn that it gets no more documents
            await context.poke(operation_id)
            pause = await _wait(left, pause)
            left.clear()
            async with context.database.begin() as connection:
                lanes = LaneRepository(connection)
                has_given_back = await lanes.end_dead(operation_id)
                count = await lanes.count(operation_id)
            if has_given_back:
                break
    return count


async def look_after_lanes(context: IngestContext, *, until: asyncio.Event) -> None:
    """Give back what dead lanes had in hand, and count what the living ones have done."""
    while not until.is_set():
        async with context.database.begin() as connection:
            lanes = LaneRepository(connection)
            await lanes.end_dead(context.lease.operation_id)
            context.account.sharers = await lanes.count(context.lease.operation_id)
        context.demand.is_shared |= context.account.sharers > 0
        await count_all(context)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await until.wait()


async def count_all(context: IngestContext) -> None:
    """Take what all lanes have committed into the account."""
    async with context.database.begin() as connection:
        context.account.take_all(await TotalsRepository(connection, context.lease.operation_id).load())

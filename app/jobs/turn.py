"""How an operation that began beside the writers of its collection becomes one of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.db.attempts import AttemptRepository
from app.db.operations import OperationRepository
from app.domain.errors import SliceEndedError
from app.jobs.context import JobContext
from app.pipeline.removal import wait_for_foreign_lanes

PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0


async def become_writer(job: JobContext, collection_id: UUID, *, meanwhile: Callable[[], Awaitable[int]]) -> None:
    """Wait for the turn to write, which comes before everybody else's.

    ``meanwhile`` is done again and again while another operation writes; it says how much it had to do.

    Raises:
        SliceEndedError: if the slice was asked to yield before.
    """
    pause, told = PAUSE_SECONDS, None
    while not await _try(job):
        if job.should_yield():
            raise SliceEndedError("the slice ended before it was its turn to write")
        async with job.resources.database.begin() as connection:
            writer = await OperationRepository(connection).find_running_writer(collection_id)
        if writer is not None and writer != told:
            await job.tell_why_waiting(f"behind operation {writer}, which writes until it ends")
            told = writer
        started = time.monotonic()
        if await meanwhile():
            # looking for what has changed costs the database as much as there are documents
            await asyncio.sleep(min(time.monotonic() - started, LONGEST_PAUSE_SECONDS))
        else:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    if told is not None:
        await job.tell_why_waiting(None)
    # an operation that wrote before may have lanes that do not know yet that it has ended
    resources = job.resources
    await wait_for_foreign_lanes(resources.database, collection_id, job.lease.operation_id, poke=resources.poke)


async def _try(job: JobContext) -> bool:
    try:
        async with job.resources.database.fenced(job.lease) as connection:
            return await AttemptRepository(connection).become_writer(job.lease)
    except IntegrityError:
        # somebody else has begun to write at this moment
        return False

"""ROLLBACK: go back to the generation that served before, with everything that was changed since."""

import time
from typing import Any
from uuid import UUID

from app.db.collections import CollectionRepository
from app.domain.collections import GenerationState
from app.domain.errors import GenerationMissingError
from app.domain.operations import Operation
from app.domain.rebuild_errors import NothingToRollBackError
from app.domain.rebuilds import Target, choose_level
from app.jobs.context import JobContext
from app.jobs.rebuilding import Rebuilding, conclude_switch


async def roll_back(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Replay what was changed since into the retired generation, and switch back.

    Raises:
        NothingToRollBackError: if it is not kept any more.
        EmbedderChangedError: if its model is not what it was: nothing could be found in it.
    """
    started = time.monotonic()
    async with context.resources.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(operation.user_id, operation.require_collection())
        active = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        wanted = await collections.get_generation(UUID(operation.config["generation_id"]))
        replaced = await collections.find_replaced(collection.id)
    if wanted.state is GenerationState.ACTIVE:
        # the attempt that switched could not say so any more
        await conclude_switch(context, old=replaced, new=wanted)
        switch = {"from": None if replaced is None else replaced.name, "to": wanted.name}
        return {**switch, **(operation.result or {})}
    if active is None or wanted.state is not GenerationState.RETIRED:
        raise NothingToRollBackError(collection.name)
    if await context.resources.store.find_collection(wanted.name) is None:
        raise GenerationMissingError(wanted.name)
    target = Target(model=wanted.model, chunking=wanted.chunking, sparse=wanted.sparse)
    level = choose_level(active, target, tokenizers=context.resources.limits.tokenizers)
    rebuilding = Rebuilding(
        job=context, operation=operation, collection=collection, old=active, new=wanted, level=level
    )
    result = await rebuilding.summarise(await rebuilding.bring_up_to_date())
    await rebuilding.switch()
    return {**result, "seconds": round(operation.ran_seconds + time.monotonic() - started, 3)}

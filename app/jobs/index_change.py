"""REINDEX of the index alone: the vector store changes it in place, and the gate says whether it is as good."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.rebuilds import RebuildRepository
from app.domain.collections import Collection, Generation
from app.domain.errors import DomainError, SliceEndedError
from app.domain.index_settings import IndexSettings
from app.domain.operations import Operation
from app.domain.rebuilds import Level, Target
from app.jobs.context import JobContext
from app.jobs.gate import Gate
from app.jobs.turn import become_writer

LOOK_SECONDS = 0.5
BUILDING = "the vector store builds its index"


async def change_index(
    context: JobContext, operation: Operation, collection: Collection, generation: Generation, target: Target
) -> dict[str, Any]:
    """Change the index, wait until it is built, validate; what is refused or stopped is as it was before.

    Others write again when it has ended, for the index is built once nobody has written for a moment.

    Raises:
        ValidationFailedError: if a hard check of the gate has failed.
    """
    store, before = context.resources.store, IndexSettings.from_config(generation.index_settings)
    changed = replace(generation, index_settings=target.index.to_config())
    await become_writer(context, collection.id, meanwhile=_do_nothing)
    try:
        await store.update_index(generation.name, target.index)
        await wait_until_indexed(context, generation.name)
        gate = Gate(job=context, operation=operation, collection=collection, old=generation, new=changed)
        result = await gate.require(await _summarise(context, collection, generation, target))
        async with context.resources.database.fenced(context.lease) as connection:
            await CollectionRepository(connection).set_index(generation, target.index.to_config())
            await record(
                connection,
                "collection.index_changed",
                collection,
                before=dict(generation.index_settings),
                after=target.index.to_config(),
            )
    except BaseException:
        with suppress(DomainError):
            # who has lost the lease leaves it to whoever has it
            context.require_lease()
            await asyncio.shield(store.update_index(generation.name, before))
        raise
    return result


async def wait_until_indexed(context: JobContext, name: str) -> None:
    """Return when the store has built what the settings of a generation ask for.

    Raises:
        SliceEndedError: if the slice was asked to yield.
        VectorStoreRejectedError: if the store has given up.
    """
    if await context.resources.store.is_optimised(name):
        return
    await context.tell_why_waiting(BUILDING)
    while not await context.resources.store.is_optimised(name):
        context.require_lease()
        if context.should_yield():
            raise SliceEndedError("the slice ended before the index was built")
        await asyncio.sleep(LOOK_SECONDS)
    await context.tell_why_waiting(None)


async def _do_nothing() -> int:
    return 0


async def _summarise(
    context: JobContext, collection: Collection, generation: Generation, target: Target
) -> dict[str, Any]:
    async with context.resources.database.begin() as connection:
        rebuilds = RebuildRepository(connection, collection.id, generation.id)
        documents, (chunks, _) = await rebuilds.count_documents(), await rebuilds.count_chunks()
    return {
        "from": generation.name,
        "to": generation.name,
        "model": generation.model,
        "dimension": generation.dimension,
        "chunk_size": generation.chunking.size,
        "chunk_overlap": generation.chunking.overlap,
        "chunk_strategy": generation.chunking.strategy.value,
        "index": target.index.to_config(),
        "sparse": dict(generation.sparse_settings),
        "level": Level.INDEX.value,
        "documents": documents,
        "documents_failed": 0,
        "chunks": chunks,
        "tokens": 0,
        "reused_chunks": chunks,
        "reused_share": 1.0,
    }

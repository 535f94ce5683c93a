"""The generation that a job writes to."""

import asyncio

from app.db.collections import CollectionRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import DomainError
from app.domain.index_settings import IndexSettings
from app.domain.ports import Embedder
from app.embedders.fingerprint import check_canaries, dimension_of, take_canaries
from app.jobs.context import JobContext


async def open_generation(context: JobContext, collection: Collection) -> Generation:
    """The active generation of a collection; one is begun if it has none.

    A building one that an earlier attempt left is taken up again. Nothing may be written to it before ``make_ready``.
    """
    async with context.resources.database.begin() as connection:
        collections = CollectionRepository(connection)
        found = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        found = found or await collections.find_generation(collection.id, GenerationState.BUILDING)
    return found or await _begin_generation(context, collection)


async def _begin_generation(context: JobContext, collection: Collection) -> Generation:
    fingerprint, canaries = await take_canaries(context.find_embedder(collection.model))
    async with context.resources.database.fenced(context.lease) as connection:
        return await CollectionRepository(connection).add_generation(
            collection, dimension=dimension_of(canaries), fingerprint=fingerprint, canaries=canaries
        )


async def make_physical(context: JobContext, generation: Generation, embedder: Embedder) -> None:
    """Return when a generation that does not serve may be written to: its model is what it was, and it is there.

    Raises:
        EmbedderChangedError: if the model gives other vectors than before.
    """
    await _create_collection(context, generation, embedder)


async def make_ready(context: JobContext, generation: Generation, embedder: Embedder) -> None:
    """Return when a generation may be written to: its model is what it was, and a new one is there and active.

    A new one that fails for good is dropped: what the model answered first may have been garbage.

    Raises:
        EmbedderChangedError: if the model gives other vectors than before.
    """
    if generation.state is GenerationState.ACTIVE:
        await check_canaries(embedder, generation.canaries, dimension=generation.dimension)
        return
    resources = context.resources
    try:
        await _create_collection(context, generation, embedder)
    except DomainError as error:
        if not error.retryable:
            await _drop(context, generation)
        raise
    async with resources.database.fenced(context.lease) as connection:
        await CollectionRepository(connection).activate(generation)
    await resources.store.set_alias(f"vecloom_{generation.collection_id}", to=generation.name)
    await context.report.send_update(
        "generation_created",
        {"generation": generation.name, "dimension": generation.dimension, "model": generation.model},
    )


async def _create_collection(context: JobContext, generation: Generation, embedder: Embedder) -> None:
    """Create the physical collection while the model is asked."""
    store = context.resources.store
    try:
        async with asyncio.TaskGroup() as tasks:
            index = IndexSettings.from_config(generation.index_settings)
            tasks.create_task(store.create_collection(generation.name, dimension=generation.dimension, index=index))
            refusal = await _find_change(generation, embedder)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    if refusal is not None:
        raise refusal


async def _find_change(generation: Generation, embedder: Embedder) -> DomainError | None:
    """What is wrong with the model; not raised, for a creation that is cut off might come after what drops it."""
    try:
        await check_canaries(embedder, generation.canaries, dimension=generation.dimension)
    except DomainError as error:
        return error
    return None


async def _drop(context: JobContext, generation: Generation) -> None:
    await context.resources.store.drop_collection(generation.name)
    async with context.resources.database.fenced(context.lease) as connection:
        await CollectionRepository(connection).mark_dropped(generation)

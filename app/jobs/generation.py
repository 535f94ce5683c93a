"""The generation that a job writes to."""

from app.db.collections import CollectionRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import DomainError
from app.embedders.fingerprint import check_canaries, take_canaries
from app.jobs.context import JobContext


async def open_generation(context: JobContext, collection: Collection) -> Generation:
    """The active generation of a collection; its first one is created if it has none.

    A building one that an earlier attempt left is taken up again. What fails before activation is dropped.
    """
    resources = context.resources
    async with resources.database.begin() as connection:
        active = await CollectionRepository(connection).find_generation(collection.id, GenerationState.ACTIVE)
    return active or await _create_generation(context, collection)


async def _create_generation(context: JobContext, collection: Collection) -> Generation:
    resources = context.resources
    embedder = context.find_embedder(collection.model)
    dimension = await embedder.dimension()
    async with resources.database.begin() as connection:
        building = await CollectionRepository(connection).find_generation(collection.id, GenerationState.BUILDING)
    if building is None:
        fingerprint, canaries = await take_canaries(embedder)
        async with resources.database.fenced(context.lease) as connection:
            building = await CollectionRepository(connection).add_generation(
                collection, dimension=dimension, fingerprint=fingerprint, canaries=canaries
            )
    try:
        await check_canaries(embedder, building.canaries, dimension=building.dimension)
        await resources.store.create_collection(building.name, dimension=building.dimension)
    except DomainError as error:
        if not error.retryable:
            await _drop(context, building)
        raise
    async with resources.database.fenced(context.lease) as connection:
        await CollectionRepository(connection).activate(building)
    await resources.store.set_alias(f"vecloom_{collection.id}", to=building.name)
    await context.report.send_update(
        "generation_created", {"generation": building.name, "dimension": dimension, "model": collection.model}
    )
    return building


async def _drop(context: JobContext, generation: Generation) -> None:
    await context.resources.store.drop_collection(generation.name)
    async with context.resources.database.fenced(context.lease) as connection:
        await CollectionRepository(connection).mark_dropped(generation)

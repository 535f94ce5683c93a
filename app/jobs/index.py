"""INDEX: create a collection's first generation and fill it."""

from typing import Any

from app.db.collections import CollectionRepository
from app.db.sources import SourceRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import DomainError
from app.domain.operations import Operation
from app.embedders.fingerprint import check_canaries, take_canaries
from app.jobs.append import bring_up_to_date
from app.jobs.context import JobContext


async def index_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Create the generation, make it active, then ingest every source."""
    resources = context.resources
    async with resources.database.begin() as connection:
        collection = await CollectionRepository(connection).get(operation.user_id, operation.collection_id)
        active = await CollectionRepository(connection).find_generation(collection.id, GenerationState.ACTIVE)
        sources = await SourceRepository(connection).list_all(collection.id)
    generation = active or await _create_generation(context, collection)
    result = await bring_up_to_date(context, collection, generation, sources)
    await context.report.send_update(
        "index_completed",
        {"generation": generation.name, "documents": result["documents_added"], "chunks": result["chunks"]},
    )
    return result


async def _create_generation(context: JobContext, collection: Collection) -> Generation:
    """Find or create the building generation and activate it; what fails before activation is dropped."""
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

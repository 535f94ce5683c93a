"""PROJECTION: draw a map of a collection's embeddings."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.leftovers import read_marker
from app.db.projections import ProjectionRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import CollectionNotReadyError
from app.domain.operations import Operation, ProductState
from app.domain.projections import MadeProjection, Projection, ProjectionsUnavailableError
from app.jobs.context import JobContext
from app.pipeline.projection.making import Making
from app.projection.folders import ProjectionFolder, remove_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A projection with what it is drawn from, and the folder of this attempt."""

    projection: Projection
    collection: Collection
    generation: Generation
    folder: Path
    before: list[Path]
    publish: partial[Path]


async def make_projection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Fetch, lay out, explain, write, keep. Each attempt begins anew: what one has left is removed."""
    started = time.monotonic()
    projection = await _find(context, operation)
    if projection.state is ProductState.COMPLETED:
        # the attempt that kept it could not say so any more
        return projection.result()
    begun = await _begin(context, projection)
    try:
        await context.report.send_update("projection_started", _describe(begun))
        made = await _make(context, begun, started=started)
        async with context.resources.database.fenced(context.lease):
            pass  # who has lost the lease publishes nothing over what another attempt has
        await asyncio.to_thread(begun.publish)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(remove_tree, begun.folder))
        raise
    async with context.resources.database.fenced(context.lease) as connection:
        repository = ProjectionRepository(connection)
        await repository.complete(projection.id, made)
        kept = await repository.get(operation.user_id, projection.id)
    result = kept.result()
    told = ("projection_id", "points", "sampled", "method", "quality", "degraded")
    await context.report.send_update("projection_completed", {name: result[name] for name in told})
    return result


async def _find(context: JobContext, operation: Operation) -> Projection:
    async with context.resources.database.begin() as connection:
        return await ProjectionRepository(connection).get(operation.user_id, UUID(operation.config["projection_id"]))


def require_folder(folder: ProjectionFolder | None) -> ProjectionFolder:
    """Raises ProjectionsUnavailableError if there is none."""
    if folder is None:
        raise ProjectionsUnavailableError
    return folder


async def _begin(context: JobContext, projection: Projection) -> _Begun:
    """Take the generation that serves now; this attempt keeps to it whatever is switched meanwhile."""
    place, attempt = require_folder(context.resources.projections), context.lease.token.hex
    async with context.resources.database.fenced(context.lease) as connection:
        repository, collections = ProjectionRepository(connection), CollectionRepository(connection)
        collection = await collections.get(projection.user_id, projection.collection_id)
        generation = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        if generation is None:
            raise CollectionNotReadyError(collection.name)
        fingerprint = await repository.take_fingerprint(collection.id, generation)
        await repository.begin(projection.id, generation=generation, fingerprint=fingerprint, attempt=attempt)
        before = await repository.list_before(projection)
        marker = await read_marker(connection)
        # while nobody else can be making it
        folder = await asyncio.to_thread(place.begin, marker, collection.id, projection.id, attempt=attempt)
    return _Begun(
        projection=projection,
        collection=collection,
        generation=generation,
        folder=folder,
        before=[place.path_of(marker, collection.id, one.id) for one in before],
        publish=partial(place.publish, marker, collection.id, projection.id, attempt=attempt),
    )


def _describe(begun: _Begun) -> dict[str, Any]:
    config = begun.projection.config
    return {
        "projection_id": str(begun.projection.id),
        "method": config["method"],
        "dimensions": config["dimensions"],
        "generation": begun.generation.name,
    }


async def _make(context: JobContext, begun: _Begun, *, started: float) -> MadeProjection:
    resources = context.resources
    return await Making(
        database=resources.database,
        store=resources.store,
        processes=resources.layout_processes,
        report=context.report,
        collection=begun.collection,
        generation=begun.generation,
        config=begun.projection.config,
        folder=begun.folder,
        before=begun.before,
        started=started,
    ).run()

"""REMOVE_SOURCE: take a source out of a collection, with what no other source has."""

from typing import Any
from uuid import UUID

from app.db.collections import CollectionRepository
from app.domain.operations import Operation
from app.jobs.context import JobContext
from app.pipeline.removal import RemovalContext, SourceRemoval


async def remove_source(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Remove what is left of the source; nothing, if an earlier attempt came as far as its row."""
    async with context.resources.database.begin() as connection:
        collection = await CollectionRepository(connection).get(operation.user_id, operation.require_collection())
    removal = SourceRemoval(open_removal(context, collection.id), collection, UUID(operation.config["source_id"]))
    result = await removal.run()
    told = {name: result[name] for name in ("documents_removed", "points_removed")}
    await context.report.send_update("remove_source_completed", told)
    return {"source": operation.config["url"], **result}


def open_removal(context: JobContext, collection_id: UUID) -> RemovalContext:
    """What the removal of something of a collection needs."""
    resources = context.resources
    return RemovalContext(
        database=resources.database,
        store=resources.store,
        lease=context.lease,
        report=context.report,
        collection_id=collection_id,
        batch_size=resources.limits.removal_batch_size,
        should_yield=context.should_yield,
        note_progress=context.note_progress,
        require_lease=context.require_lease,
        poke=resources.poke,
        remove_uploads=resources.remove_uploads,
    )

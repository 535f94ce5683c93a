"""DELETE: clear away a collection that nobody sees any more."""

import asyncio
from typing import Any
from uuid import UUID

from app.db.leftovers import read_marker
from app.domain.operations import Operation
from app.jobs.context import JobContext
from app.jobs.remove_source import open_removal
from app.pipeline.deletion import CollectionDeletion, load_result


async def delete_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Clear away what is left of the collection. An attempt that ended right after its row went finds it gone."""
    if operation.collection_id is None:
        result = await load_result(context.resources.database, operation.id)
    else:
        # before its row goes, for nobody knows afterwards what was its own
        await _remove_projections(context, operation.collection_id)
        result = await CollectionDeletion(open_removal(context, operation.collection_id)).run()
    told = {name: result[name] for name in ("points", "documents")}
    await context.report.send_update("delete_completed", told)
    return result


async def _remove_projections(context: JobContext, collection_id: UUID) -> None:
    """Their files; what another attempt still writes is removed by a periodic job."""
    folder = context.resources.projections
    if folder is None:
        return
    async with context.resources.database.begin() as connection:
        marker = await read_marker(connection)
    context.require_lease()
    await asyncio.to_thread(folder.remove_collection, marker, collection_id)

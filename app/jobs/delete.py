"""DELETE: clear away a collection that nobody sees any more."""

from typing import Any

from app.domain.operations import Operation
from app.jobs.context import JobContext
from app.jobs.remove_source import open_removal
from app.pipeline.deletion import CollectionDeletion, load_result


async def delete_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Clear away what is left of the collection. An attempt that ended right after its row went finds it gone."""
    if operation.collection_id is None:
        result = await load_result(context.resources.database, operation.id)
    else:
        result = await CollectionDeletion(open_removal(context, operation.collection_id)).run()
    told = {name: result[name] for name in ("points", "documents")}
    await context.report.send_update("delete_completed", told)
    return result

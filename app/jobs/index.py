"""INDEX: create a collection's first generation and fill it."""

from typing import Any

from app.db.collections import CollectionRepository
from app.db.sources import SourceRepository
from app.domain.operations import Operation
from app.jobs.append import bring_up_to_date
from app.jobs.context import JobContext
from app.jobs.generation import open_generation


async def index_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Create the generation, make it active, then ingest every source."""
    async with context.resources.database.begin() as connection:
        collection = await CollectionRepository(connection).get(operation.user_id, operation.require_collection())
        sources = await SourceRepository(connection).list_all(collection.id)
    generation = await open_generation(context, collection)
    result = await bring_up_to_date(context, collection, generation, sources)
    await context.report.send_update(
        "index_completed",
        {"generation": generation.name, "documents": result["documents_added"], "chunks": result["chunks"]},
    )
    return result

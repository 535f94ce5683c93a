"""RETRY_DOCUMENTS: try documents again that failed."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from app.db.collections import CollectionRepository
from app.db.retries import RetryRepository
from app.db.sources import SourceRepository
from app.db.totals import TotalsRepository
from app.domain.operations import Operation
from app.jobs.append import describe, open_ingest
from app.jobs.context import JobContext
from app.jobs.generation import make_ready, open_generation
from app.pipeline.context import IngestContext
from app.pipeline.labels import refresh_labels
from app.pipeline.retry import choose, retry_source

COUNTED = ("completed", "failed", "needs_ocr")


async def retry_documents(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Take the documents, then ingest them source by source; what an earlier attempt has settled stays so."""
    resources = context.resources
    async with resources.database.begin() as connection:
        collection = await CollectionRepository(connection).get(operation.user_id, operation.require_collection())
    generation = await open_generation(context, collection)
    ingest = open_ingest(context, collection, generation)
    await make_ready(context, generation, ingest.embedder)
    ingest.may_write.set()
    choice = choose(operation.config, max_attempts=resources.limits.document_max_attempts)
    async with resources.database.fenced(context.lease) as connection:
        retries = RetryRepository(connection, collection.id)
        await retries.take(choice, operation_id=operation.id)
        ingest.account.carry_on(await TotalsRepository(connection, operation.id).load())
        taken = Counter(await retries.count(operation.id))
        source_ids = await retries.list_sources(operation.id)
        sources = [await SourceRepository(connection).get(collection.id, source_id) for source_id in source_ids]
    ingest.account.carry_documents({state: taken[state] for state in COUNTED})
    ingest.account.total += taken["pending"] + taken["processing"]
    for source in sources:
        await retry_source(ingest, source, resources.open_source(source))
    await refresh_labels(resources.database, resources.store, context.lease, collection.id)
    result = await _summarise(ingest)
    await context.report.send_update("retry_completed", {**result, "failed": result["documents_failed"]})
    return result


async def _summarise(context: IngestContext) -> dict[str, Any]:
    async with context.database.begin() as connection:
        states: Mapping[str, int] = await RetryRepository(connection, context.collection.id).count(
            context.lease.operation_id
        )
    totals = Counter({state: states.get(state, 0) for state in COUNTED})
    return {"documents_retried": sum(totals.values()), **describe(context.account, totals, skipped=0)}

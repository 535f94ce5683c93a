"""VERIFY: say whether the manifest and the vector store agree, and make them if asked to."""

from typing import Any

from app.db.collections import CollectionRepository
from app.domain.collections import GenerationState
from app.domain.operations import Operation
from app.jobs.append import open_ingest
from app.jobs.context import JobContext
from app.pipeline.findings import Findings
from app.pipeline.verify import Verification


async def verify_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Compare the active generation; a collection without one holds nothing that could be wrong."""
    async with context.resources.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(operation.user_id, operation.require_collection())
        generation = await collections.find_generation(collection.id, GenerationState.ACTIVE)
    findings = Findings()
    if generation is not None:
        repair, deep = bool(operation.config.get("repair")), bool(operation.config.get("deep"))
        ingest = open_ingest(context, collection, generation)
        findings = await Verification(ingest, repair=repair, deep=deep).run()
    await context.report.send_update("verify_completed", findings.summary())
    return findings.result()

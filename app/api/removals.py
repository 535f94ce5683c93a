"""Taking sources and collections away, and trying documents again that failed."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody, PriorityName, RunAfter
from app.api.reindex_config import MaxRuntime
from app.domain.operations import Priority, Submission
from app.traces import current_trace_parent

router = APIRouter(tags=["collections"])

MOST_DOCUMENTS = 1000


class DocumentsRetry(BaseModel):
    """Which documents are tried again: these, or all that failed for a reason that may be gone by now.

    Documents that need OCR are among the latter only if that is said, as when Tesseract was installed meanwhile.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"include_needs_ocr": True}]})

    ids: Annotated[list[UUID], Field(max_length=MOST_DOCUMENTS)] = []
    include_needs_ocr: bool = False
    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None
    max_runtime_seconds: MaxRuntime = None


ALL_FAILED = DocumentsRetry()


def _plain(idempotency_key: str | None) -> Submission:
    return Submission(idempotency_key=idempotency_key, trace_parent=current_trace_parent())


@router.delete("/collections/{collection}", status_code=202)
async def delete_collection(
    collection: CollectionRef, caller: CallerDep, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> OperationBody:
    """Delete a collection. It is in no list and no search any more, and its name is free, when this answers.

    Its operations are cancelled, and the one in the answer clears away what it held.
    """
    submission = _plain(idempotency_key)
    return OperationBody.of(await services.removals.delete(caller.user_id, collection, submission=submission))


@router.delete("/collections/{collection}/sources/{source_id}", status_code=202)
async def remove_source(
    collection: CollectionRef,
    source_id: UUID,
    caller: CallerDep,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> OperationBody:
    """Take a source out of a collection, with its documents that no other source has."""
    submission = _plain(idempotency_key)
    return OperationBody.of(
        await services.removals.remove_source(caller.user_id, collection, source_id, submission=submission)
    )


@router.post("/collections/{collection}/documents/retry", status_code=202, tags=["documents"])
async def retry_documents(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    body: DocumentsRetry = ALL_FAILED,
    idempotency_key: IdempotencyKey = None,
) -> OperationBody:
    """Try documents again that failed."""
    submission = Submission(
        idempotency_key=idempotency_key,
        priority=Priority[body.priority.name],
        run_after=body.run_after,
        max_runtime_seconds=body.max_runtime_seconds,
        trace_parent=current_trace_parent(),
    )
    operation = await services.removals.retry_documents(
        caller.user_id,
        collection,
        ids=body.ids,
        include_needs_ocr=body.include_needs_ocr,
        submission=submission,
    )
    return OperationBody.of(operation)

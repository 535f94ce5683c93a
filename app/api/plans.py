"""Dry runs: what indexing a source would do, take and cost."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import CallerDep, ServicesDep
from app.api.collections import SourceCreate
from app.api.operations import IdempotencyKey, OperationBody, PriorityName, RunAfter
from app.api.reindex_config import MaxRuntime
from app.domain.documents import ChunkingChoice, ChunkingStrategy
from app.domain.operations import Priority, Submission
from app.traces import current_trace_parent

router = APIRouter(tags=["plans"])


class PlanCreate(BaseModel):
    """Asks what indexing a source into a collection would do; nothing is created and nothing is changed.

    The collection need not exist. If it does, its model and chunking decide; saying others is a conflict.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"collection": "handbook", "source": {"url": "file:///srv/handbook", "include": ["**/*.md"]}}]
        },
    )

    collection: str = Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")
    source: SourceCreate
    model: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    chunk_size: int | None = Field(default=None, ge=16, le=8192)
    chunk_overlap: int | None = Field(default=None, ge=0, le=8191)
    chunk_strategy: ChunkingStrategy | None = None
    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None
    max_runtime_seconds: MaxRuntime = None


@router.post("/plans", status_code=202)
async def create_plan(
    body: PlanCreate, caller: CallerDep, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> OperationBody:
    """Start a dry run. Its `result` has the numbers the real operation's will have, an estimate of time, and a cost."""
    submission = Submission(
        idempotency_key=idempotency_key,
        priority=Priority[body.priority.name],
        run_after=body.run_after,
        max_runtime_seconds=body.max_runtime_seconds,
        trace_parent=current_trace_parent(),
    )
    operation = await services.operations.create_plan(
        caller.user_id,
        name=body.collection,
        model=body.model,
        chunking=ChunkingChoice(strategy=body.chunk_strategy, size=body.chunk_size, overlap=body.chunk_overlap),
        source=body.source.spec(),
        submission=submission,
    )
    return OperationBody.of(operation)

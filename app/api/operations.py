"""Operations: create in a collection, list, show, pause, cancel, retry."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.benchmark_config import BenchmarkConfig
from app.api.projection_body import ProjectionBody
from app.api.projection_config import ProjectionConfig
from app.api.reindex_config import MaxRuntime, ReindexConfig
from app.api.services import ApiServices
from app.domain.errors import InvalidChunkingError, UnsupportedOperationError
from app.domain.operations import Operation, OperationKind, OperationState, Priority, Submission
from app.domain.syncs import AppendMode
from app.traces import current_trace_parent

router = APIRouter(tags=["operations"])

CollectionRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Its id or name.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key again gives the operation that exists already.",
    ),
]


class PriorityName(StrEnum):
    """Which of several due operations starts first; one that waits long rises to the class above."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


def in_utc(time: datetime) -> datetime:
    """A time of a request, in UTC."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999 in UTC") from None


RunAfter = Annotated[
    Annotated[AwareDatetime, AfterValidator(in_utc)] | None, Field(description="Not before this time.")
]

EXAMPLE_OPERATION: JsonDict = {
    "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "kind": "INDEX",
    "state": "completed",
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "collection": "handbook",
    "created_at": "2026-03-01T09:30:00Z",
    "started_at": "2026-03-01T09:30:00.020Z",
    "finished_at": "2026-03-01T09:30:07.300Z",
    "attempt": 1,
    "progress": {"documents": {"total": 120, "done": 119, "failed": 1, "skipped": 0}},
    "why_waiting": None,
    "result": {"documents_added": 119, "documents_failed": 1, "chunks": 834, "tokens": 251040, "seconds": 7.1},
    "error_code": None,
    "error_message": None,
    "retryable": None,
    "worker": "worker-1",
    "priority": "normal",
    "paused_at": None,
    "run_after": "2026-03-01T09:30:00Z",
    "failures": 0,
    "interruptions": 0,
}


class OperationBody(BaseModel):
    """An operation, as its owner sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_OPERATION]})

    operation_id: UUID
    kind: str
    state: OperationState
    collection_id: UUID | None
    collection: str
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    progress: dict[str, Any] | None
    why_waiting: str | None
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None
    retryable: bool | None
    worker: str | None
    priority: PriorityName
    paused_at: datetime | None
    run_after: datetime | None
    failures: int
    interruptions: int

    @classmethod
    def of(cls, operation: Operation) -> Self:
        """Render an operation."""
        return cls(
            operation_id=operation.id,
            kind=operation.kind.value,
            state=operation.state,
            collection_id=operation.collection_id,
            collection=operation.collection_name,
            created_at=operation.created_at,
            started_at=operation.started_at,
            finished_at=operation.finished_at,
            attempt=operation.attempt,
            progress=operation.progress,
            why_waiting=operation.why_waiting,
            result=operation.result,
            error_code=operation.error_code,
            error_message=operation.error_message,
            retryable=operation.retryable,
            worker=operation.worker,
            priority=PriorityName(operation.priority.name.lower()),
            paused_at=operation.paused_at,
            run_after=operation.run_after,
            failures=operation.failures,
            interruptions=operation.interruptions,
        )


class OperationList(BaseModel):
    """Operations, newest first."""

    operations: list[OperationBody]


class OperationCreate(BaseModel):
    """Asks for an operation; ``config`` depends on ``kind``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "APPEND",
                    "config": {"source_id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11", "mode": "full"},
                },
            ]
        },
    )

    kind: str = Field(max_length=40)
    config: dict[str, Any] = Field(default_factory=dict)
    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None


class AppendConfig(BaseModel):
    """Which source an APPEND brings up to date, and how."""

    model_config = ConfigDict(extra="forbid")

    source_id: UUID
    mode: AppendMode = AppendMode.FULL
    confirm_removals: bool = Field(default=False, description="Remove what is gone though it is most of the source.")
    max_runtime_seconds: MaxRuntime = None


class VerifyConfig(BaseModel):
    """Whether a VERIFY also repairs, and whether it embeds every text again instead of a sample."""

    model_config = ConfigDict(extra="forbid")

    repair: bool = False
    deep: bool = False
    max_runtime_seconds: MaxRuntime = None


Config = AppendConfig | VerifyConfig | ReindexConfig | BenchmarkConfig | ProjectionConfig
CONFIGS: dict[str, type[Config]] = {
    OperationKind.APPEND: AppendConfig,
    OperationKind.VERIFY: VerifyConfig,
    OperationKind.REINDEX: ReindexConfig,
    OperationKind.BENCHMARK: BenchmarkConfig,
    OperationKind.PROJECTION: ProjectionConfig,
}


def parse_config(body: OperationCreate) -> Config:
    """The config of an operation that can be asked for.

    Raises:
        UnsupportedOperationError: if another kind is asked for.
        RequestValidationError: if the config is not that of its kind.
    """
    config = CONFIGS.get(body.kind)
    if config is None:
        raise UnsupportedOperationError(
            f"an operation of kind {body.kind!r} cannot be created here; use one of {', '.join(CONFIGS)}"
        )
    try:
        return config.model_validate(body.config)
    except ValidationError as error:
        located = [{**item, "loc": ("body", "config", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(located) from error


async def begin_reindex(
    services: ApiServices, user_id: UUID, collection: str, config: ReindexConfig, *, submission: Submission
) -> Operation:
    """Start a rebuild.

    Raises:
        RequestValidationError: if the overlap of chunks, said or usual, is not smaller than their size.
    """
    try:
        return await services.rebuilds.reindex(user_id, collection, config.choice(), submission=submission)
    except InvalidChunkingError as error:
        # the same answer as to any other field that does not fit
        raise RequestValidationError([{"loc": ("body",), "msg": f"Value error, {error.message}"}]) from error


async def begin_projection(
    services: ApiServices, user_id: UUID, collection: str, config: ProjectionConfig, *, submission: Submission
) -> OperationBody | Response:
    """Start a projection; the finished one is answered (200) if nothing has changed since."""
    found = await services.projections.create(user_id, collection, config.choice(), submission=submission)
    if isinstance(found, Operation):
        return OperationBody.of(found)
    return Response(ProjectionBody.of(found).model_dump_json(), media_type="application/json", status_code=200)


@router.post(
    "/collections/{collection}/operations",
    status_code=202,
    response_model=OperationBody,
    responses={200: {"model": ProjectionBody, "description": "The same projection of the same data is there already."}},
)
async def create_operation(
    collection: CollectionRef,
    body: OperationCreate,
    caller: CallerDep,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> OperationBody | Response:
    """Start an operation on a collection."""
    config = parse_config(body)
    found = await services.collections.get(caller.user_id, collection)
    submission = Submission(
        idempotency_key=idempotency_key,
        priority=Priority[body.priority.name],
        run_after=body.run_after,
        max_runtime_seconds=config.max_runtime_seconds,
        trace_parent=current_trace_parent(),
    )
    if isinstance(config, ProjectionConfig):
        return await begin_projection(services, caller.user_id, collection, config, submission=submission)
    if isinstance(config, ReindexConfig):
        operation = await begin_reindex(services, caller.user_id, collection, config, submission=submission)
    elif isinstance(config, BenchmarkConfig):
        operation = await services.benchmarks.create(caller.user_id, collection, config.choice(), submission=submission)
    elif isinstance(config, VerifyConfig):
        operation = await services.operations.create_verify(
            caller.user_id, found.id, repair=config.repair, deep=config.deep, submission=submission
        )
    else:
        operation = await services.operations.create_append(
            caller.user_id,
            found.id,
            source_id=config.source_id,
            mode=config.mode,
            confirm_removals=config.confirm_removals,
            submission=submission,
        )
    return OperationBody.of(operation)


@router.get("/operations")
async def list_operations(
    caller: CallerDep,
    services: ServicesDep,
    state: Annotated[list[OperationState] | None, Query(description="Any of these states.")] = None,
    collection: Annotated[str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> OperationList:
    """The caller's operations, newest first."""
    collection_id = (await services.collections.get(caller.user_id, collection)).id if collection else None
    operations = await services.operations.list(
        caller.user_id, states=state or (), collection_id=collection_id, limit=limit
    )
    return OperationList(operations=[OperationBody.of(operation) for operation in operations])


@router.get("/operations/{operation_id}")
async def read_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> OperationBody:
    """One operation."""
    return OperationBody.of(await services.operations.get(caller.user_id, operation_id))


@router.post("/operations/{operation_id}/cancel", status_code=202)
async def cancel_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> OperationBody:
    """Ask an operation to stop; what it has done so far stays consistent."""
    return OperationBody.of(await services.operations.cancel(caller.user_id, operation_id))


@router.post("/operations/{operation_id}/pause", status_code=202)
async def pause_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> OperationBody:
    """Keep an operation from starting, or have it stop at its next checkpoint; nothing of its work is lost."""
    return OperationBody.of(await services.operations.pause(caller.user_id, operation_id))


@router.post("/operations/{operation_id}/resume", status_code=202)
async def resume_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> OperationBody:
    """Let a paused operation go on where it stopped."""
    return OperationBody.of(await services.operations.resume(caller.user_id, operation_id))


@router.post("/operations/{operation_id}/retry", status_code=202)
async def retry_operation(operation_id: UUID, caller: CallerDep, services: ServicesDep) -> OperationBody:
    """Make a failed or cancelled operation go on where it stopped."""
    return OperationBody.of(await services.operations.retry(caller.user_id, operation_id))

"""Projections: have one drawn, look at it, take it away."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.headers import SANDBOX
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody, PriorityName, RunAfter
from app.api.reindex_config import MaxRuntime
from app.domain.operations import Operation, Priority, ProductState, Submission
from app.domain.projections import (
    SAMPLE,
    ColourBy,
    ProjectionChoice,
    ProjectionMethod,
    ShownProjection,
)
from app.traces import current_trace_parent

router = APIRouter(tags=["projections"])

ProjectionRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
FileRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[a-zA-Z0-9._-]+$")]
MOST_PARAMETERS = 20
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".parquet": "application/vnd.apache.parquet",
}

EXAMPLE_PROJECTION: JsonDict = {
    "projection_id": "9f1c7f0a-0b6e-4e57-8f0e-6f4e5f8f8a11",
    "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "collection": "papers",
    "state": "completed",
    "error_code": None,
    "stale": "documents_changed",
    "degraded": None,
    "config": {
        "method": "umap",
        "dimensions": 2,
        "sample": 200000,
        "colour_by": "cluster",
        "parameters": {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "seed": 42},
    },
    "generation": "vecloom_a1b2c3d4e5_0d9c2c9c6c0f4f0e8d6f3a0a6d1f7e55_5a6f3c1e8a52",
    "points": 1400,
    "sampled": 1400,
    "quality": {"trustworthiness@15": 0.97},
    "details": {"laid_out_by": "umap", "invalid": 0, "seconds": 3.2},
    "files": {"map.html": 412000, "points.parquet": 230000, "x.f32": 5600, "y.f32": 5600},
    "bytes": 653200,
    "created_at": "2026-03-01T09:30:00Z",
    "finished_at": "2026-03-01T09:30:12Z",
}


class ProjectionRequest(BaseModel):
    """A projection, and when it begins."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"method": "umap", "colour_by": "folder"},
                {"method": "tsne", "dimensions": 3, "parameters": {"perplexity": 50}},
            ]
        },
    )

    method: ProjectionMethod = ProjectionMethod.UMAP
    dimensions: int = Field(default=2, description="2 or 3.")
    sample: int = Field(
        default=SAMPLE, description="How many points are laid out; the rest is placed by its neighbours."
    )
    colour_by: ColourBy = ColourBy.CLUSTER
    parameters: dict[str, Any] = Field(
        default={}, max_length=MOST_PARAMETERS, description="Of the method; docs/projection.md."
    )
    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None
    max_runtime_seconds: MaxRuntime = None

    def choice(self) -> ProjectionChoice:
        """The same as the services take it."""
        return ProjectionChoice(
            method=self.method,
            dimensions=self.dimensions,
            sample=self.sample,
            colour_by=self.colour_by,
            parameters=self.parameters,
        )

    def submission(self, idempotency_key: str | None) -> Submission:
        """How it is submitted."""
        return Submission(
            idempotency_key=idempotency_key,
            priority=Priority[self.priority.name],
            run_after=self.run_after,
            max_runtime_seconds=self.max_runtime_seconds,
            trace_parent=current_trace_parent(),
        )


class ProjectionBody(BaseModel):
    """A projection; ``stale`` says why it is not what the collection holds now, and is null if it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PROJECTION]})

    projection_id: UUID
    operation_id: UUID | None
    collection_id: UUID
    collection: str
    state: ProductState
    error_code: str | None
    stale: str | None
    degraded: str | None
    config: dict[str, Any]
    generation: str | None
    points: int | None
    sampled: int | None
    quality: dict[str, float]
    details: dict[str, Any]
    files: dict[str, int]
    bytes: int
    created_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, shown: ShownProjection) -> Self:
        """Render a projection."""
        one = shown.projection
        return cls(
            projection_id=one.id,
            operation_id=one.operation_id,
            collection_id=one.collection_id,
            collection=one.collection_name,
            state=one.state,
            error_code=one.error_code,
            stale=shown.stale,
            degraded=one.degraded,
            config=dict(one.config),
            generation=one.generation,
            points=one.points,
            sampled=one.sampled,
            quality=dict(one.quality or {}),
            details=dict(one.details or {}),
            files=dict(one.files or {}),
            bytes=one.bytes,
            created_at=one.created_at,
            finished_at=one.finished_at,
        )


class ProjectionList(BaseModel):
    """Projections of a collection, newest first."""

    projections: list[ProjectionBody]


@router.post(
    "/collections/{collection}/projections",
    status_code=202,
    response_model=OperationBody,
    responses={200: {"model": ProjectionBody, "description": "The same projection of the same data is there already."}},
)
async def create_projection(
    collection: CollectionRef,
    body: ProjectionRequest,
    caller: CallerDep,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> Any:  # noqa: ANN401 — one of two bodies
    """Draw a map of a collection; the finished one is given (200) if nothing has changed since."""
    found = await services.projections.create(
        caller.user_id, collection, body.choice(), submission=body.submission(idempotency_key)
    )
    if isinstance(found, Operation):
        return OperationBody.of(found)
    return Response(ProjectionBody.of(found).model_dump_json(), media_type="application/json", status_code=200)


@router.get("/collections/{collection}/projections")
async def list_projections(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ProjectionList:
    """Maps of a collection, newest first."""
    found = await services.projections.list(caller.user_id, collection, limit=limit)
    return ProjectionList(projections=[ProjectionBody.of(one) for one in found])


@router.get("/projections/{projection}")
async def read_projection(projection: ProjectionRef, caller: CallerDep, services: ServicesDep) -> ProjectionBody:
    """One projection."""
    return ProjectionBody.of(await services.projections.get(caller.user_id, projection))


@router.get("/projections/{projection}/files/{name}", response_class=Response)
async def read_file(
    projection: ProjectionRef, name: FileRef, request: Request, caller: CallerDep, services: ServicesDep
) -> Response:
    """A file of a projection, whole or a range of it; compressed for who takes that and wants all of it."""
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "") and "range" not in request.headers
    file = await services.projections.find_file(caller.user_id, projection, name, compressed=takes_gzip)
    suffix = name[name.rfind(".") :]
    headers = {
        "ETag": f'"{file.version}-{name}{"-gzip" if file.compressed else ""}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if suffix == ".html":
        headers["Content-Security-Policy"] = SANDBOX
    if _is_known(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if file.compressed:
        headers["Content-Encoding"] = "gzip"
    return FileResponse(file.path, headers=headers, media_type=MEDIA_TYPES.get(suffix, "application/octet-stream"))


def _is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether one of the tags that the caller has is this one, weak or not."""
    if if_none_match is None:
        return False
    known = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return etag in known or "*" in known


@router.delete("/projections/{projection}", status_code=204)
async def delete_projection(projection: ProjectionRef, caller: CallerDep, services: ServicesDep) -> None:
    """Forget a projection, and remove its files."""
    await services.projections.delete(caller.user_id, projection)

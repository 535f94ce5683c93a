"""Projections: have one drawn, look at it, take it away."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel

from app.api.auth import CallerDep, ServicesDep
from app.api.headers import SANDBOX
from app.api.operations import (
    CollectionRef,
    IdempotencyKey,
    OperationBody,
    PriorityName,
    RunAfter,
    begin_projection,
)
from app.api.projection_body import ProjectionBody
from app.api.projection_config import ProjectionConfig
from app.domain.operations import Priority, Submission
from app.traces import current_trace_parent

router = APIRouter(tags=["projections"])

ProjectionRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
FileRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[a-zA-Z0-9._-]+$")]
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".parquet": "application/vnd.apache.parquet",
}


class ProjectionRequest(ProjectionConfig):
    """A projection, and when it begins."""

    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None

    def submission(self, idempotency_key: str | None) -> Submission:
        """How it is submitted."""
        return Submission(
            idempotency_key=idempotency_key,
            priority=Priority[self.priority.name],
            run_after=self.run_after,
            max_runtime_seconds=self.max_runtime_seconds,
            trace_parent=current_trace_parent(),
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
    submission = body.submission(idempotency_key)
    return await begin_projection(services, caller.user_id, collection, body, submission=submission)


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
@router.head("/projections/{projection}/files/{name}", response_class=Response, include_in_schema=False)
async def read_file(
    projection: ProjectionRef, name: FileRef, request: Request, caller: CallerDep, services: ServicesDep
) -> Response:
    """A file of a projection, whole or a range of it; compressed for who takes that and wants all of it."""
    takes_gzip = _takes_gzip(request.headers.get("accept-encoding", "")) and "range" not in request.headers
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


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether it is named, with any weight but 0."""
    for one in accept_encoding.lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() == "gzip":
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


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

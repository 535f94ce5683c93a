"""Files that callers send: in a form, listed, deleted. Large ones go by ``app/api/tus.py``."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from starlette.requests import ClientDisconnect

from app.api.auth import CallerDep, ServicesDep
from app.api.bodies import raise_body_limit
from app.api.multipart import FormReader
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody
from app.domain.identity import document_id
from app.domain.operations import Submission
from app.domain.uploads import Upload, UploadState
from app.traces import current_trace_parent

router = APIRouter(tags=["uploads"])

VERSION = "1.0.0"
"""Of the protocol of resumable uploads, tus."""
HEADERS_OF_A_PART = 8 * 1024
"""What a form has beside each of its files, at most."""
IDLE_SECONDS = 60.0
"""How long a sender may be silent."""
EXAMPLE_UPLOAD: JsonDict = {
    "id": "b53a2d5e-7f3d-4b0f-9f4e-0a6f3c8a9d21",
    "path": "guides/whales.pdf",
    "state": "complete",
    "size": 482133,
    "received": 482133,
    "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    "source_id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11",
    "document_id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33",
    "uri": "upload:///guides/whales.pdf",
    "created_at": "2026-03-01T09:30:00Z",
    "expires_at": None,
    "completed_at": "2026-03-01T09:30:02Z",
}
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "path": {"type": "string", "description": "Of the next file, if its name does not say it."},
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            }
        },
    }
}
Indexes = Annotated[bool, Query(alias="index", description="Whether that begins an operation that indexes it.")]


class UploadBody(BaseModel):
    """A file that was sent, or is being sent: ``received`` bytes are kept until ``expires_at`` at least."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_UPLOAD]})

    id: UUID
    path: str
    state: UploadState
    size: int | None
    received: int
    sha256: str | None = Field(description="Of one that is not complete, as its sender has announced it.")
    source_id: UUID
    document_id: UUID = Field(description="Of the document it becomes; of an archive there is none.")
    uri: str
    created_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """Render an upload."""
        same = ("id", "path", "state", "size", "received", "source_id", "created_at", "expires_at", "completed_at")
        return cls(
            uri=upload.uri,
            document_id=document_id(upload.collection_id, upload.uri),
            sha256=None if upload.sha256 is None else upload.sha256.hex(),
            **{name: getattr(upload, name) for name in same},
        )


class UploadsTaken(BaseModel):
    """What was sent, and the operation that indexes it, which may be one that waits already."""

    uploads: list[UploadBody]
    operation: OperationBody | None


class UploadPage(BaseModel):
    """A page; ``next`` is the ``after`` of the next one, null on the last."""

    uploads: list[UploadBody]
    next: str | None


class UploadPageRequest(BaseModel):
    """Which uploads, and which page of them."""

    state: UploadState | None = None
    path: str | None = Field(default=None, min_length=1, max_length=1000, pattern=r"^[^\x00]*$")
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(default=None, max_length=1100, pattern=r"^[^\x00]*$")


async def read_body(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; it ends where the client goes away, or is silent for too long."""
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(chunks, None)
        except (ClientDisconnect, TimeoutError):
            return
        if chunk is None:
            return
        yield chunk


@router.post("/collections/{collection}/documents", status_code=202, openapi_extra=FORM)
async def upload_documents(
    collection: CollectionRef,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    *,
    index: Indexes = True,
    idempotency_key: IdempotencyKey = None,
) -> UploadsTaken:
    """Send files, all of which are taken, or none. One of the same path as before takes its place."""
    limits = services.batches.limits
    raise_body_limit(request, limits.max_bytes + limits.max_files * HEADERS_OF_A_PART)
    form = FormReader(request.headers.get("content-type", ""), read_body(request))
    submission = Submission(idempotency_key=idempotency_key, trace_parent=current_trace_parent())
    async with services.batches.open(caller.user_id, collection) as batch:
        async for path, content in form.read_files():
            await batch.take(path, content, indexes=index)
        taken, operation = await batch.complete(submission=submission, indexes=index)
    return UploadsTaken(
        uploads=[UploadBody.of(upload) for upload in taken],
        operation=None if operation is None else OperationBody.of(operation),
    )


@router.get("/collections/{collection}/uploads")
async def list_uploads(
    collection: CollectionRef, page: Annotated[UploadPageRequest, Query()], caller: CallerDep, services: ServicesDep
) -> UploadPage:
    """Uploads of a collection by path, finished or not."""
    found, cursor = await services.uploads.list(
        caller.user_id, collection, state=page.state, path=page.path, limit=page.limit, after=page.after
    )
    return UploadPage(uploads=[UploadBody.of(upload) for upload in found], next=cursor)


@router.get("/collections/{collection}/uploads/{upload_id}")
async def read_upload(
    collection: CollectionRef, upload_id: UUID, caller: CallerDep, services: ServicesDep
) -> UploadBody:
    """One upload."""
    return UploadBody.of(await services.uploads.get(caller.user_id, collection, upload_id))


@router.delete(
    "/collections/{collection}/uploads/{upload_id}",
    status_code=202,
    response_model=OperationBody,
    responses={204: {"description": "Deleted, and nothing to index."}},
)
async def delete_upload(
    collection: CollectionRef,
    upload_id: UUID,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    *,
    index: Indexes = True,
) -> Response:
    """Delete an upload, finished or not. The operation in the answer takes its document out of the collection."""
    operation = await services.uploads.remove(caller.user_id, collection, upload_id, indexes=index)
    if operation is None or "tus-resumable" in request.headers:
        # clients of the protocol expect an empty answer
        return Response(status_code=204, headers={"Tus-Resumable": VERSION})
    return Response(OperationBody.of(operation).model_dump_json(), status_code=202, media_type="application/json")

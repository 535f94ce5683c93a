"""Documents of a collection, page by page."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef
from app.domain.documents import Document, DocumentState

router = APIRouter(tags=["documents"])

EXAMPLE_DOCUMENT: JsonDict = {
    "id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33",
    "uri": "file:///srv/handbook/scans/lease.pdf",
    "path": "scans/lease.pdf",
    "title": None,
    "state": "needs_ocr",
    "mime_type": "application/pdf",
    "size": 482133,
    "chunks": 0,
    "error_code": "needs_ocr",
    "error_message": "4 pages without text: a scan that needs OCR",
    "attempts": 1,
    "updated_at": "2026-03-01T09:30:05Z",
    "gone_since": None,
}


class DocumentBody(BaseModel):
    """A document, as the manifest knows it. ``size`` is bytes."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_DOCUMENT]})

    id: UUID
    uri: str
    path: str
    title: str | None
    state: DocumentState
    mime_type: str | None
    size: int
    chunks: int
    error_code: str | None
    error_message: str | None
    attempts: int
    updated_at: datetime | None
    gone_since: datetime | None = Field(description="Since when its source does not have it, if that marks documents.")

    @classmethod
    def of(cls, document: Document) -> Self:
        """Render a document."""
        return cls(
            id=document.id,
            uri=document.uri,
            path=document.path,
            title=document.title,
            state=document.state,
            mime_type=document.mime_type,
            size=document.size,
            chunks=document.chunk_count,
            error_code=document.error_code,
            error_message=document.error_message,
            attempts=document.attempts,
            updated_at=document.updated_at,
            gone_since=document.gone_since,
        )


class DocumentPage(BaseModel):
    """A page; ``next`` is the ``after`` of the next one, null on the last."""

    documents: list[DocumentBody]
    next: str | None


class PageRequest(BaseModel):
    """Which documents, and which page of them."""

    state: DocumentState | None = None
    source_id: UUID | None = None
    limit: int = Field(default=100, ge=1, le=100)
    after: str | None = Field(default=None, max_length=200)


@router.get("/collections/{collection}/documents")
async def list_documents(
    collection: CollectionRef, page: Annotated[PageRequest, Query()], caller: CallerDep, services: ServicesDep
) -> DocumentPage:
    """Documents of a collection in a stable order."""
    found = await services.collections.get(caller.user_id, collection)
    documents, cursor = await services.collections.list_documents(
        caller.user_id, found.id, state=page.state, source_id=page.source_id, limit=page.limit, after=page.after
    )
    return DocumentPage(documents=[DocumentBody.of(document) for document in documents], next=cursor)

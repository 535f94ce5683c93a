"""Documents of a collection, page by page."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef
from app.domain.documents import Document, DocumentState

router = APIRouter(tags=["documents"])


class DocumentBody(BaseModel):
    """A document, as the manifest knows it. ``size`` is bytes."""

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

"""The audit log: who changed what, when, from where."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import in_utc
from app.domain.audit import Actor, ActorKind, AuditEntry, AuditFilter

router = APIRouter(tags=["audit"])

EXAMPLE_ENTRY: JsonDict = {
    "id": "1041",
    "at": "2026-03-01T09:30:00Z",
    "action": "source.added",
    "actor": {
        "kind": "user",
        "id": "8a3f0f63-4a0b-4a53-a2a9-5fb8f3a8b1a0",
        "name": "local",
        "key_id": "7d0c9f0a-3b67-4c1c-9d0a-0f5f3f0f9a11",
        "key_name": "embedded",
        "address": "192.0.2.7",
        "request_id": "2b9c7d1f5e5d4a0e8c3c6f0f7a1b2c3d",
    },
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "collection": "handbook",
    "operation_id": None,
    "operation_kind": None,
    "subject": {"kind": "source", "id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11", "name": "file:///srv/handbook"},
    "before": None,
    "after": {"url": "file:///srv/handbook", "include": ["**/*.md"], "exclude": []},
}


class ActorBody(BaseModel):
    """Who did it; a worker has its name, the schedule and the server itself have none."""

    kind: ActorKind
    id: UUID | None
    name: str | None
    key_id: UUID | None
    key_name: str | None
    address: str | None
    request_id: str | None

    @classmethod
    def of(cls, actor: Actor) -> Self:
        """Render an actor."""
        return cls(
            kind=actor.kind,
            id=actor.id,
            name=actor.name,
            key_id=actor.key_id,
            key_name=actor.key_name,
            address=actor.address,
            request_id=actor.request_id,
        )


class SubjectBody(BaseModel):
    """What was changed, by the name it had."""

    kind: str
    id: UUID | None
    name: str | None


class AuditEntryBody(BaseModel):
    """One change. ``before`` and ``after`` are settings, without secrets."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ENTRY]})

    id: str
    at: datetime
    action: str
    actor: ActorBody
    collection_id: UUID | None
    collection: str | None
    operation_id: UUID | None
    operation_kind: str | None
    subject: SubjectBody
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Render an entry."""
        return cls(
            id=str(entry.id),
            at=entry.at,
            action=entry.action,
            actor=ActorBody.of(entry.actor),
            collection_id=entry.collection_id,
            collection=entry.collection_name,
            operation_id=entry.operation_id,
            operation_kind=entry.operation_kind,
            subject=SubjectBody(kind=entry.subject_kind, id=entry.subject_id, name=entry.subject_name),
            before=entry.before,
            after=entry.after,
        )


class AuditPage(BaseModel):
    """Changes, newest first; ``next`` is the ``after`` of the next page."""

    entries: list[AuditEntryBody]
    next: str | None


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)] | None
Text = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] | None


class AuditQuery(BaseModel):
    """Which changes are asked for; a collection by its id or name, also one that is gone."""

    model_config = ConfigDict(extra="forbid")

    collection: Text = None
    operation: UUID | None = None
    action: Text = None
    since: Moment = None
    until: Moment = None
    limit: int = Field(default=100, ge=1, le=1000)
    after: Text = None

    def wanted(self) -> AuditFilter:
        """The same as the services take it."""
        return AuditFilter(
            collection=self.collection,
            operation_id=self.operation,
            action=self.action,
            since=self.since,
            until=self.until,
        )


@router.get("/audit")
async def list_audit(query: Annotated[AuditQuery, Query()], caller: CallerDep, services: ServicesDep) -> AuditPage:
    """Changes to what is the caller's, newest first, also to collections that are gone."""
    entries, cursor = await services.audit.list(caller.user_id, query.wanted(), limit=query.limit, after=query.after)
    return AuditPage(entries=[AuditEntryBody.of(entry) for entry in entries], next=cursor)

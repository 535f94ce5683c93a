"""Who does what to whose data, as the audit log tells it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.domain.users import Caller


class ActorKind(StrEnum):
    """Whether a person did it, or a worker, the schedule, or the server itself, as when it starts."""

    USER = "user"
    WORKER = "worker"
    SCHEDULE = "schedule"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, and from where.

    Attributes:
        id: of the user.
        name: of the user or the worker.
        address: of the client that sent the request.
    """

    kind: ActorKind
    id: UUID | None = None
    name: str | None = None
    key_id: UUID | None = None
    key_name: str | None = None
    address: str | None = None
    request_id: str | None = None


SYSTEM = Actor(kind=ActorKind.SYSTEM)
SCHEDULE = Actor(kind=ActorKind.SCHEDULE)

_ACTOR: ContextVar[Actor] = ContextVar("vecloom_actor", default=SYSTEM)


def current_actor() -> Actor:
    """Who acts here: what a request, a job or a schedule does is done by the one it was set to."""
    return _ACTOR.get()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Have what the block does be done by ``actor``."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def name_actor(caller: Caller) -> None:
    """Have the rest of this request be done by its caller; the block of ``acting_as`` around it ends that."""
    _ACTOR.set(
        replace(
            _ACTOR.get(),
            kind=ActorKind.USER,
            id=caller.user_id,
            name=caller.user_name,
            key_id=caller.key_id,
            key_name=caller.key_name,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was changed, where it is no collection, source or operation."""

    kind: str
    id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. Names are those of that moment; what they name may be gone by now."""

    id: int
    at: datetime
    action: str
    actor: Actor
    collection_id: UUID | None
    collection_name: str | None
    operation_id: UUID | None
    operation_kind: str | None
    subject_kind: str
    subject_id: UUID | None
    subject_name: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are asked for; ``collection`` is an id or a name, also of one that is gone."""

    collection: str | None = None
    operation_id: UUID | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

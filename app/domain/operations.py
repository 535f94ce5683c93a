"""Operations: long pieces of work a user asked for."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID


class OperationKind(StrEnum):
    """What an operation does. Kinds are added with the version that can execute them.

    A kind that only a newer version knows is kept as it is, so that its rows can be listed and passed on.
    """

    INDEX = "INDEX"
    APPEND = "APPEND"
    VERIFY = "VERIFY"
    PLAN = "PLAN"
    REMOVE_SOURCE = "REMOVE_SOURCE"
    RETRY_DOCUMENTS = "RETRY_DOCUMENTS"
    REINDEX = "REINDEX"
    ROLLBACK = "ROLLBACK"
    BENCHMARK = "BENCHMARK"
    PROJECTION = "PROJECTION"
    DELETE = "DELETE"

    @classmethod
    def _missing_(cls, value: object) -> "OperationKind | None":
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = value, value
        return unknown


class Priority(IntEnum):
    """Which of several due operations starts first; one that waits long rises to the class above."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class OperationState(StrEnum):
    """``pending → running → completed | failed | cancelled``."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """No operation leaves a final state except by an explicit retry."""
        return self in FINAL_STATES


class ProductState(StrEnum):
    """Of what an operation makes and keeps in a row of its own: ``running → completed | failed | cancelled``.

    An operation that is retried makes it run again.
    """

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset({OperationState.COMPLETED, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A row of ``operations``. Times are aware UTC; ``progress`` is the last snapshot.

    Attributes:
        collection_id: None for what is planned for a collection that does not exist, and for what outlives its own;
            such an operation never writes.
        collection_name: of the collection, or as it was or would be named.
        collection_deleted: whether the collection is deleted, its rows still there or not.
        why_waiting: why it is not getting on, for a person; None if nothing holds it up.
        told_waiting: what its watchers were last told of that.
        writes: whether it is one of the collection's writers, of which one runs at a time.
        ran_seconds: how long its earlier attempts have run.
    """

    id: UUID
    user_id: UUID
    collection_id: UUID | None
    collection_name: str
    kind: OperationKind
    state: OperationState
    config: dict[str, Any]
    result: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    dispatch: int = 0
    attempt: int = 0
    failures: int = 0
    interruptions: int = 0
    lease_token: UUID | None = field(default=None, repr=False)
    worker: str | None = None
    why_waiting: str | None = None
    told_waiting: str | None = None
    priority: Priority = Priority.NORMAL
    writes: bool = True
    paused_at: datetime | None = None
    ran_seconds: float = 0.0
    trace_parent: str | None = None
    cancel_requested_at: datetime | None = None
    run_after: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    heartbeat_at: datetime | None = None
    collection_deleted: bool = False

    def require_collection(self) -> UUID:
        """Its collection; a ValueError if it has none, for then it is not of a kind that works on one."""
        if self.collection_id is None:
            raise ValueError(f"operation {self.id} ({self.kind}) has no collection")
        return self.collection_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one attempt to write: every write carries ``token``, and that of a lane its ``lane`` too."""

    operation_id: UUID
    token: UUID
    lane: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """What a renewed lease is told: whether its attempt shall stop for good, or at its next checkpoint."""

    cancel: bool
    pause: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneOffer:
    """What a lane of an operation works on: the pending documents that ``scan`` has seen in a source.

    The lane of a rebuild has neither: it works on what is pending of the generation.
    """

    source_id: UUID | None = None
    scan: UUID | None = None
    generation_id: UUID


class LaneChange(StrEnum):
    """What workers tell each other of the lanes of an operation: they are wanted, or one has ended."""

    OFFERED = "offered"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProfile:
    """What a worker says of itself: host and process id, version, the kinds it can execute, how many at once."""

    name: str
    version: str
    kinds: tuple[str, ...]
    slots: int
    lease_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process. ``is_alive`` says whether it has renewed its place within its lease.

    Attributes:
        name: host and process id.
        kinds: kinds of operation it can execute.
        holds_lock: whether its death is noticed by its session's lock, and not only by its lease.
        running: how many operations it executes now.
    """

    id: UUID
    name: str
    version: str
    kinds: tuple[str, ...]
    slots: int
    started_at: datetime
    heartbeat_at: datetime
    stopped_at: datetime | None
    is_alive: bool
    holds_lock: bool
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """How an operation is submitted, whatever its kind.

    Attributes:
        idempotency_key: the same key again gives the operation that exists already.
        run_after: not before this time.
        max_runtime_seconds: how long its attempts may run in all.
        trace_parent: the caller's W3C trace context, which the job goes on with.
    """

    idempotency_key: str | None = None
    priority: Priority = Priority.NORMAL
    run_after: datetime | None = None
    max_runtime_seconds: float | None = None
    trace_parent: str | None = None

    def limits(self) -> dict[str, float]:
        """What of it belongs into the operation's config."""
        return {} if self.max_runtime_seconds is None else {"max_runtime_seconds": self.max_runtime_seconds}


PLAIN = Submission()
"""Nothing special."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperation:
    """An operation to be created. ``writes`` says that it waits for its turn among the writers of its collection."""

    user_id: UUID
    collection_id: UUID | None
    kind: OperationKind
    config: dict[str, Any]
    submission: Submission = PLAIN
    writes: bool = True

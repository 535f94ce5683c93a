"""Operations: long pieces of work a user asked for."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class OperationKind(StrEnum):
    """What an operation does. Kinds are added with the version that can execute them."""

    INDEX = "INDEX"
    APPEND = "APPEND"
    VERIFY = "VERIFY"


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


FINAL_STATES = frozenset({OperationState.COMPLETED, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A row of ``operations``. Times are aware UTC; ``progress`` is the last snapshot."""

    id: UUID
    user_id: UUID
    collection_id: UUID
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
    cancel_requested_at: datetime | None = None
    run_after: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    heartbeat_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right of one attempt to write: every write carries ``token``."""

    operation_id: UUID
    token: UUID

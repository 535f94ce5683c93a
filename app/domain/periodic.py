"""Periodic jobs: what is done again and again, whoever asks for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

LIMIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a periodic job is given when it is done once more.

    Attributes:
        dry_run: only say what would be done.
        before: the result of the last round that was none of these, empty if there was none.
    """

    dry_run: bool = False
    before: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicJob:
    """Something that is done once in ``every_seconds`` over all workers.

    Attributes:
        does: one sentence for a person.
        work: does it and gives what came of it, as JSON. It is safe to be stopped anywhere and to be done again.
        limit_seconds: how long a round may take; it is stopped then.
        has_dry_run: whether ``work`` heeds ``dry_run``.
        overlaps: whether a round may begin while another one is under way.
    """

    name: str
    every_seconds: float
    does: str
    work: Callable[[Round], Awaitable[Mapping[str, Any]]]
    limit_seconds: float = LIMIT_SECONDS
    has_dry_run: bool = True
    overlaps: bool = False


class Trigger(StrEnum):
    """Why a round was done."""

    SCHEDULE = "schedule"
    HAND = "hand"


class RoundState(StrEnum):
    """``running → completed | failed``."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One round of a periodic job, as it is remembered."""

    id: UUID
    job: str
    trigger: Trigger
    dry_run: bool
    state: RoundState
    worker: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicJobStatus:
    """How it stands with a periodic job.

    Attributes:
        last_run_at: when the last round began, also one that is under way.
        failures: how many rounds in a row have failed.
        missed: whether none has succeeded for three periods, although somebody could have done it.
    """

    name: str
    every_seconds: float
    next_run_at: datetime
    is_running: bool
    worker: str | None
    last_run_at: datetime | None
    last_success_at: datetime | None
    last_seconds: float | None
    last_result: dict[str, Any] | None
    last_error_code: str | None
    last_error_message: str | None
    failures: int
    missed: bool

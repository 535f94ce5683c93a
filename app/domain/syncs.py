"""How a source is kept up to date: what becomes of documents that are gone, and when it is looked at again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

SHORTEST_INTERVAL_SECONDS = 60
LONGEST_INTERVAL_SECONDS = 366 * 86_400


class AppendMode(StrEnum):
    """What an APPEND makes of documents that its source does not have any more."""

    FULL = "full"
    INCREMENTAL = "incremental"


class OnGone(StrEnum):
    """What a source wants of its documents that a full APPEND does not find any more."""

    REMOVE = "remove"
    KEEP = "keep"
    MARK = "mark"


class Trigger(StrEnum):
    """Who wanted an APPEND or a sync run."""

    MANUAL = "manual"
    SCHEDULE = "schedule"


def on_gone_of(config: Mapping[str, Any]) -> OnGone:
    """What the config of a source says; sources of before say nothing."""
    return OnGone(config.get("on_gone", OnGone.REMOVE))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendChoice:
    """How an APPEND treats documents that are gone; ``confirm_removals`` lets it remove most of a source."""

    mode: AppendMode = AppendMode.FULL
    confirm_removals: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """What the config of an operation says."""
        return cls(
            mode=AppendMode(config.get("mode", AppendMode.FULL)),
            confirm_removals=config.get("confirm_removals", False),
        )

    def config(self) -> dict[str, Any]:
        """The same for a config."""
        confirmed = {"confirm_removals": True} if self.confirm_removals else {}
        return {"mode": self.mode.value, **confirmed}


FULL = AppendChoice()
"""Nothing special."""


class SyncRunState(StrEnum):
    """``running → completed | failed | cancelled``; one failed source makes the run ``failed``."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """How often a collection's sources are looked at.

    Attributes:
        next_due: when the next sync run is to begin; it begins later while the collection is busy or paused.
    """

    collection_id: UUID
    interval_seconds: int
    mode: AppendMode
    paused_at: datetime | None
    next_due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSync:
    """A source, as continuous sync sees it.

    Attributes:
        failures: of its scheduled or manual sync runs, one after the other; 0 once any APPEND has completed.
        next_try: no scheduled sync run takes it before; None if nothing holds it back.
    """

    source_id: UUID
    url: str
    on_gone: OnGone
    last_run_at: datetime | None
    failures: int
    error_code: str | None
    error_message: str | None
    next_try: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRunSource:
    """What a sync run did with one source.

    Attributes:
        state: ``running``, that of its ended operation, or ``skipped`` because of earlier failures.
        result: the counts of its operation's result.
    """

    source_id: UUID
    url: str
    operation_id: UUID | None
    state: str
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRun:
    """One look at a collection's sources: an APPEND for each that may be tried."""

    id: UUID
    collection_id: UUID
    trigger: Trigger
    mode: AppendMode
    confirm_removals: bool
    state: SyncRunState
    started_at: datetime
    finished_at: datetime | None
    sources: tuple[SyncRunSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStatus:
    """All there is to say about the continuous sync of a collection."""

    collection_id: UUID
    collection_name: str
    settings: SyncSettings | None
    why_waiting: str | None
    running: SyncRun | None
    last_run: SyncRun | None
    sources: tuple[SourceSync, ...]

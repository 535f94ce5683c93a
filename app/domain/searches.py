"""What is remembered of searches: what became of them, and what was asked where a collection wants that."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.points import SearchMode

LONGEST_KEPT_DAYS = 90
ENTRIES_PER_DAY = 10_000
"""Of a collection in a day, so that a log can always be deleted at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChoice:
    """Which searches of a collection are written down, and how.

    Attributes:
        share: of the searches, 0 to 1, that chance chooses.
        key: hashes who asked; another log has another one.
    """

    share: float
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLog:
    """The log of a collection's searches.

    Attributes:
        share: of the searches, 0 to 1, that chance chooses.
        keep_days: how long an entry is kept.
        full_today: whether it takes no more entries before tomorrow.
    """

    share: float
    keep_days: int
    full_today: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLogCounts:
    """What a log holds; ``callers`` are different users, whoever they are."""

    entries: int = 0
    queries: int = 0
    callers: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLogStatus:
    """All there is to say about the log of a collection; ``log`` is None if it has none."""

    collection_id: UUID
    collection_name: str
    log: SearchLog | None
    counts: SearchLogCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEntry:
    """A search, as it is written down.

    Attributes:
        caller: hash of the user who asked.
        query: as it was asked; it is cleaned before it is stored.
        at: by the monotonic clock of this process.
    """

    collection_id: UUID
    generation_id: UUID
    caller: bytes
    query: str = field(repr=False)
    mode: SearchMode
    limit: int
    hits: int
    took_ms: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchCounts:
    """What became of some searches: ``failed`` ones have no answer, ``empty`` ones an answer without hits."""

    searches: int = 0
    empty: int = 0
    failed: int = 0

    @property
    def answered(self) -> int:
        """Those that have an answer."""
        return self.searches - self.failed

    @property
    def with_hits(self) -> int:
        """Those that have found something."""
        return self.answered - self.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHealth:
    """What became of the searches of a collection in the last ``days``.

    Attributes:
        milliseconds: of all that have an answer.
    """

    days: int
    counts: SearchCounts
    milliseconds: float

    @property
    def average_ms(self) -> float:
        """Of an answer; 0 if there is none."""
        return self.milliseconds / self.counts.answered if self.counts.answered else 0.0


RollBack = Callable[[UUID, str], Awaitable[None]]
"""Has a collection, by its id, go back to the generation before its active one, and says why.

It is called again if its process ended before it returned: then a second call must find what the first one began.
"""

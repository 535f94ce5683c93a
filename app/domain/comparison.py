"""One query asked of two generations."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.collections import Generation
from app.domain.durations import format_duration
from app.domain.errors import ConflictError, NotFoundError
from app.domain.points import Hit, SearchMode


class Change(StrEnum):
    """What has become of a document from the old ranking to the new one."""

    UP = "up"
    DOWN = "down"
    SAME = "same"
    NEW = "new"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedHit:
    """One document as both sides show it; at least one of them does.

    ``change`` is None where a side could not be asked.
    """

    change: Change | None
    old: Hit | None
    new: Hit | None

    @property
    def hit(self) -> Hit:
        """The newer side's, if it has one."""
        hit = self.new or self.old
        if hit is None:
            raise AssertionError("unreachable: a hit of neither side")
        return hit


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedQuery:
    """What both sides have found, new ranks first, then what was lost; scores are None where a side was not asked."""

    query: str
    overlap: float | None
    rank_biased_overlap: float | None
    hits: Sequence[ComparedHit]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSide:
    """One of the generations; the error says why it could not be asked."""

    generation: Generation
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Some queries on the older generation, ``old``, and on the newer one."""

    mode: SearchMode
    limit: int
    old: ComparedSide
    new: ComparedSide
    queries: Sequence[ComparedQuery]


SHOWN = 10
"""Names in a message; the newest ones."""


class NothingToCompareError(ConflictError):
    """The collection has no complete generation beside the active one."""

    code = "nothing_to_compare"

    def __init__(self, collection: str, *, kept_seconds: float, building: str | None) -> None:
        kept = f"one that is replaced is kept for {format_duration(int(kept_seconds))}"
        named = f"; {building} is being built, and is compared if it is named" if building else ""
        super().__init__(f"collection {collection!r} has no other generation to compare with; {kept}{named}")


class GenerationUnknownError(NotFoundError):
    """The collection has no such generation, or it was dropped; ``known`` are those there are, oldest first."""

    code = "generation_unknown"

    def __init__(self, generation: str, known: Sequence[str]) -> None:
        shown = ", ".join(known[-SHOWN:])
        super().__init__(f"the collection has no generation {generation!r}, or it was dropped; there are: {shown}")

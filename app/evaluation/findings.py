"""What was counted on the way to a judgment; holds numbers and the first few names, however much was looked at."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.evaluation.bootstrap import Interval

SHOWN = 10
KNOWN_ITEM = "known_item"
"""How the names of measures begin that queries made of documents give."""


@dataclass(slots=True)
class Found:
    """How many things were found, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, thing: object) -> None:
        """Found one more."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(str(thing))

    def to_dict(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {"count": self.count, "first": list(self.first)}


@dataclass(slots=True)
class Coverage:
    """How much text of each document both generations have, in characters that are no white space."""

    documents: int = 0
    lost: Found = field(default_factory=Found)
    gained: Found = field(default_factory=Found)
    old_characters: int = 0
    new_characters: int = 0
    smallest: float = 1.0
    _least: list[tuple[float, str]] = field(default_factory=list)

    def add(self, document: object, *, old: int, new: int) -> None:
        """Compare one document; a generation that does not have it has nothing of it."""
        self.documents += 1
        self.old_characters += old
        self.new_characters += new
        if old == new:
            return
        if new == 0:
            self.lost.add(document)
        elif old == 0:
            self.gained.add(document)
        share = min(old, new) / max(old, new)
        self.smallest = min(self.smallest, share)
        keep = heapq.heappush if len(self._least) < SHOWN else heapq.heappushpop
        keep(self._least, (-share, str(document)))

    @property
    def total(self) -> float:
        """The new characters as a share of the old ones."""
        return self.new_characters / self.old_characters if self.old_characters else 1.0

    def worst(self) -> list[dict[str, Any]]:
        """The documents that differ most, worst first."""
        return [
            {"document_id": document, "share": round(-share, 4)}
            for share, document in sorted(self._least, key=lambda item: -item[0])
        ]


@dataclass(slots=True)
class Shape:
    """What vectors are, seen as rows of numbers."""

    dimension: int
    expected_dimension: int
    not_finite: Found = field(default_factory=Found)
    zero: Found = field(default_factory=Found)
    not_unit: Found = field(default_factory=Found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """Whether the model is the one that the generation was begun with."""

    passed: bool
    words: str
    fingerprint: str


@dataclass(slots=True)
class Meaning:
    """Texts that were embedded again and compared with what is stored.

    ``refused`` counts those the model does not take; ``error_code`` says why none could be embedded.
    """

    compared: int = 0
    smallest: float = 1.0
    wrong: Found = field(default_factory=Found)
    refused: int = 0
    error_code: str | None = None

    def add(self, point: object, cosine: float, *, least: float) -> None:
        """One more; a cosine that is no number is as wrong as one can be."""
        self.compared += 1
        value = cosine if cosine == cosine else -1.0  # noqa: PLR0124 — NaN is the one number that differs from itself
        self.smallest = min(self.smallest, value)
        if value < least:
            self.wrong.add(point)


@dataclass(slots=True)
class Recut:
    """Documents whose text was cut again: how many of their chunks came out the same.

    ``error_code`` says why that could not be done.
    """

    documents: int = 0
    total: int = 0
    same: int = 0
    differing: Found = field(default_factory=Found)
    error_code: str | None = None

    def add(self, document: object, *, same: int, total: int) -> None:
        """One more document."""
        self.documents += 1
        self.same += same
        self.total += total
        if same < total:
            self.differing.add(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far two rankings agree over some queries; ``moved`` describes the queries that agree least."""

    queries: int
    mean: float
    moved: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """By how much the new side is better, by measure; ``pooled`` over all modes of search, and for each of them."""

    queries: int
    pooled: Mapping[str, Interval]
    by_mode: Mapping[str, Interval] = field(default_factory=dict)

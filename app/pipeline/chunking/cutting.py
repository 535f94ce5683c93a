"""Chooses among the boundaries of a text.

A text that is too large is cut at its best boundary, and so are its two parts. Since a boundary's rank depends on the
text around it alone, an edit moves the cuts of the part it is in and of hardly any other: those of all larger parts
are found again. See ``docs/decisions/0015-cuts-follow-from-the-text-around-them.md``.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from app.pipeline.chunking.boundaries import Boundary, Find, rank_places
from app.pipeline.chunking.tokens import Measured, Span

LEAST = 0.6
"""Share of a chunk that a part must have."""
LEAST_OF_TWO = 0.3
"""The same where two chunks are all."""
MUCH = 8
"""By how much a place must be better for a chunk more: a heading or a function than a line, a paragraph than a word."""


class Part:
    """A span of a text, with the places where it may be cut.

    Args:
        text: the whole text.
        span: start and end of the part in it.
        places: where inside the span it may be cut.
        measured: the sizes of the text's parts.
    """

    def __init__(self, text: str, span: tuple[int, int], places: Sequence[Boundary], measured: Measured) -> None:
        self._text = text
        self.edges = [span[0], *(place.at for place in places), span[1]]
        self.filled: list[int] = [0, *accumulate(measured.count(pairwise(self.edges)))]
        self.places = places
        self.ranks: NDArray[np.int64] = np.array([0, *rank_places(text, places), 0], dtype=np.int64)

    def refine(self, first: int, last: int, find: Find, measured: Measured) -> "Part":
        """What lies between two edges, with finer places between them."""
        places: list[Boundary] = []
        for edge in range(first, last):
            start, end = self.edges[edge], self.edges[edge + 1]
            if edge > first:
                places.append(self.places[edge - 1])
            places += [Boundary(start + place.at, place.strength) for place in find(self._text[start:end])]
        return Part(self._text, (self.edges[first], self.edges[last]), places, measured)

    def size(self, first: int, last: int) -> int:
        """Size between two edges."""
        return self.filled[last] - self.filled[first]

    def best(self, first: int, last: int, *, least: int, most: int) -> int | None:
        """The best edge with at least ``least`` and at most ``most`` before it, seen from ``first``."""
        begin = max(first + 1, bisect_left(self.filled, self.filled[first] + least))
        end = min(last, bisect_right(self.filled, self.filled[first] + most))
        if begin >= end:
            return None
        return begin + int(self.ranks[begin:end].argmax())

    def choose(self, first: int, last: int, limit: int) -> int | None:
        """Where to cut what lies between two edges; None if no edge leaves enough on both sides.

        What could be two chunks becomes two, unless the only places for that are much worse than those for three.
        """
        total = self.size(first, last)
        least = int(limit * LEAST)
        best = self.best(first, last, least=least, most=total - least)
        if total > 2 * limit:
            return best
        tiny = int(limit * LEAST_OF_TWO)
        of_two = self.best(first, last, least=max(tiny, total - limit), most=min(limit, total - tiny))
        if best is None or of_two is None:
            return best if of_two is None else of_two
        return best if self.strength(best) - self.strength(of_two) >= MUCH else of_two

    def strength(self, edge: int) -> int:
        """How good a place is, without its hash."""
        return int(self.ranks[edge]) >> 32


def cut_text(
    text: str, span: Span, places: Sequence[Boundary], finer: Sequence[Find], *, limit: int, measured: Measured
) -> list[Span]:
    """Spans that follow on each other, each of at most ``limit``.

    Where ``places`` has none to offer, those of ``finer`` are asked for, from coarse to fine.
    """
    starts = []
    whole = Part(text, span, [place for place in places if span[0] < place.at < span[1]], measured)
    waiting = [(whole, 0, len(whole.edges) - 1, 0)]
    while waiting:
        part, first, last, level = waiting.pop()
        chosen = None
        if part.size(first, last) > limit and last - first > 1:
            chosen = part.choose(first, last, limit)
        if part.size(first, last) <= limit:
            starts.append(part.edges[first])
        elif chosen is not None:
            waiting += [(part, chosen, last, level), (part, first, chosen, level)]
        elif level < len(finer):
            refined = part.refine(first, last, finer[level], measured)
            waiting.append((refined, 0, len(refined.edges) - 1, level + 1))
        elif last - first > 1:
            middle = (first + last) // 2
            waiting += [(part, middle, last, level), (part, first, middle, level)]
        else:
            starts.append(part.edges[first])
    return list(pairwise([*starts, span[1]]))

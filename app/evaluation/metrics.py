"""Scores of rankings, for many queries at once.

A ranking is a row of document numbers, best first, filled up with ``NOBODY``; all rows have the same length.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
Scores = NDArray[np.float64]
NOBODY = -1
PERSISTENCE = 0.9
"""The first ten ranks have 86 % of the weight."""

Item = TypeVar("Item", bound=Hashable)
"""What is ranked, as the id of a document."""


def number_rankings(rankings: Sequence[Sequence[Item]], *, depth: int, known: dict[Item, int]) -> Ranks:
    """Rankings as rows of numbers; ``known`` keeps who has which, and is added to."""
    rows = np.full((len(rankings), depth), NOBODY, dtype=np.int64)
    for row, ranking in zip(rows, rankings, strict=True):
        numbers = [known.setdefault(item, len(known)) for item in ranking[:depth]]
        row[: len(numbers)] = numbers
    return rows


def grade_rankings(rankings: Sequence[Sequence[Item]], judged: Sequence[Mapping[Item, float]], *, depth: int) -> Scores:
    """The grade of each ranked document, shape ``(queries, depth)``; 0 where nobody judged or nothing was found."""
    grades = np.zeros((len(rankings), depth), dtype=np.float64)
    for row, ranking, known in zip(grades, rankings, judged, strict=True):
        found = [known.get(item, 0.0) for item in ranking[:depth]]
        row[: len(found)] = found
    return grades


def best_grades(judged: Sequence[Mapping[Item, float]], *, depth: int) -> Scores:
    """The grades of the best ranking there could be, shape ``(queries, depth)``."""
    best = np.zeros((len(judged), depth), dtype=np.float64)
    for row, known in zip(best, judged, strict=True):
        grades = sorted(known.values(), reverse=True)[:depth]
        row[: len(grades)] = grades
    return best


def reciprocal_ranks(grades: Scores) -> Scores:
    """1 / the rank of the first relevant document of each row; 0 where there is none."""
    relevant = grades > 0
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1.0), 0.0)


def ndcg(grades: Scores, best: Scores, *, k: int) -> Scores:
    """nDCG@k of each row, with linear gain; 0 where nothing is relevant."""
    gained, possible = _dcg(grades[:, :k]), _dcg(best[:, :k])
    return np.divide(gained, possible, out=np.zeros_like(gained), where=possible > 0)


def _dcg(grades: Scores) -> Scores:
    discounts = 1.0 / np.log2(np.arange(2, grades.shape[1] + 2))
    gained: Scores = np.maximum(grades, 0.0) @ discounts
    return gained


def overlaps(left: Ranks, right: Ranks) -> Scores:
    """The share of the longer ranking that both have, whatever the order; 1 where both are empty."""
    shared = ((left[:, :, None] == right[:, None, :]) & (left != NOBODY)[:, :, None]).any(axis=2).sum(axis=1)
    longer = np.maximum((left != NOBODY).sum(axis=1), (right != NOBODY).sum(axis=1))
    return np.where(longer > 0, shared / np.maximum(longer, 1), 1.0)


def rank_biased_overlaps(left: Ranks, right: Ranks, *, persistence: float = PERSISTENCE) -> Scores:
    """How far two rankings agree, where the first ranks count most; 1 where both are empty.

    The extrapolated measure of Webber, Moffat and Zobel (2010, equation 32), which takes rankings of different lengths.
    ``persistence`` is the chance that a reader goes on to the next rank.
    """
    depth = left.shape[1]
    both = (left[:, :, None] == right[:, None, :]) & (left != NOBODY)[:, :, None]
    place = np.arange(depth)
    # an item is shared from the later one of its two places on
    begins = np.maximum(place[:, None], place[None, :])
    shared = np.stack([both[:, begins <= last].sum(axis=1) for last in place], axis=1).astype(np.float64)
    lengths = np.stack([(side != NOBODY).sum(axis=1) for side in (left, right)])
    shorter, longer = lengths.min(axis=0), lengths.max(axis=0)
    rows = np.arange(len(left))
    at_shorter = np.where(shorter > 0, shared[rows, shorter - 1], 0.0)
    at_longer = np.where(longer > 0, shared[rows, longer - 1], 0.0)
    ranks = place + 1.0
    # beyond the end of the shorter one it is taken to go on as before
    guessed = at_shorter[:, None] * (ranks - shorter[:, None]).clip(min=0) / np.maximum(shorter, 1)[:, None]
    weights = persistence**ranks * (ranks <= longer[:, None])
    seen = ((shared + guessed) / ranks * weights).sum(axis=1) * (1 - persistence) / persistence
    last_agreement = (at_longer - at_shorter) / np.maximum(longer, 1) + at_shorter / np.maximum(shorter, 1)
    return np.where(longer > 0, seen + last_agreement * persistence**longer, 1.0)


def recall_by_score(found: Scores, exact: Scores) -> Scores:
    """The share of each exact ranking's points that an approximate one has an equal for.

    Scores are compared, not points: of points that are equally near any may be found. Both have shape ``(n, k)``, best
    first, filled up with minus infinity.
    """
    wanted = np.isfinite(exact)
    last = np.where(wanted, exact, np.inf).min(axis=1, keepdims=True)
    hits = (found >= last - SCORE_TOLERANCE).sum(axis=1)
    total = wanted.sum(axis=1)
    return np.where(total > 0, np.minimum(hits, total) / np.maximum(total, 1), 1.0)


SCORE_TOLERANCE = 1e-5
"""Of cosines: what float32 sums in another order differ by, and more than that."""

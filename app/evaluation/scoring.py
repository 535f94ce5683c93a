"""Scores of many rankings at once, equal to those of trec_eval and ir-measures.

Relevant is a document with a grade of 1 or more. Grades of 0 and less have no gain, but such documents are judged. A
query that finds nothing has 0 in every measure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from app.evaluation.measures import Measure, MeasureKind
from app.evaluation.metrics import NOBODY, Ranks, Scores

SMALLEST_EXPONENT = -2000
"""Of a power of two; it is 0 long before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Scores of rankings by the names of measures.

    Attributes:
        by_measure: shape ``(queries,)`` each.
        countable: shape ``(queries,)``: queries with a relevant document. A mean over others says nothing.
    """

    by_measure: Mapping[str, Scores]
    countable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graded:
    """Rankings with what is known of their documents.

    Attributes:
        grades: shape ``(queries, depth)``; 0 where nobody judged.
        judged, filled: of the same shape: whether somebody judged, and whether there is a document at all.
        best: the relevant documents of all queries, best first within each: their queries, places from 0, and grades.
        relevant: how many each query has.
    """

    grades: NDArray[np.int64]
    judged: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    best: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    relevant: NDArray[np.int64]

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Where a relevant document is."""
        return self.grades > 0


def score_rankings(
    ranks: Ranks | NDArray[np.int32], judged: Sequence[Mapping[int, int]], measures: Sequence[Measure]
) -> Scored:
    """Scores of rankings, with ties in the order given.

    Args:
        ranks: document numbers, best first, shape ``(queries, depth)``, filled up with ``NOBODY``. Of a document that
            is ranked twice the first place counts, and the rest moves up. (trec_eval refuses such runs; pytrec_eval
            and ir-measures keep the last of its scores.)
        judged: grades by document number, from 0, for each query; also of documents that no ranking has.
        measures: what is wanted.
    """
    graded = _grade(drop_repeated(ranks.astype(np.int64, copy=False)), judged)
    values = {measure.name: SCORES[measure.kind](graded, measure.k) for measure in measures}
    return Scored(by_measure=values, countable=graded.relevant > 0)


def drop_repeated(ranks: Ranks) -> Ranks:
    """Rankings in which each document stands once, where it stood first, and without gaps."""
    order = np.argsort(ranks, axis=1, kind="stable")
    ordered = np.take_along_axis(ranks, order, axis=1)
    again = np.zeros(ranks.shape, dtype=np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    dropped = np.empty_like(again)
    np.put_along_axis(dropped, order, again, axis=1)
    dropped |= ranks < 0
    kept = np.where(dropped, NOBODY, ranks)
    return np.take_along_axis(kept, np.argsort(dropped, axis=1, kind="stable"), axis=1)


def _grade(ranks: Ranks, judged: Sequence[Mapping[int, int]]) -> _Graded:
    """Raises ValueError if there are not as many queries on both sides, or a judged document has a number below 0."""
    if len(ranks) != len(judged):
        raise ValueError(f"{len(ranks)} rankings, and judgments of {len(judged)} queries")
    counts = np.array([len(known) for known in judged], dtype=np.int64)
    total = int(counts.sum())
    documents = np.fromiter(chain.from_iterable(judged), dtype=np.int64, count=total)
    grades = np.fromiter(chain.from_iterable(known.values() for known in judged), dtype=np.int64, count=total)
    if documents.min(initial=0) < 0:
        raise ValueError("a judged document has a number below 0")
    rows = np.repeat(np.arange(len(judged)), counts)
    span = max(int(documents.max(initial=0)), int(ranks.max(initial=0))) + 1
    # one sorted list of all pairs of query and document, which ends with one that is nobody's
    keys = np.append(rows * span + documents, np.iinfo(np.int64).max)
    order = np.argsort(keys)
    keys, known_grades = keys[order], np.append(grades, 0)[order]
    filled = ranks >= 0
    wanted = np.arange(len(ranks))[:, None] * span + ranks
    at = np.searchsorted(keys, wanted)
    is_judged = (keys[at] == wanted) & filled
    return _Graded(
        grades=np.where(is_judged, known_grades[at], 0),
        judged=is_judged,
        filled=filled,
        best=_order_best(rows[grades > 0], grades[grades > 0]),
        relevant=np.bincount(rows[grades > 0], minlength=len(judged)),
    )


def _order_best(
    rows: NDArray[np.int64], grades: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    order = np.lexsort((-grades, rows))
    rows = rows[order]
    return rows, np.arange(len(rows)) - np.searchsorted(rows, rows), grades[order]


# --- measures ---------------------------------------------------------------------------------------


def _precision(graded: _Graded, k: int | None) -> Scores:
    values: Scores = graded.hits[:, :k].sum(axis=1) / (k or graded.hits.shape[1])
    return values


def _recall(graded: _Graded, k: int | None) -> Scores:
    return _divide(graded.hits[:, :k].sum(axis=1), graded.relevant)


def _f1(graded: _Graded, k: int | None) -> Scores:
    precision, recall = _precision(graded, k), _recall(graded, k)
    return _divide(2 * precision * recall, precision + recall)


def _reciprocal_rank(graded: _Graded, k: int | None) -> Scores:
    hits = graded.hits[:, :k]
    values: Scores = (hits / np.arange(1.0, hits.shape[1] + 1)).max(axis=1, initial=0.0)
    return values


def _average_precision(graded: _Graded, k: int | None) -> Scores:
    hits = graded.hits[:, :k]
    precisions = hits.cumsum(axis=1) / np.arange(1.0, hits.shape[1] + 1)
    return _divide((precisions * hits).sum(axis=1), graded.relevant)


def _ndcg(graded: _Graded, k: int | None) -> Scores:
    gains = np.maximum(graded.grades, 0).astype(np.float64)
    return _normalised(graded, k, gains=gains, best=graded.best[2].astype(np.float64))


def _ndcg_exp(graded: _Graded, k: int | None) -> Scores:
    """Gains of 2^grade - 1, all of a query divided by the same power of two, so that none is too large for a number."""
    rows, places, grades = graded.best
    top = np.zeros(len(graded.grades), dtype=np.int64)
    top[rows[places == 0]] = grades[places == 0]
    gains = _power(np.maximum(graded.grades, 0) - top[:, None]) - _power(-top)[:, None]
    return _normalised(graded, k, gains=gains, best=_power(grades - top[rows]) - _power(-top[rows]))


def _power(exponents: NDArray[np.int64]) -> Scores:
    powers: Scores = np.ldexp(1.0, np.maximum(exponents, SMALLEST_EXPONENT))
    return powers


def _normalised(graded: _Graded, k: int | None, *, gains: Scores, best: Scores) -> Scores:
    rows, places, _ = graded.best
    gains = gains[:, :k]
    gained = gains @ _discounts(gains.shape[1])
    counts = places < (k or len(places))
    discounts = _discounts(int(places.max(initial=0)) + 1)
    possible = np.bincount(rows[counts], weights=best[counts] * discounts[places[counts]], minlength=len(gains))
    return _divide(gained, possible)


def _discounts(ranks: int) -> Scores:
    discounts: Scores = 1.0 / np.log2(np.arange(2.0, ranks + 2))
    return discounts


def _success(graded: _Graded, k: int | None) -> Scores:
    values: Scores = np.asarray(graded.hits[:, :k].any(axis=1), dtype=np.float64)
    return values


def _judged(graded: _Graded, k: int | None) -> Scores:
    return _divide(graded.judged[:, :k].sum(axis=1), graded.filled[:, :k].sum(axis=1))


def _divide(parts: NDArray[np.int64] | Scores, wholes: NDArray[np.int64] | Scores) -> Scores:
    """Quotients; 0 where there is no whole."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)


SCORES: Mapping[MeasureKind, Callable[[_Graded, int | None], Scores]] = MappingProxyType(
    {
        MeasureKind.PRECISION: _precision,
        MeasureKind.RECALL: _recall,
        MeasureKind.F1: _f1,
        MeasureKind.MRR: _reciprocal_rank,
        MeasureKind.MAP: _average_precision,
        MeasureKind.NDCG: _ndcg,
        MeasureKind.NDCG_EXP: _ndcg_exp,
        MeasureKind.SUCCESS: _success,
        MeasureKind.JUDGED: _judged,
    }
)

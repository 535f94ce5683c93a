"""Scores equal those of ir-measures, and the corner cases are what they should be."""

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, nDCG

from app.evaluation.bootstrap import mean_by_group, mean_interval
from app.evaluation.metrics import (
    NOBODY,
    Scores,
    best_grades,
    grade_rankings,
    ndcg,
    number_rankings,
    overlaps,
    recall_by_score,
    reciprocal_ranks,
)

Judgments = list[dict[str, float]]


def make_run(seed: int, queries: int = 40) -> tuple[list[list[str]], Judgments]:
    """Rankings of up to ten documents, and judgments that know some of them."""
    random = np.random.default_rng(seed)
    names = [f"d{number}" for number in range(30)]
    rankings, judged = [], []
    for _ in range(queries):
        rankings.append([names[number] for number in random.permutation(30)[: random.integers(0, 11)]])
        known = random.permutation(30)[: random.integers(1, 12)]
        judged.append({names[number]: float(random.integers(0, 4)) for number in known})
    return rankings, judged


def by_ir_measures(
    measure: Any, rankings: Sequence[Sequence[str]], judged: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """The reference's score of each query."""
    qrels = [
        ir_measures.Qrel(str(query), document, int(grade))
        for query, known in enumerate(judged)
        for document, grade in known.items()
    ]
    run = [
        ir_measures.ScoredDoc(str(query), document, -float(rank))
        for query, ranking in enumerate(rankings)
        for rank, document in enumerate(ranking)
    ]
    return {found.query_id: found.value for found in ir_measures.iter_calc([measure], qrels, run)}


@pytest.mark.parametrize("seed", range(5))
def test_ndcg_equals_the_reference(seed: int) -> None:
    """nDCG@10 of each query, with grades 0 to 3."""
    rankings, judged = make_run(seed)
    expected = by_ir_measures(nDCG @ 10, rankings, judged)

    scores = ndcg(grade_rankings(rankings, judged, depth=10), best_grades(judged, depth=10), k=10)

    assert scores == pytest.approx([expected[str(query)] for query in range(len(rankings))], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_reciprocal_ranks_equal_the_reference(seed: int) -> None:
    """1 / rank of the first relevant document within ten."""
    rankings, judged = make_run(seed)
    expected = by_ir_measures(RR @ 10, rankings, judged)

    scores = reciprocal_ranks(grade_rankings(rankings, judged, depth=10))

    assert scores == pytest.approx([expected[str(query)] for query in range(len(rankings))], abs=1e-9)


def test_overlap_is_of_the_longer_ranking() -> None:
    """Order does not count; what only one side has does, and nothing equals nothing."""
    old: list[list[str]] = [["a", "b", "c"], ["a", "b"], ["a"], [], []]
    new: list[list[str]] = [["c", "a", "b"], ["b", "x"], ["a", "b", "c", "d"], [], ["a"]]
    known: dict[str, int] = {}

    left, right = (number_rankings(side, depth=4, known=known) for side in (old, new))

    assert overlaps(left, right).tolist() == [1.0, 0.5, 0.25, 1.0, 0.0]
    assert left[4].tolist() == [NOBODY] * 4


def scores(*rows: Sequence[float]) -> Scores:
    """Rows of scores, filled up."""
    filled = np.full((len(rows), 3), -np.inf)
    for target, row in zip(filled, rows, strict=True):
        target[: len(row)] = row
    return filled


def test_recall_takes_any_point_that_is_equally_near() -> None:
    """Ties count, worse points do not, and there cannot be more hits than points."""
    exact = scores([0.9, 0.8, 0.7], [0.9, 0.5, 0.5], [0.9, 0.8, 0.7], [0.4], [])
    found = scores([0.9, 0.8, 0.7], [0.9, 0.5, 0.5], [0.9, 0.6, 0.5], [], [])

    assert recall_by_score(found, exact) == pytest.approx([1, 1, 1 / 3, 0, 1])


def test_the_interval_of_a_known_distribution() -> None:
    """Of normal differences it is about two standard errors wide on each side, and holds the mean."""
    random = np.random.default_rng(3)
    differences = random.normal(0.1, 0.2, size=400)

    found = mean_interval(differences, seed=1, samples=4000)

    error = differences.std() / 20
    assert found.mean == pytest.approx(differences.mean())
    assert found.mean - found.low == pytest.approx(1.96 * error, rel=0.06)
    assert found.high - found.mean == pytest.approx(1.96 * error, rel=0.06)


def test_the_interval_depends_on_the_seed_alone() -> None:
    """The same seed gives the same, another one another; the size of blocks changes neither."""
    differences = np.random.default_rng(0).normal(size=50)

    assert mean_interval(differences, seed=1) == mean_interval(differences, seed=1)
    assert mean_interval(differences, seed=1) != mean_interval(differences, seed=2)


def test_equal_differences_have_no_width() -> None:
    """Nothing is uncertain where nothing differs; and where there is nothing there is no interval."""
    found = mean_interval(np.full(10, -0.25), seed=0)

    assert (found.mean, found.low, found.high) == (-0.25, -0.25, -0.25)
    with pytest.raises(ValueError, match="no values"):
        mean_interval(np.empty(0), seed=0)


def test_means_are_of_groups() -> None:
    """Each group counts once, however many values it has; numbers nobody has are none."""
    values, groups = np.array([1.0, 3.0, 5.0]), np.array([0, 0, 4])

    assert mean_by_group(values, groups).tolist() == [2.0, 5.0]

"""Maximal marginal relevance, by hand and by its formula."""

from uuid import UUID

import numpy as np
import pytest

from app.domain.points import Ranked
from app.search.diversity import pick_diverse
from app.search.ranking import append_below

SAME, ALIKE, OTHER = (1.0, 0.0, 0.0), (0.8, 0.6, 0.0), (0.0, 0.0, 1.0)


def pick(relevance: list[float], vectors: list[tuple[float, ...]], diversity: float) -> list[tuple[int, float]]:
    """Rows and scores, best first."""
    rows = np.array(vectors, dtype=np.float32)
    return list(pick_diverse(np.array(relevance), rows, diversity=diversity))


def test_what_repeats_the_first_comes_after_what_does_not() -> None:
    """A copy, a text of another kind and one that is alike; scores are what the formula says."""
    picked = pick([3.0, 2.8, 1.0, 2.0], [SAME, SAME, OTHER, ALIKE], 0.5)

    assert [row for row, _ in picked] == [0, 2, 1, 3]
    assert [score for _, score in picked] == pytest.approx([0.5, 0.0, 0.45 - 0.5, 0.25 - 0.4], abs=1e-6)


@pytest.mark.parametrize(("diversity", "expected"), [(0.0, [0, 1, 2, 3]), (1.0, [0, 3, 1, 2])])
def test_the_ends_are_relevance_alone_and_difference_alone(diversity: float, expected: list[int]) -> None:
    """The most relevant one is first in both; equals stay in their order."""
    picked = pick([4.0, 3.0, 2.0, 1.0], [SAME, SAME, SAME, OTHER], diversity)

    assert [row for row, _ in picked] == expected


def test_scores_never_rise() -> None:
    """Whatever the vectors are, opposite ones too."""
    random = np.random.default_rng(7)
    for diversity in (0.0, 0.3, 0.7, 1.0):
        vectors = random.normal(size=(40, 5)).astype(np.float32)
        picked = list(pick_diverse(random.normal(size=40), vectors, diversity=diversity))

        scores = [score for _, score in picked]
        assert scores == sorted(scores, reverse=True)
        assert sorted(row for row, _ in picked) == list(range(40))


def test_the_length_of_a_vector_does_not_matter_and_a_missing_one_is_like_no_other() -> None:
    """A row of NaN and one of zeros are chosen by relevance, a long copy is a copy."""
    nothing, zero, long = (np.nan, np.nan, np.nan), (0.0, 0.0, 0.0), (9.0, 0.0, 0.0)

    picked = pick([4.0, 3.9, 3.8, 3.0], [SAME, long, nothing, zero], 0.5)

    assert [row for row, _ in picked] == [0, 2, 3, 1]
    assert all(np.isfinite(score) for _, score in picked)


def test_one_and_none_can_be_picked() -> None:
    """Without a spread of scores, too."""
    assert pick([2.0], [SAME], 0.5) == [(0, 0.5)]
    assert list(pick_diverse(np.empty(0), np.empty((0, 3), dtype=np.float32), diversity=0.5)) == []


def test_what_was_not_ordered_anew_follows_with_lower_scores() -> None:
    """In its own order, with its own distances."""

    def rank(number: int, score: float) -> Ranked:
        return Ranked(document_id=UUID(int=number), chunk_id=UUID(int=number), score=score)

    both = append_below([rank(1, 0.5), rank(2, -3.0)], [rank(3, 20.0), rank(4, 20.0), rank(5, 18.5)])

    assert [one.document_id.int for one in both] == [1, 2, 3, 4, 5]
    assert [one.score for one in both] == [0.5, -3.0, -4.0, -4.0, -5.5]
    assert append_below([], [rank(1, 2.0)]) == [rank(1, 2.0)]

"""Differences are called significant when they are, and seldom when they only seem so."""

from itertools import product

import numpy as np
import pytest

from app.evaluation.bootstrap import mean_interval, mean_intervals
from app.evaluation.metrics import Scores
from app.evaluation.significance import holm, queries_needed, sign_flip_p_values, smallest_difference

PAIRS = 2000
QUERIES = 50


def draw_pairs(seed: int, *, loss: float = 0.0) -> Scores:
    """Differences of many pairs of runs of 50 queries: most queries agree, some differ much; ``loss`` is their mean."""
    random = np.random.default_rng(seed)
    differs = random.random((QUERIES, PAIRS)) < 0.4
    return np.where(differs, random.normal(0.0, 0.2, size=(QUERIES, PAIRS)), 0.0) - loss


def binomial_bound(rate: float) -> float:
    """The most alarms, as a share of the pairs, that chance gives four times in 100 000 if the rate is true."""
    return rate + 4 * float(np.sqrt(rate * (1 - rate) / PAIRS))


def test_p_is_that_of_all_signs() -> None:
    """The share of the 1 024 ways to set ten signs, as near as 100 000 samples come."""
    differences = np.random.default_rng(1).normal(0.3, 1.0, size=(10, 3))
    signs = np.array(list(product([-1, 1], repeat=10)))
    exact = (np.abs(signs @ differences) >= np.abs(differences.sum(axis=0)) - 1e-9).mean(axis=0)

    found = sign_flip_p_values(differences, seed=5, samples=100_000)

    assert found == pytest.approx(exact.tolist(), abs=0.006)


def test_p_depends_on_the_seed_alone() -> None:
    """And pairs do not depend on which others are asked for."""
    differences = draw_pairs(3)

    assert sign_flip_p_values(differences, seed=1) == sign_flip_p_values(differences, seed=1)
    assert sign_flip_p_values(differences, seed=1) != sign_flip_p_values(differences, seed=2)
    assert sign_flip_p_values(differences[:, 1:2], seed=1) == sign_flip_p_values(differences, seed=1)[1:2]


def test_runs_that_do_not_differ() -> None:
    """Nothing to be explained: p is 1, also without queries and where signs only change the rounding."""
    assert sign_flip_p_values(np.zeros((20, 2)), seed=0) == [1.0, 1.0]
    assert sign_flip_p_values(np.empty((0, 2)), seed=0) == [1.0, 1.0]
    assert sign_flip_p_values(np.array([[0.1], [0.0], [0.0]]), seed=0) == [1.0]


def test_no_p_is_smaller_than_the_samples_allow() -> None:
    """However clear it is."""
    assert sign_flip_p_values(np.full((200, 1), 0.5), seed=0, samples=999) == [1 / 1000]


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_false_alarms_are_as_rare_as_promised(level: float) -> None:
    """Of 2 000 pairs of equal settings."""
    p_values = sign_flip_p_values(draw_pairs(11), seed=2)

    assert np.mean(np.array(p_values) <= level) <= binomial_bound(level)


def test_false_alarms_among_many_are_as_rare_as_promised() -> None:
    """Of 250 families of eight pairs of equal settings, 5 % have one alarm at most."""
    p_values = sign_flip_p_values(draw_pairs(12), seed=2)

    families = [holm(p_values[start : start + 8]) for start in range(0, PAIRS, 8)]

    alarms = np.mean([min(family) <= 0.05 for family in families])
    assert alarms <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(families))


def test_a_real_loss_is_found() -> None:
    """As often as promised where it is the smallest the dataset can show, and always where it is far larger."""
    nothing = draw_pairs(13)
    least = np.mean([smallest_difference(nothing[:, pair]) for pair in range(200)])

    found = np.array(sign_flip_p_values(draw_pairs(14, loss=float(least)), seed=3)) <= 0.05
    certain = np.array(sign_flip_p_values(draw_pairs(15, loss=float(3 * least)), seed=3)) <= 0.05

    assert 0.75 <= found.mean() <= 0.87
    assert certain.all()


def test_holm_by_hand() -> None:
    """The smallest times all, the next times one less, never falling, never above 1, in the order given."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02]) == [0.02]


def test_holm_of_some_tests_of_many() -> None:
    """Others count as larger: the more there are, the less is significant."""
    assert holm([0.01, 0.02], tests=6) == pytest.approx([0.06, 0.1])


def test_the_smallest_difference_and_the_queries_it_takes_agree() -> None:
    """So many queries show just that, and four times as many show half of it."""
    differences = draw_pairs(16)[:, 0]
    least = smallest_difference(differences)
    assert least is not None

    assert queries_needed(differences, least * 1.0001) == QUERIES
    assert queries_needed(differences, least / 2) == pytest.approx(4 * QUERIES, abs=1)
    assert least == pytest.approx((1.95996 + 0.84162) * differences.std(ddof=1) / np.sqrt(QUERIES), rel=1e-4)


def test_a_stricter_level_takes_a_larger_difference() -> None:
    """As does more power."""
    differences = draw_pairs(16)[:, 0]
    usual = smallest_difference(differences)
    assert usual is not None

    assert (smallest_difference(differences, level=0.01) or 0) > usual
    assert (smallest_difference(differences, power=0.9) or 0) > usual


@pytest.mark.parametrize("differences", [[], [0.3], [0.0, 0.0, 0.0], [0.1, 0.1, 0.1]])
def test_what_has_no_spread_says_nothing(differences: list[float]) -> None:
    """One query, or none that differs from another."""
    assert smallest_difference(np.array(differences)) is None
    assert queries_needed(np.array(differences), 0.01) is None


def test_no_margin_takes_more_than_any_number_of_queries() -> None:
    """A difference of nothing is never shown."""
    assert queries_needed(draw_pairs(16)[:, 0], 0.0) is None


def test_intervals_of_columns_are_those_of_each() -> None:
    """All from the same samples."""
    columns = draw_pairs(17)[:, :5]

    found = mean_intervals(columns, seed=9)

    for at, one in enumerate(found):
        alone = mean_interval(columns[:, at], seed=9)
        assert [one.mean, one.low, one.high] == pytest.approx([alone.mean, alone.low, alone.high])
    assert all(one.low < one.mean < one.high for one in found)

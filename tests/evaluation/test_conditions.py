"""Conditions are read as people write them, and judged by what the dataset can show."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.evaluation.conditions import InvalidConditionError, Outcome, judge_condition, parse_condition
from app.evaluation.measures import InvalidMeasureError


def values(mean: float, *, queries: int, spread: float, seed: int) -> NDArray[np.float64]:
    """Values whose mean is exactly ``mean``."""
    drawn = np.random.default_rng(seed).normal(0.0, spread, size=queries)
    centred: NDArray[np.float64] = mean + drawn - drawn.mean()
    return centred


@pytest.mark.parametrize(
    ("text", "is_below", "is_relative", "factor", "offset"),
    [
        ("ndcg@10 < baseline - 0.01", True, True, 1.0, -0.01),
        ("ndcg@10<baseline", True, True, 1.0, 0.0),
        ("nDCG@10 < baseline+.02", True, True, 1.0, 0.02),
        ("map < baseline * 0.98", True, True, 0.98, 0.0),
        ("recall@100 < 0.7", True, False, 0.0, 0.7),
        ("judged@10 > 0.9", False, False, 0.0, 0.9),
    ],
)
def test_conditions_are_read(text: str, *, is_below: bool, is_relative: bool, factor: float, offset: float) -> None:
    """Measures by any of their names, with or without spaces."""
    condition = parse_condition(text)

    assert (condition.is_below, condition.is_relative) == (is_below, is_relative)
    assert (condition.factor, condition.offset) == (factor, offset)


@pytest.mark.parametrize(
    "text", ["", "ndcg@10", "ndcg@10 < ", "ndcg@10 = 0.5", "ndcg@10 < baseline / 2", "0.5 < ndcg@10", "ndcg@10 < x - 1"]
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    """And says how it is written."""
    with pytest.raises(InvalidConditionError, match=r"baseline - 0\.01"):
        parse_condition(text)


def test_an_unknown_measure_is_one() -> None:
    """Not a condition that cannot be read."""
    with pytest.raises(InvalidMeasureError):
        parse_condition("beauty@10 < baseline")


def test_no_worse_than_the_margin_passes_and_worse_fails() -> None:
    """Paired: what queries differ by among themselves does not matter."""
    hard = values(0.4, queries=200, spread=0.3, seed=1)
    condition = parse_condition("ndcg@10 < baseline - 0.02")

    equal = judge_condition(condition, hard, hard, seed=1)
    better = judge_condition(condition, hard + values(0.01, queries=200, spread=0.02, seed=2), hard, seed=1)
    worse = judge_condition(condition, hard - 0.05, hard, seed=1)

    assert [one.outcome for one in (equal, better, worse)] == [Outcome.PASSED, Outcome.PASSED, Outcome.FAILED]
    assert worse.threshold == pytest.approx(0.38)
    assert worse.value == pytest.approx(0.35)
    assert "0.3500" in worse.words


def test_too_few_queries_cannot_tell_and_say_how_many_would() -> None:
    """So many, of the same spread, then tell: most of the times that they are drawn."""
    condition = parse_condition("ndcg@10 < baseline - 0.01")
    few = values(0.0, queries=50, spread=0.1, seed=3)

    verdict = judge_condition(condition, 0.4 + few, np.full(50, 0.4), seed=1)

    assert verdict.outcome is Outcome.CANNOT_TELL
    assert verdict.queries_needed is not None
    assert verdict.queries_needed > 50
    assert str(verdict.queries_needed) in verdict.words
    random = np.random.default_rng(4)
    told = [
        judge_condition(
            condition,
            0.4 + random.normal(0, 0.1, size=verdict.queries_needed),
            np.full(verdict.queries_needed, 0.4),
            seed=1,
        ).outcome
        is Outcome.PASSED
        for _ in range(60)
    ]
    # 80 % are promised; fewer than 60 % of 60 would come once in 10 000 times
    assert sum(told) >= 36


def test_limits_that_name_no_baseline_are_judged_by_themselves() -> None:
    """Also those that must not be exceeded."""
    found = values(0.8, queries=100, spread=0.05, seed=5)

    high = judge_condition(parse_condition("recall@100 < 0.7"), found, None, seed=1)
    low = judge_condition(parse_condition("recall@100 < 0.9"), found, None, seed=1)
    most = judge_condition(parse_condition("recall@100 > 0.7"), found, None, seed=1)

    assert [one.outcome for one in (high, low, most)] == [Outcome.PASSED, Outcome.FAILED, Outcome.FAILED]
    assert most.interval.low < -0.1 < most.interval.high < 0


def test_a_few_queries_never_pass() -> None:
    """However well they do; that they have lost can be seen of them."""
    condition = parse_condition("ndcg@10 < baseline - 0.01")

    same = judge_condition(condition, np.full(9, 0.5), np.full(9, 0.5), seed=1)
    lost = judge_condition(condition, np.full(9, 0.4), np.full(9, 0.5), seed=1)
    enough = judge_condition(condition, np.full(10, 0.5), np.full(10, 0.5), seed=1)

    assert (same.outcome, same.queries_needed) == (Outcome.CANNOT_TELL, 10)
    assert (lost.outcome, enough.outcome) == (Outcome.FAILED, Outcome.PASSED)


def test_a_mean_that_is_at_the_limit_but_for_rounding_asks_for_no_queries() -> None:
    """No number of them would tell, and none that JSON cannot have is named."""
    for tenths in range(1, 10):
        found = np.array([1.0] * tenths + [0.0] * (10 - tenths))
        verdict = judge_condition(parse_condition(f"success@10 < 0.{tenths}"), found, None, seed=1)

        assert (verdict.outcome, verdict.queries_needed) == (Outcome.CANNOT_TELL, None)
        assert "at the limit" in verdict.words


def test_queries_of_one_document_count_as_one() -> None:
    """Three of each are as sure as one of each, and nine documents are too few however many queries they have."""
    values_of = values(0.02, queries=60, spread=0.1, seed=6)
    condition = parse_condition("mrr < baseline - 0.01")
    alone = judge_condition(condition, 0.4 + values_of, np.full(60, 0.4), seed=1)
    repeated = judge_condition(
        condition, 0.4 + np.repeat(values_of, 3), np.full(180, 0.4), seed=1, groups=np.repeat(np.arange(60), 3)
    )
    few = judge_condition(condition, np.full(27, 0.5), np.full(27, 0.5), seed=1, groups=np.repeat(np.arange(9), 3))

    assert repeated.interval.low == pytest.approx(alone.interval.low)
    assert (few.outcome, few.queries_needed) == (Outcome.CANNOT_TELL, 30)


def test_being_just_at_the_limit_fails_where_that_is_said() -> None:
    """``<`` lets it pass."""
    at = np.full(20, 0.7)

    outcomes = [
        judge_condition(parse_condition(f"map {sign} 0.7"), at, None, seed=1).outcome for sign in ("<", "<=", ">", ">=")
    ]

    assert outcomes == [Outcome.PASSED, Outcome.FAILED, Outcome.PASSED, Outcome.FAILED]


def test_a_condition_of_a_baseline_needs_one() -> None:
    """It is not judged without."""
    with pytest.raises(ValueError, match="baseline"):
        judge_condition(parse_condition("map < baseline"), np.ones(3), None, seed=1)

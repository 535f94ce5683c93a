"""Searches are called worse when they are, and seldom when they only seem so."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from app.domain.searches import SearchCounts
from app.evaluation.regression import RegressionRule, chance_of_rise, judge_searches

LOOKS, PER_LOOK = 60, 10
"""An hour of a watch, a look a minute."""

WATCHES = 2000


def counts(searches: int, *, empty: int = 0, failed: int = 0) -> SearchCounts:
    """What became of so many searches."""
    return SearchCounts(searches=searches, empty=empty, failed=failed)


def draw(random: Generator, searches: int, *, empty: float, failed: float) -> SearchCounts:
    """What chance makes of so many searches."""
    lost = int(random.binomial(searches, failed))
    return counts(searches, empty=int(random.binomial(searches - lost, empty)), failed=lost)


def is_ever_worse(random: Generator, before: SearchCounts, *, empty: float, failed: float = 0.0) -> bool:
    """Whether an hour of looks calls searches of these rates worse at any time."""
    since = counts(0)
    for _ in range(LOOKS):
        more = draw(random, PER_LOOK, empty=empty, failed=failed)
        since = counts(
            since.searches + more.searches, empty=since.empty + more.empty, failed=since.failed + more.failed
        )
        if judge_searches(before, since).is_worse:
            return True
    return False


def exact_chance(old: tuple[int, int], new: tuple[int, int]) -> float:
    """The same by counting all the ways there are."""
    hits, total = old[0] + new[0], old[1] + new[1]
    ways = sum(comb(new[1], k) * comb(old[1], hits - k) for k in range(new[0], min(hits, new[1]) + 1) if hits >= k)
    return ways / comb(total, hits)


sides = st.integers(1, 60).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(old=sides, new=sides)
def test_the_chance_is_that_of_all_the_ways(old: tuple[int, int], new: tuple[int, int]) -> None:
    """Fisher's exact test, wherever the rate has risen at all; elsewhere there is nothing to explain."""
    chance = chance_of_rise(old, new)

    rose = new[0] * (old[1] + new[1]) > (old[0] + new[0]) * new[1]
    assert chance == pytest.approx(exact_chance(old, new) if rose else 1.0, rel=1e-9)


@given(old=sides, new=sides)
def test_more_on_the_new_side_is_never_less_suspicious(old: tuple[int, int], new: tuple[int, int]) -> None:
    """One more of them makes chance no likelier."""
    hits, total = new
    more = (min(total, hits + 1), total)

    assert chance_of_rise(old, more) <= chance_of_rise(old, new) * (1 + 1e-9)


def test_large_numbers_are_no_trouble() -> None:
    """Millions of searches, a rise by a thousandth, and by nothing."""
    assert chance_of_rise((20_000_000, 1_000_000_000), (21_000, 1_000_000)) < 1e-9
    assert chance_of_rise((20_000_000, 1_000_000_000), (20_001, 1_000_000)) == pytest.approx(0.5, abs=0.01)
    assert chance_of_rise((0, 10**7), (10**6, 10**6)) == 0.0


@pytest.mark.parametrize(
    ("before", "since", "expected"),
    [
        (counts(1000, empty=20), counts(100, empty=20), True),
        (counts(1000, failed=1), counts(100, failed=15), True),
        (counts(100, failed=0), counts(100, failed=100), True),
        (counts(1000, empty=20), counts(100, empty=2), False),
        (counts(1000, empty=200), counts(100, empty=20), False),
        (counts(1000, empty=200), counts(100, empty=0), False),
        (counts(100_000, empty=1000), counts(100_000, empty=5000), False),
        (counts(100_000, empty=1000), counts(100_000, empty=6500), True),
        (counts(1000, failed=500), counts(1000, empty=400), False),
        (counts(1000, failed=500), counts(1000, empty=600), True),
        (counts(1000, failed=960), counts(1000, empty=900), False),
    ],
)
def test_what_is_worse(before: SearchCounts, since: SearchCounts, *, expected: bool) -> None:
    """More failures or more empty answers, by more than chance and by five in a hundred, and fewer with hits."""
    judged = judge_searches(before, since)

    assert (judged.is_worse, judged.is_known) == (expected, True)


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (counts(49), counts(1000, failed=1000)),
        (counts(1000), counts(49, failed=49)),
        (counts(0), counts(0)),
    ],
)
def test_few_searches_tell_nothing(before: SearchCounts, since: SearchCounts) -> None:
    """Whatever became of them; the words say how many there were."""
    judged = judge_searches(before, since)

    assert (judged.is_worse, judged.is_known) == (False, False)
    assert f"{before.searches} before, {since.searches} since" in judged.words


def test_the_words_have_the_numbers() -> None:
    """Of what is worse alone, or of both if nothing is."""
    worse = judge_searches(counts(1000, empty=20, failed=3), counts(100, empty=25, failed=1))
    same = judge_searches(counts(1000, empty=20), counts(200, empty=4))

    assert worse.words == "empty answers: 2.0% (20 of 997) before, 25.3% (25 of 99) since"
    assert same.words == (
        "failures: 0.0% (0 of 1000) before, 0.0% (0 of 200) since; "
        "empty answers: 2.0% (20 of 1000) before, 2.0% (4 of 200) since"
    )


@pytest.mark.parametrize(("empty", "failed"), [(0.02, 0.0), (0.3, 0.01), (0.05, 0.05)])
def test_false_alarms_are_rare(empty: float, failed: float) -> None:
    """Not one watch in 500 of an hour alarms where nothing has changed, although it looks sixty times."""
    random = np.random.default_rng(7)

    alarms = sum(
        is_ever_worse(random, draw(random, 500, empty=empty, failed=failed), empty=empty, failed=failed)
        for _ in range(WATCHES)
    )

    assert alarms / WATCHES <= 1 / 500


@pytest.mark.parametrize(
    ("empty", "failed", "power"),
    [(0.02, 0.3, 0.999), (0.2, 0.0, 0.99), (0.12, 0.0, 0.9)],
)
def test_what_is_really_worse_is_found(empty: float, failed: float, power: float) -> None:
    """Within the hour, where 2 % of 500 searches a day were empty before and none failed."""
    random = np.random.default_rng(8)

    found = sum(
        is_ever_worse(random, draw(random, 500, empty=0.02, failed=0.0), empty=empty, failed=failed)
        for _ in range(WATCHES // 4)
    )

    assert found / (WATCHES // 4) >= power


def test_a_rule_can_be_another_one() -> None:
    """Fewer searches and a smaller rise are enough if somebody says so."""
    rule = RegressionRule(fewest=5, rise=0.01, chance=0.05)

    assert judge_searches(counts(10), counts(10, failed=6), rule).is_worse
    assert not judge_searches(counts(10), counts(10, failed=6)).is_known

"""The parts of a dry run that need no services."""

import asyncio

import pytest

from app.db.plans import Standing
from app.domain.identity import text_hash
from app.pipeline.distinct import DistinctTexts
from app.pipeline.estimate import MeasuredBy, Price, Rates, estimate_seconds, read_rates
from app.pipeline.tally import Tally


async def test_a_text_is_new_once() -> None:
    """Within one call and across calls, also when several are made at once."""
    keys = [text_hash(str(number % 1000)) for number in range(4000)]

    with DistinctTexts() as distinct:
        first = await distinct.add([keys[0], keys[1], keys[0]])
        rest = await asyncio.gather(*(distinct.add(keys[start : start + 100]) for start in range(0, 4000, 100)))
        none = await distinct.add([])

    assert first == [True, True, False]
    assert sum(sum(answer) for answer in rest) == 998
    assert none == []


async def test_more_texts_than_the_cache_holds_are_still_exact() -> None:
    """They go to a file that has no name, and that is gone at the end."""
    keys = [text_hash(str(number)) for number in range(60_000)]

    with DistinctTexts(cache_bytes=256 * 1024) as distinct:
        first = await distinct.add(keys)
        again = await distinct.add(keys)

    assert len(keys) * len(keys[0]) > 4 * 256 * 1024
    assert (all(first), any(again)) == (True, False)


@pytest.mark.parametrize("measured_by", list(MeasuredBy))
@pytest.mark.parametrize("tokens", [1, 1_000_000])
def test_the_longest_time_is_not_below_the_shortest(tokens: int, measured_by: MeasuredBy) -> None:
    """Not below what the slowest stage takes, and not above the sum of all with their margins."""
    store = None if measured_by is MeasuredBy.CALIBRATION else 0.001
    rates = Rates(slowest=1000, fastest=4000, store_seconds=store, measured_by=measured_by)

    low, high = estimate_seconds(rates, prepare_seconds=2.0, tokens=tokens, points=100)

    assert low == round(max(2.0, tokens / 4000) * 0.8, 1)
    assert max(2.0, tokens / 1000) < high < (2.0 + tokens / 1000) * 1.5 * 1.2 + 1.0


def test_where_nothing_is_embedded_reading_is_all() -> None:
    """An unchanged folder takes what the dry run took."""
    assert estimate_seconds(None, prepare_seconds=10.0, tokens=0, points=0) == [8.0, 13.0]


def test_rates_are_those_of_busy_time() -> None:
    """Time in which the embedder had nothing to do says nothing about its speed."""
    stages = {"store": {"seconds": 1.0, "items": 500}}
    slow = {"tokens": 10_000, "seconds": 10.0, "embedder_busy_ratio": 0.5, "stages": stages}
    fast = {"tokens": 9_000, "seconds": 1.0, "embedder_busy_ratio": 1.0, "stages": stages}

    rates = read_rates([slow, fast], MeasuredBy.USER)

    assert rates == Rates(slowest=2000, fastest=9000, store_seconds=0.002, measured_by=MeasuredBy.USER)
    assert read_rates([], MeasuredBy.USER) is None
    assert read_rates([{"tokens": 9_000, "seconds": 1.0, "embedder_busy_ratio": 0.0}], MeasuredBy.USER) is None


def test_a_cost_is_exact_to_a_millionth() -> None:
    """So small runs of cheap models do not cost nothing."""
    price = Price(model="m", per_million_tokens=0.02, currency="$")

    assert price.cost_of(1_234_567) == {"amount": 0.024691, "currency": "$"}


def test_an_incomplete_scan_removes_nothing() -> None:
    """What it could not look for keeps its state; what was never ingested is no removal."""
    gone = {
        Standing(state="completed", error_code=None, is_blank=False): 3,
        Standing(state="failed", error_code="empty_document", is_blank=False): 1,
        Standing(state="pending", error_code=None, is_blank=True): 1,
    }
    complete, incomplete = Tally(found=10), Tally(found=10)

    complete.settle_gone(gone, removes=True, collection="c")
    incomplete.settle_gone(gone, removes=False, collection="c")

    assert (complete.result()["documents_removed"], complete.result()["documents"]) == (4, 0)
    assert (incomplete.result()["documents_removed"], incomplete.result()["documents"]) == (0, 3)
    assert incomplete.result()["failed_by_code"] == {"empty_document": 1}

"""How many documents a lane takes in hand."""

import asyncio
from contextlib import ExitStack

from app.pipeline.demand import GROUPS_ALONE, Demand


async def _is_hungry(demand: Demand) -> bool:
    waiting = asyncio.create_task(demand.wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hungry = waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    return hungry


async def test_a_lane_takes_no_more_groups_than_are_prepared_at_once() -> None:
    """Until one of them is prepared or given back."""
    demand = Demand(groups=2, texts=100, is_shared=True)

    demand.take()
    with_one = await _is_hungry(demand)
    demand.take()
    with_two = await _is_hungry(demand)
    demand.drop()
    afterwards = await _is_hungry(demand)

    assert (with_one, with_two, afterwards) == (True, False, True)


async def test_a_lane_takes_nothing_while_its_model_has_enough() -> None:
    """Who waits goes on as soon as the texts of a group are stored."""
    demand = Demand(groups=2, texts=100, is_shared=True)

    with demand.holding(60, documents=1):
        with_some = await _is_hungry(demand)
        with demand.holding(60, documents=1):
            waiting = asyncio.create_task(demand.wait())
            with_many = await _is_hungry(demand)
        await asyncio.wait_for(waiting, timeout=20)

    assert (with_some, with_many) == (True, False)


async def test_what_the_model_has_answered_is_not_in_hand_any_more() -> None:
    """Also while other texts of its group wait, and while it is stored."""
    demand = Demand(groups=2, texts=100, is_shared=True)

    with demand.holding(120, documents=1) as held:
        before = await _is_hungry(demand)
        for _ in range(30):
            held.drop()
        answered = await _is_hungry(demand)
        held.drop_all()
        held.drop()
        with demand.holding(99, documents=1):
            beside = await _is_hungry(demand)

    assert (before, answered, beside) == (False, True, True)


def test_a_claim_is_one_round_of_requests() -> None:
    """As many documents as fill it, judged by those seen; a few before any, and all there are for a worker alone."""
    demand = Demand(groups=2, texts=4 * 64, is_shared=True)

    first = demand.choose_claim(200)
    with demand.holding(70, documents=10):
        later = demand.choose_claim(200)
    with demand.holding(100_000, documents=1):
        of_large_ones = demand.choose_claim(200)
    demand.is_shared = False

    assert (first, later, of_large_ones) == ((8, 4), (9, 4), (2, 2))
    assert demand.choose_claim(200) == (200, 2)


def test_a_worker_that_embeds_nothing_new_takes_as_much_as_at_first() -> None:
    """Documents without texts for the model say nothing about those that come."""
    demand = Demand(groups=2, texts=4 * 64, is_shared=True)

    with demand.holding(0, documents=50):
        assert demand.choose_claim(200) == (8, 4)


async def test_a_worker_alone_takes_as_many_texts_as_there_are() -> None:
    """Nobody else would do what it leaves; but who comes later is to find something."""
    demand = Demand(groups=1, texts=1, is_shared=False)

    with ExitStack() as held:
        for _ in range(GROUPS_ALONE):
            held.enter_context(demand.holding(100, documents=1))
        with_some = await _is_hungry(demand)
        demand.take()
        with_many = await _is_hungry(demand)

    assert (with_some, with_many) == (True, False)
    assert await _is_hungry(demand)

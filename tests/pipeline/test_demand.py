"""How many documents a lane takes in hand."""

import asyncio

from app.pipeline.demand import Demand


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

    with demand.holding(60):
        with_some = await _is_hungry(demand)
        with demand.holding(60):
            waiting = asyncio.create_task(demand.wait())
            with_many = await _is_hungry(demand)
        await asyncio.wait_for(waiting, timeout=20)

    assert (with_some, with_many) == (True, False)


async def test_a_worker_alone_takes_what_there_is() -> None:
    """Nobody else would do what it leaves."""
    demand = Demand(groups=1, texts=1, is_shared=False)

    demand.take()
    demand.take()

    with demand.holding(100):
        assert await _is_hungry(demand)

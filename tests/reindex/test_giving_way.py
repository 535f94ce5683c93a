"""A rebuild goes slower while people search, whichever collection, and as fast as before when they have stopped."""

import asyncio

import pytest
from sqlalchemy import text

from app.db.search_health import SearchHealthRepository, Tally
from app.pipeline.giving_way import MOST_REST, GivingWay
from app.pipeline.validation.meaning import ask_each
from app.pipeline.validation.sides import Sizes
from tests.reindex.generations import Shelf

AT_ONCE = 2


@pytest.fixture(autouse=True)
async def unsearched(shelf: Shelf) -> None:
    """Nobody has searched yet."""
    async with shelf.parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM search_health"))


async def search(shelf: Shelf, searches: int) -> None:
    """Count searches of the generation that serves, as the API does within a second."""
    async with shelf.parts.database.begin() as connection:
        await SearchHealthRepository(connection).add({shelf.generation.id: Tally(searches=searches)})


async def test_it_is_known_how_much_people_search(shelf: Shelf) -> None:
    """At first by the last minute, then look by look; those of a generation that serves nobody do not count."""
    database = shelf.parts.database
    giving_way = GivingWay(look_seconds=1e-6, processors=1)
    generation = await shelf.begin()
    rests = []

    async def look() -> None:
        await giving_way.look(database)
        rests.append(giving_way.rest)

    await look()
    await search(shelf, 100_000)
    await look()
    busy = await giving_way.find_share(database, AT_ONCE)
    async with database.begin() as connection:
        await SearchHealthRepository(connection).add({generation.id: Tally(searches=1_000_000)})
    for _ in range(60):
        await look()
    free = await giving_way.find_share(database, AT_ONCE)
    await shelf.drop(generation)
    newcomer = GivingWay(processors=1)
    await newcomer.look(database)

    assert (rests[0], rests[1], rests[-1]) == (0.0, MOST_REST, 0.0)
    assert (busy, free) == (1, AT_ONCE)
    assert newcomer.rest == MOST_REST


async def test_a_few_searches_hold_nothing_up(shelf: Shelf) -> None:
    """One person who searches takes next to nothing of the processors."""
    giving_way = GivingWay(processors=2)
    await search(shelf, 20)

    assert await giving_way.find_share(shelf.parts.database, AT_ONCE) == AT_ONCE
    assert giving_way.rest == 0.0


@pytest.mark.parametrize(("searched", "at_once"), [(0, 3), (100_000, 1)])
async def test_pieces_of_work_take_turns_meanwhile(shelf: Shelf, searched: int, at_once: int) -> None:
    """All of them are done, at once or one by one; one that fails lets the next one go on."""
    giving_way, running, seen = GivingWay(processors=1), 0, []
    if searched:
        await search(shelf, searched)

    async def work(number: int) -> int:
        nonlocal running
        async with giving_way.turn(shelf.parts.database):
            running += 1
            await asyncio.sleep(0.01)
            seen.append(running)
            running -= 1
            if number == 0:
                raise ValueError
        return number

    done = await asyncio.gather(*map(work, range(3)), return_exceptions=True)

    assert done[1:] == [1, 2]
    assert isinstance(done[0], ValueError)
    assert max(seen) == at_once


async def test_who_is_to_stop_does_not_rest(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in hand of a slice that ends is finished one by one, without pauses."""
    giving_way, rested = GivingWay(processors=1), []
    await search(shelf, 100_000)

    async def note(_: GivingWay, seconds: float, **__: float) -> None:
        rested.append(seconds)

    monkeypatch.setattr(GivingWay, "pause", note)
    for hurried in (False, True):
        async with giving_way.turn(shelf.parts.database, is_hurried=lambda: hurried):  # noqa: B023 — called in the block
            pass

    assert len(rested) == 1


@pytest.mark.parametrize(("searched", "most"), [(False, AT_ONCE), (True, 1)])
async def test_questions_are_asked_one_by_one_meanwhile(shelf: Shelf, searched: bool, most: int) -> None:  # noqa: FBT001
    """All are answered, in their order."""
    validation = shelf.validation(shelf.generation, sizes=Sizes(at_once=AT_ONCE))
    validation.giving_way.processors = 1
    asked: list[int] = []
    seen: list[int] = []

    async def ask(number: int) -> int:
        asked.append(number)
        seen.append(len(asked))
        await asyncio.sleep(0)
        asked.remove(number)
        return number * 2

    if searched:
        await search(shelf, 100_000)
    answers = await ask_each(validation, "words", list(range(7)), ask)

    assert max(seen) == most
    assert answers == [0, 2, 4, 6, 8, 10, 12]

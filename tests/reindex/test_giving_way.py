"""A validation goes slower while people search, whichever collection, and as fast as before when they have stopped."""

import asyncio

import pytest

from app.db.search_health import SearchHealthRepository, Tally
from app.pipeline.validation.giving_way import GivingWay
from app.pipeline.validation.meaning import ask_each
from app.pipeline.validation.sides import Sizes
from tests.reindex.generations import Shelf

AT_ONCE = 2


async def search(shelf: Shelf, searches: int) -> None:
    """Count searches of the generation that serves, as the API does within a second."""
    async with shelf.parts.database.begin() as connection:
        await SearchHealthRepository(connection).add({shelf.generation.id: Tally(searches=searches)})


async def test_it_is_known_whether_people_search(shelf: Shelf) -> None:
    """Within a look; those before the first one do not count, nor do those of a generation that serves nobody."""
    giving_way, database = GivingWay(look_seconds=0.0), shelf.parts.database
    generation = await shelf.begin()
    await search(shelf, 5)

    shares = [await giving_way.find_share(database, AT_ONCE)]
    await search(shelf, 1)
    shares.append(await giving_way.find_share(database, AT_ONCE))
    async with database.begin() as connection:
        await SearchHealthRepository(connection).add({generation.id: Tally(searches=9)})
    shares.append(await giving_way.find_share(database, AT_ONCE))
    await shelf.drop(generation)

    assert shares == [AT_ONCE, 1, AT_ONCE]


@pytest.mark.parametrize(("searched", "most"), [(False, AT_ONCE), (True, 1)])
async def test_questions_are_asked_one_by_one_meanwhile(shelf: Shelf, searched: bool, most: int) -> None:  # noqa: FBT001
    """All are answered, in their order."""
    validation = shelf.validation(shelf.generation, sizes=Sizes(at_once=AT_ONCE))
    validation.giving_way.look_seconds = 0.0
    asked: list[int] = []
    seen: list[int] = []

    async def ask(number: int) -> int:
        asked.append(number)
        seen.append(len(asked))
        if searched:
            await search(shelf, 1)
        await asyncio.sleep(0)
        asked.remove(number)
        return number * 2

    await validation.giving_way.find_share(validation.database, AT_ONCE)
    if searched:
        await search(shelf, 1)
    answers = await ask_each(validation, "words", list(range(7)), ask)

    assert max(seen) == most
    assert answers == [0, 2, 4, 6, 8, 10, 12]

"""Statements that go to the driver: their rows, and what becomes of their connection when they fail or are given up."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.bootstrap import Parts
from app.db.database import MAX_OVERFLOW, Database, find_driver
from app.db.direct import DirectStatement
from app.db.statements import UUIDS, parsed
from app.jobs.classify import classify
from app.settings import Settings
from tests.harness import wait_until

PID = DirectStatement(parsed("SELECT pg_backend_pid() AS pid"))
ASKED = DirectStatement(parsed("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"))


async def read_pid(parts: Parts) -> int:
    """The process of Postgres that answers."""
    async with parts.database.single() as connection:
        return int((await PID.fetch(connection, {}))[0]["pid"])


async def test_rows_have_values_of_their_types(parts: Parts) -> None:
    """By the names of columns; parameters are given by name too, in any order."""
    statement = DirectStatement(
        parsed("SELECT CAST(:b AS int) - CAST(:a AS int) AS n, jsonb_build_array(:a) AS listed")
    )

    async with parts.database.single() as connection:
        rows = await statement.fetch(connection, {"a": 2, "b": 9})

    assert [dict(row) for row in rows] == [{"n": 7, "listed": [2]}]


async def test_a_statement_that_postgres_refuses_leaves_the_connection_as_it_was(parts: Parts) -> None:
    """It is told as SQLAlchemy tells it; the next one is answered by the same process."""
    before = await read_pid(parts)

    with pytest.raises(DBAPIError) as raised:
        async with parts.database.single() as connection:
            await DirectStatement(parsed("SELECT 1 / CAST(:zero AS int)")).fetch(connection, {"zero": 0})

    assert not isinstance(raised.value, OperationalError)
    assert await read_pid(parts) == before


async def test_a_session_that_ends_is_an_outage(parts: Parts) -> None:
    """And nobody gets its connection again."""
    before = await read_pid(parts)

    with pytest.raises(OperationalError) as raised:
        async with parts.database.single() as connection:
            await DirectStatement(parsed("SELECT pg_terminate_backend(pg_backend_pid())")).fetch(connection, {})

    assert classify(raised.value).code == "database_unavailable"
    assert await read_pid(parts) != before


async def test_what_is_given_up_is_not_waited_for(parts: Parts) -> None:
    """The next statement has another connection, on which nothing is going on."""

    async def wait_long() -> None:
        async with parts.database.single() as connection:
            await DirectStatement(parsed("SELECT pg_sleep(600)")).fetch(connection, {})

    async def find_asked() -> int | None:
        async with parts.database.single() as connection:
            rows = await ASKED.fetch(connection, {})
        return int(rows[0]["pid"]) if rows else None

    waiting = asyncio.create_task(wait_long())
    asked = await wait_until(find_asked)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await read_pid(parts) != asked


async def test_a_connection_that_is_closed_is_an_outage(parts: Parts) -> None:
    """As it may be while a block holds it."""

    async def ask_when_closed() -> None:
        async with parts.database.single() as connection:
            driver = find_driver(connection)
            assert driver is not None
            await driver.close()
            await PID.fetch(connection, {})

    with pytest.raises(OperationalError):
        await ask_when_closed()


async def test_lists_of_ids_are_told_as_such(parts: Parts) -> None:
    """An empty one too."""
    statement = DirectStatement(parsed("SELECT cardinality(:ids) AS n", ids=UUIDS))

    async with parts.database.single() as connection:
        rows = await statement.fetch(connection, {"ids": []})

    assert rows[0]["n"] == 0


async def test_what_is_kept_stands_in_nobodys_way(settings: Settings) -> None:
    """A connection is kept for the next statement; whoever needs one for a transaction gets it, though all are kept."""
    assert settings.database_url is not None
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    most = 1 + MAX_OVERFLOW
    together = asyncio.Barrier(most)

    async def read(context: AbstractAsyncContextManager[AsyncConnection]) -> int:
        async with context as connection:
            await together.wait()
            return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())

    async def ask() -> int:
        async with database.single() as connection:
            rows = await PID.fetch(connection, {})
            await together.wait()
            return int(rows[0]["pid"])

    try:
        asked = [set(await asyncio.gather(*(ask() for _ in range(most)))) for _ in range(2)]
        async with asyncio.timeout(10):
            begun = set(await asyncio.gather(*(read(database.begin()) for _ in range(most))))
            single = set(await asyncio.gather(*(read(database.single()) for _ in range(most))))
    finally:
        await database.aclose()

    assert asked[0] == asked[1]
    assert len(asked[0]) == len(begun) == len(single) == most

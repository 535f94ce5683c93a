"""What callers see while Postgres stops, starts or is not there: one of the errors that mean an outage."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.bootstrap import Parts
from app.db.database import Database
from app.domain.failures import DatabaseUnavailableError
from app.jobs.classify import classify


async def test_a_session_that_postgres_ends_is_an_outage(parts: Parts) -> None:
    """A terminated session raises OperationalError, which API and worker know, and the next transaction works."""
    with pytest.raises(OperationalError) as raised:
        async with parts.database.begin() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with parts.database.begin() as connection:
        answer = await connection.scalar(text("SELECT 1"))

    assert isinstance(classify(raised.value), DatabaseUnavailableError)
    assert answer == 1


@pytest.mark.parametrize("address", ["/none?host={folder}&port=5432", "127.0.0.1:1/none", "nobody.invalid:5432/none"])
@pytest.mark.parametrize("way", ["begin", "single", "ping"])
async def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path, address: str, way: str) -> None:
    """A missing socket, a closed port and a name that nobody knows are the same to whoever asks for a connection."""
    database = Database(f"postgresql://postgres@{address.format(folder=tmp_path)}", pool_size=1)

    async def ask() -> None:
        if way == "ping":
            await database.ping()
        else:
            async with getattr(database, way)():
                pass

    with pytest.raises(OperationalError) as raised:
        await ask()
    await database.aclose()

    assert isinstance(classify(raised.value), DatabaseUnavailableError)


async def test_who_waits_for_a_connection_gets_one_in_turn(parts: Parts) -> None:
    """Though others, who have just had one, ask for the next at the moment when it comes back."""
    address = parts.database.engine.url.render_as_string(hide_password=False)
    database, order, done = Database(address, pool_size=1), list[str](), asyncio.Event()

    async def ask_on() -> None:
        while not done.is_set():
            async with database.single() as connection:
                await connection.execute(text("SELECT 1"))
            order.append("again")

    async def ask_once() -> None:
        async with database.single() as connection:
            await connection.execute(text("SELECT 1"))
        order.append("once")

    asking = [asyncio.create_task(ask_on()) for _ in range(20)]
    await asyncio.sleep(0.05)
    order.clear()
    await ask_once()
    done.set()
    await asyncio.gather(*asking)
    await database.aclose()

    # each of the others came before it once, or twice if it was about to
    assert order.index("once") <= 2 * len(asking)

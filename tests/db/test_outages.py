"""What callers see while Postgres stops, starts or is not there: one of the errors that mean an outage."""

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


async def test_a_socket_that_is_not_there_is_a_refused_connection(tmp_path: Path) -> None:
    """Postgres removes its unix socket while it restarts; callers need not tell that from a closed port."""
    database = Database(f"postgresql://postgres@/none?host={tmp_path}&port=5432", pool_size=1)

    with pytest.raises(ConnectionRefusedError):
        async with database.begin():
            pass

    await database.aclose()

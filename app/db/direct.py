"""Statements that are asked so often that what SQLAlchemy does around each of them counts: they go to the driver."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Select, TextClause
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import OUTAGES, find_driver

_DIALECT = dialect()  # type: ignore[no-untyped-call]  # it has no types


class DirectStatement:
    """Reads rows; compiled once. Rows have values as the driver gives them; SQLAlchemy has told it how to read JSON."""

    def __init__(self, statement: Select[Any] | TextClause) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        self._sql = str(compiled)
        self._names: Sequence[str] = getattr(compiled, "positiontup", None) or ()
        self._given: Mapping[str, Any] = compiled.params

    async def fetch(self, connection: AsyncConnection, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """All rows, on a connection without an open transaction: see ``Database.single``.

        Raises:
            OperationalError: if Postgres does not answer, or not in time.
            DBAPIError: whatever else it says.
        """
        driver = find_driver(connection)
        if driver is None:
            raise OperationalError(self._sql, None, ConnectionError("it is closed"), connection_invalidated=True)
        given = {**self._given, **values}
        try:
            rows: list[Mapping[str, Any]] = await driver.fetch(self._sql, *[given[name] for name in self._names])
        except asyncpg.PostgresError as error:
            kind = OperationalError if str(error.sqlstate or "").startswith(OUTAGES) else DBAPIError
            raise kind(self._sql, None, error) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
            await asyncio.shield(asyncio.create_task(connection.invalidate()))
            raise OperationalError(self._sql, None, error, connection_invalidated=True) from error
        except BaseException:
            # what it was asked goes on there
            await asyncio.shield(asyncio.create_task(connection.invalidate()))
            raise
        return rows

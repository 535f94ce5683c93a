"""Connections and transactions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from app.domain.errors import LeaseLostError
from app.domain.operations import Lease

STATEMENT_TIMEOUT_SECONDS = 60
CONNECT_TIMEOUT_SECONDS = 10
MAX_OVERFLOW = 2
SILENCE_SECONDS = 10
"""How long Postgres keeps the locks of a client that was frozen or cut off in the middle of a transaction."""

OUTAGES = ("08", "53", "57")
"""SQLSTATE classes: connection exception, insufficient resources, operator intervention."""

# A key share lets heartbeats, cancels and pauses through, which change the row; whoever ends the attempt locks the row
# FOR UPDATE first, and that waits for all fenced transactions.
_FENCE = text("SELECT 1 FROM operations WHERE id = :id AND lease_token = :token AND state = 'running' FOR KEY SHARE")

# Whoever takes a lane's documents over deletes its row first, which waits for the lane's transactions too.
_LANE_FENCE = text(
    """SELECT 1 FROM operations o JOIN lanes l ON l.operation_id = o.id AND l.token = o.lease_token
       WHERE o.id = :id AND o.lease_token = :token AND o.state = 'running' AND l.id = :lane
       FOR KEY SHARE OF o, l"""
)


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()


def _name_outage(context: ExceptionContext) -> None:
    """Raise what Postgres says while it stops, starts or is full as an OperationalError; the driver gives no class."""
    error = context.sqlalchemy_exception
    if error is None and isinstance(context.original_exception, OSError | TimeoutError):
        raise _outage(context.original_exception) from context.original_exception
    if not isinstance(error, DBAPIError) or isinstance(error, OperationalError | InterfaceError) or error.orig is None:
        return
    # a session that ends in the middle of a message confuses the driver, which takes that for a fault of its own
    confused = isinstance(context.original_exception.__cause__, asyncpg.InternalClientError)
    if confused or str(getattr(error.orig, "sqlstate", None) or "").startswith(OUTAGES):
        raise OperationalError(
            error.statement, error.params, error.orig, connection_invalidated=error.connection_invalidated
        ) from context.original_exception


def _outage(error: Exception) -> OperationalError:
    """A connection that fails or stays silent; the driver lets through what the socket says."""
    return OperationalError(None, None, error, connection_invalidated=True)


def find_driver(connection: AsyncConnection) -> "asyncpg.Connection[Any] | None":
    """The driver's connection, None if it was ended, as far as is known here."""
    pooled = connection.sync_connection
    driver = None if pooled is None else pooled.connection.driver_connection
    return None if driver is None or driver.is_closed() else driver


def create_engine(url: str, *, pool_size: int) -> AsyncEngine:
    """Engine for a ``postgresql+asyncpg://`` URL; plain ``postgresql://`` is accepted."""
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+asyncpg://" + url.partition("://")[2]
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=MAX_OVERFLOW,
        pool_timeout=STATEMENT_TIMEOUT_SECONDS,
        json_serializer=_dump_json,
        json_deserializer=orjson.loads,
        connect_args={
            "timeout": CONNECT_TIMEOUT_SECONDS,
            "command_timeout": STATEMENT_TIMEOUT_SECONDS,
            "server_settings": {
                "application_name": "vecloom",
                "jit": "off",
                "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{SILENCE_SECONDS}s",
            },
        },
    )
    event.listen(engine.sync_engine, "handle_error", _name_outage)
    return engine


class Database:
    """Gives transactions; ``fenced`` ones only while a lease is held.

    Who waits for a connection gets one in turn. The pool alone gives one that comes back to whoever asks at that
    moment: where there is always somebody, others wait for half a minute.

    A connection that was taken for a single statement is kept for the next one: to take it from the pool costs more
    than to ask it something.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        self.engine = create_engine(url, pool_size=pool_size)
        self._turns = asyncio.Semaphore(pool_size + MAX_OVERFLOW)
        self._singles = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._kept: list[AsyncConnection] = []

    @property
    def used(self) -> int:
        """How many connections somebody has now."""
        pool = self.engine.pool
        return pool.checkedout() - len(self._kept) if isinstance(pool, QueuePool) else 0

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back if it raises."""
        connection = await self._connect(self.engine)
        try:
            async with connection.begin():
                yield connection
        finally:
            await self._close(connection)

    async def _connect(self, engine: AsyncEngine) -> AsyncConnection:
        """A connection that the server has not ended, as far as is known here, or an OperationalError.

        The driver knows when it did: that costs nothing, while a ping would cost as much as a small transaction.
        """
        await self._take_turn()
        try:
            if self._kept:
                # the pool may have no other one left
                await self._kept.pop(0).close()
            while True:
                connection = await engine.connect()
                if find_driver(connection) is not None:
                    return connection
                await connection.invalidate()
                await connection.close()
        except (OSError, TimeoutError) as error:
            self._turns.release()
            raise _outage(error) from error
        except BaseException:
            self._turns.release()
            raise

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise PoolTimeoutError("no connection was free in time") from None

    async def _close(self, connection: AsyncConnection) -> None:
        """Also where the caller is cancelled meanwhile."""
        await asyncio.shield(asyncio.create_task(self._give_back(connection)))

    async def _give_back(self, connection: AsyncConnection) -> None:
        try:
            await connection.close()
        finally:
            self._turns.release()

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement, which is a transaction of its own: one round trip instead of three."""
        connection = await self._take_kept() or await self._connect(self._singles)
        try:
            yield connection
        except BaseException:
            await self._close(connection)
            raise
        if self._turns.locked() or connection.in_transaction() or find_driver(connection) is None:
            # no transaction is open, so it waits for nothing and cannot be interrupted
            await self._give_back(connection)
        else:
            self._kept.append(connection)
            self._turns.release()

    async def _take_kept(self) -> AsyncConnection | None:
        """One that was kept, with a turn; None, without one, if there is none or others wait for their turns."""
        while self._kept and not self._turns.locked():
            connection = self._kept.pop()
            if find_driver(connection) is not None:
                await self._turns.acquire()  # it is free, so this waits for nothing
                return connection
            await connection.invalidate()
            await connection.close()
        return None

    @asynccontextmanager
    async def fenced(self, lease: Lease) -> AsyncIterator[AsyncConnection]:
        """A transaction in which ``lease`` cannot be taken away.

        Raises:
            LeaseLostError: if the attempt no longer owns its operation; nothing is written.
        """
        async with self.begin() as connection:
            values = {"id": lease.operation_id, "token": lease.token}
            if lease.lane is None:
                row = await connection.execute(_FENCE, values)
            else:
                row = await connection.execute(_LANE_FENCE, values | {"lane": lease.lane})
            if row.first() is None:
                raise LeaseLostError(f"the lease on operation {lease.operation_id} was lost")
            yield connection

    async def ping(self) -> None:
        """Raise if Postgres does not answer."""
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS), self.single() as connection:
            await connection.execute(text("SELECT 1"))

    async def aclose(self) -> None:
        """Close all connections."""
        while self._kept:
            await self._kept.pop().close()
        await self.engine.dispose()


async def copy_rows(
    connection: AsyncConnection, table: str, *, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Write rows by COPY inside the connection's open transaction.

    The transaction must have executed a statement before: the driver begins it with the first one.
    """
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
    await driver.copy_records_to_table(table, columns=list(columns), records=rows)

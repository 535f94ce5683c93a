"""A worker's own connection to Postgres: its session lock, its heartbeats, its ear for pokes.

It is taken from no pool, so that jobs that use up all connections can neither delay a heartbeat nor a cancel.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.attempts import AttemptRepository
from app.db.database import create_engine
from app.db.deliveries import CHANNEL as DELIVERY_CHANNEL
from app.db.lanes import LaneRepository
from app.db.operations import POKE_CHANNEL
from app.db.workers import Look, WorkerRepository
from app.domain.operations import Lease, LeaseAnswer, WorkerProfile

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")
UNAVAILABLE = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What every call of ``WorkerGuard`` may raise when Postgres does not answer."""

LOCK_PATIENCE_SECONDS = 1.0
"""How long a lock may be missing before its worker is dead: a living one connects again faster."""

NEW_SESSION_SECONDS = 3.0
"""How long a new session finds nobody dead: if all sessions were ended at once, it may only be the first one back."""


class WorkerGuard:
    """One worker process, as Postgres sees it. After a lost connection every call first opens a new one.

    Args:
        url: of the database, not of a pooler that forbids session locks; where one is in between, only leases count.
        timeout_seconds: how long a call may take.

    Attributes:
        on_poke: called with the id of an operation or collection that somebody wants something of, and with None
            when the connection was lost.
        on_delivery: called when there is something to deliver to webhooks.
    """

    def __init__(self, url: str, profile: WorkerProfile, *, timeout_seconds: float) -> None:
        self.id = uuid4()
        self.on_poke: Callable[[UUID | None], None] = lambda _: None
        self.on_delivery: Callable[[], None] = lambda: None
        self._key = 0
        self._engine = create_engine(url, pool_size=1)
        self._profile = profile
        self._timeout_seconds = timeout_seconds
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection[Any] | None = None
        self._turn = asyncio.Lock()
        self._has_lock = False
        self._connected_at = 0.0

    @property
    def has_lock(self) -> bool:
        """Whether this worker's death would be noticed at once."""
        return self._has_lock

    async def beat(self, leases: Sequence[Lease]) -> dict[Lease, LeaseAnswer]:
        """Renew the worker's place, and its leases of operations and lanes; a lost one is missing from the answer."""

        async def renew(connection: AsyncConnection) -> dict[Lease, LeaseAnswer]:
            if not self._has_lock:
                # an old session of this worker may have held it until now
                self._has_lock = await WorkerRepository(connection).take_lock(self.id, self._key)
            await WorkerRepository(connection).beat(self.id, holds_lock=self._has_lock)
            answers: dict[Lease, LeaseAnswer] = {}
            seconds = self._profile.lease_seconds
            if own := [lease for lease in leases if lease.lane is None]:
                answers |= await AttemptRepository(connection).beat(own, lease_seconds=seconds)
            if shared := [lease for lease in leases if lease.lane is not None]:
                answers |= await LaneRepository(connection).beat(shared, lease_seconds=seconds)
            return answers

        return await self._call(renew)

    async def look(self) -> Look:
        """What there is to do for others; see ``WorkerRepository.look``."""
        return await self._call(
            lambda c: WorkerRepository(c).look(patience_seconds=self._patience(), worker_id=self.id)
        )

    def _patience(self) -> float:
        is_new = time.monotonic() - self._connected_at < NEW_SESSION_SECONDS
        return inf if is_new else LOCK_PATIENCE_SECONDS

    async def aclose(self) -> None:
        """Leave: the others need not wait for anything of this worker."""

        async def sign_off(connection: AsyncConnection) -> None:
            await AttemptRepository(connection).expire_leases([self.id])
            await WorkerRepository(connection).stop(self.id)

        try:
            await self._call(sign_off)
        except UNAVAILABLE as error:
            log.warning("worker_not_signed_off", error=type(error).__name__)
        await self._drop()
        await self._engine.dispose()

    async def _call(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    if self._driver is not None and self._driver.is_closed():
                        await self._drop()
                    connection = self._connection or await self._connect()
                    return await work(connection)
            except BaseException:
                # also when cancelled: nobody knows then what the connection is in the middle of
                await self._drop()
                raise

    async def _connect(self) -> AsyncConnection:
        connection = self._connection = await self._engine.connect()
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        driver = self._driver = (await connection.get_raw_connection()).driver_connection
        if driver is None:
            raise asyncpg.InterfaceError("the connection is closed")
        workers = WorkerRepository(connection)
        self._key = await workers.register(self.id, self._profile)
        self._has_lock = await workers.take_lock(self.id, self._key)
        self._connected_at = time.monotonic()
        if not self._has_lock:
            log.warning("worker_lock_not_held", note="a death of this worker is noticed when its leases end")
        await driver.add_listener(POKE_CHANNEL, self._take_poke)
        await driver.add_listener(DELIVERY_CHANNEL, self._take_delivery)
        driver.add_termination_listener(self._take_loss)
        return connection

    def _take_poke(self, *notification: object) -> None:
        with suppress(ValueError):
            self.on_poke(UUID(str(notification[3])))

    def _take_delivery(self, *_: object) -> None:
        self.on_delivery()

    def _take_loss(self, driver: object) -> None:
        if driver is self._driver:
            self.on_poke(None)

    async def _drop(self) -> None:
        """Forget the connection without a word to the server, which may not answer."""
        connection, driver = self._connection, self._driver
        self._connection = self._driver = None
        self._has_lock = False
        if driver is not None:
            driver.terminate()
        if connection is not None:
            with suppress(*UNAVAILABLE):
                await connection.invalidate()
            with suppress(*UNAVAILABLE):
                await connection.close()

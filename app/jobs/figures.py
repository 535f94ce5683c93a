"""Keeps the gauges of ``app/metrics.py`` that say how it stands with operations as a whole."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from app.db.database import Database
from app.db.figures import FiguresRepository
from app.db.guard import UNAVAILABLE
from app.db.partitions import PartitionRepository
from app.db.periodic import PeriodicRepository
from app.jobs.stopping import stop_task
from app.metrics import (
    DEAD_CHUNKS,
    FIGURES_READ,
    OLDEST_DUE,
    OPERATIONS,
    PARTITION_SKEW,
    PARTITIONS,
    PERIODIC_SUCCESS,
    QUEUE_DEPTH,
    WORKERS_ALIVE,
)

log = structlog.get_logger(__name__)

READ_SECONDS = 10.0


@asynccontextmanager
async def reading_figures(database: Database, *, every_seconds: float) -> AsyncIterator[None]:
    """Keep the gauges of this process up to date while the block runs.

    Every process that serves metrics does, for a scrape of any of them shall be true, above all while no worker lives.
    """
    task = asyncio.create_task(_read_forever(FiguresReader(database), every_seconds))
    try:
        yield
    finally:
        await stop_task(task)


async def _read_forever(reader: "FiguresReader", every_seconds: float) -> None:
    while True:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await reader.read()
        except UNAVAILABLE as error:
            # the gauges keep what they had, and their own time says how old that is
            log.debug("figures_not_read", error=type(error).__name__)
        await asyncio.sleep(every_seconds)


class FiguresReader:
    """Sets the gauges to what Postgres says."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[tuple[str, str]] = set()

    async def read(self) -> None:
        """Read them once; a kind and state that no operation has any more is 0, not what it was."""
        async with self._database.begin() as connection:
            figures = FiguresRepository(connection)
            counts = await figures.count_operations()
            line = await figures.read_line()
            looks = await PartitionRepository(connection).list_looks(days=1, limit=1)
            successes = await PeriodicRepository(connection).list_successes()
        for key in self._known | counts.keys():
            OPERATIONS.labels(*key).set(counts.get(key, 0))
        self._known |= counts.keys()
        QUEUE_DEPTH.set(line.dispatched)
        WORKERS_ALIVE.set(line.workers_alive)
        OLDEST_DUE.set(line.oldest_due_seconds)
        for name, at in successes.items():
            PERIODIC_SUCCESS.labels(name).set(at)
        for look in looks:
            PARTITIONS.labels("warning").set(look.warning)
            PARTITIONS.labels("unbalanced").set(look.unbalanced)
            PARTITION_SKEW.set(look.skew)
            DEAD_CHUNKS.set(look.dead_rows)
        FIGURES_READ.set(time.time())

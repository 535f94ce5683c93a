"""The arq worker: what it runs, and how it survives Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import structlog
from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.worker import Worker
from redis.exceptions import RedisError

from app.db.database import Database
from app.jobs.cron import run_tick
from app.jobs.queue import control_channel, queue_name, serialize
from app.jobs.runner import Runner
from app.jobs.stopping import stop_task
from app.operations.dispatch import Dispatcher

log = structlog.get_logger(__name__)

CLAIM_SECONDS = 20
ABOVE_HARD_LIMIT_SECONDS = 120
JOIN_SECONDS = 5.0
RECONNECT_SECONDS = 1.0


async def run_operation(ctx: dict[Any, Any], operation_id: str, dispatch: int) -> None:
    """The one job function: every kind of operation comes through here."""
    runner: Runner = ctx["runner"]
    await runner.run(UUID(operation_id), dispatch)


async def reconcile_operations(ctx: dict[Any, Any]) -> None:
    """Dispatch what is due and undispatched, take back expired leases."""
    dispatcher: Dispatcher = ctx["dispatcher"]
    database: Database = ctx["database"]
    await run_tick(
        database,
        "reconcile_operations",
        every_seconds=ctx["reconcile_seconds"],
        worker=ctx["worker"],
        work=dispatcher.reconcile,
    )


def cron_jobs(reconcile_seconds: int) -> list[CronJob]:
    """All periodic jobs."""
    seconds = set(range(0, 60, min(max(reconcile_seconds, 1), 60)))
    return [cron(reconcile_operations, second=seconds, unique=False, keep_result=0, max_tries=1_000_000)]


def worker_options(
    *, slots: int, poll_delay_seconds: float, reconcile_seconds: int, hard_limit_seconds: float, namespace: str
) -> dict[str, Any]:
    """Options of ``arq.Worker`` by which arq decides nothing: limits, tries and results are Postgres' matter."""
    return {
        "functions": [run_operation],
        "cron_jobs": cron_jobs(reconcile_seconds),
        "max_jobs": slots + 2,
        "queue_read_limit": max(2 * slots, 100),
        "poll_delay": poll_delay_seconds,
        "job_timeout": hard_limit_seconds + ABOVE_HARD_LIMIT_SECONDS,
        "queue_name": queue_name(namespace),
        "max_tries": 1_000_000,
        "keep_result": 0,
        "log_results": False,
        "job_serializer": serialize,
        "job_deserializer": orjson.loads,
    }


class SteadyWorker(Worker):
    """An arq worker that goes on after Redis errors, with as many free slots as it really has."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 — arq's own open-ended options
        super().__init__(**options)
        self.in_progress_timeout_s = CLAIM_SECONDS

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("redis_unavailable", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)
            await self._resync_slots()

    async def join(self) -> None:
        """Wait until arq has put away the jobs that have ended: it writes to Redis once more after each."""
        open_tasks = [task for task in self.tasks.values() if not task.done()]
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=JOIN_SECONDS)

    async def _resync_slots(self) -> None:
        """Count slots anew: an error in the middle of taking a job has kept its slot."""
        self.tasks = {job_id: task for job_id, task in self.tasks.items() if not task.done()}
        self.job_counter = len(self.tasks)
        self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
        for _ in self.tasks:
            await self.sem.acquire()


@asynccontextmanager
async def listening_for_cancels(redis: ArqRedis, runner: Runner, *, namespace: str) -> AsyncIterator[None]:
    """Stop operations of this worker as soon as their cancel is published."""
    listener = asyncio.create_task(_listen(redis, runner, control_channel(namespace)))
    try:
        yield
    finally:
        await stop_task(listener)


async def _listen(redis: ArqRedis, runner: Runner, channel: str) -> None:
    while True:
        try:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(channel)
                while True:
                    message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1.0)
                    if message is not None:
                        runner.cancel(UUID(orjson.loads(message["data"])["cancel"]))
        except (RedisError, OSError, TimeoutError, ValueError, KeyError) as error:
            log.warning("control_channel_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)

"""The arq worker: what it runs, and how it survives Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.cron import CronJob, cron
from arq.worker import Worker
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.db.database import Database
from app.db.embedding_cache import trim_embedding_cache
from app.domain.operations import LaneChange
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
LISTEN_SECONDS = 4.0
DAY_SECONDS = 86_400
LANE_CHANGES = frozenset(change.value for change in LaneChange)


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


async def cleanup_embedding_cache(ctx: dict[Any, Any]) -> None:
    """Drop the vectors that were not used for longest, once a day."""
    database: Database = ctx["database"]

    async def trim() -> int:
        return await trim_embedding_cache(database, max_bytes=ctx["embedding_cache_bytes"])

    await run_tick(database, "cleanup_embedding_cache", every_seconds=DAY_SECONDS, worker=ctx["worker"], work=trim)


def cron_jobs(reconcile_seconds: int) -> list[CronJob]:
    """All periodic jobs."""
    seconds = set(range(0, 60, min(max(reconcile_seconds, 1), 60)))
    often: dict[str, Any] = {"unique": False, "keep_result": 0, "max_tries": 1_000_000}
    return [
        cron(reconcile_operations, second=seconds, **often),
        # every hour: whoever lives first that day does it
        cron(cleanup_embedding_cache, minute=17, second=7, **often),
    ]


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


class Wake:
    """Why an arq worker looks: because of jobs that were just announced, or because there may be others."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._announced: list[str] = []
        self._look = True

    def announce(self, job_ids: Sequence[str]) -> None:
        """These have come; none means that something may have come."""
        self._announced += job_ids
        self._look |= not job_ids
        self._event.set()

    def take(self) -> tuple[list[str], bool]:
        """What was announced, and whether to look for more; both are forgotten."""
        taken = self._announced, self._look
        self._announced, self._look = [], False
        self._event.clear()
        return taken

    async def wait(self, *, timeout_seconds: float) -> None:
        """Return when there is something; after the timeout, look in any case."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            self._look = True


class SteadyWorker(Worker):
    """An arq worker that is woken by push, takes many jobs in one round trip, and goes on after Redis errors.

    Args:
        wake: told whenever there may be something in the queue; ``poll_delay`` is only the safety net.
    """

    def __init__(self, *, wake: Wake, **options: Any) -> None:  # noqa: ANN401 — arq's own open-ended options
        super().__init__(**options)
        self.in_progress_timeout_s = CLAIM_SECONDS
        self._wake = wake

    async def main(self) -> None:
        """Start what is announced; look into the queue whenever there may be more, and every ``poll_delay``."""
        self.ctx["redis"] = self.pool
        looked = 0.0
        while True:
            announced, look = self._wake.take()
            if look or self.loop.time() - looked > self.poll_delay_s:
                looked = self.loop.time()
                await self._poll_iteration()
            else:
                await self._steadily(self.start_jobs([job_id.encode() for job_id in announced]))
            await self._wake.wait(timeout_seconds=self.poll_delay_s)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start jobs that nobody else has taken, as many as there are slots. arq would ask for each one by itself."""
        # Redis may forget that one of them is being run here
        waiting = [job_id for job_id in map(bytes.decode, job_ids) if job_id not in self.tasks]
        ids = waiting[: self.max_jobs - self.job_counter]
        if not ids:
            return
        async with self.pool.pipeline(transaction=True) as pipe:
            for job_id in ids:
                pipe.set(in_progress_key_prefix + job_id, b"1", nx=True, px=int(self.in_progress_timeout_s * 1000))
            pipe.zmscore(self.queue_name, ids)
            *taken, scores = await pipe.execute()
        gone = [job_id for job_id, took, score in zip(ids, taken, scores, strict=True) if took and score is None]
        if gone:
            await self.pool.delete(*(in_progress_key_prefix + job_id for job_id in gone))
        for job_id, took, score in zip(ids, taken, scores, strict=True):
            if took and score is not None:
                self.job_counter += 1
                await self.sem.acquire()
                task = self.loop.create_task(self.run_job(job_id, int(score)))
                task.add_done_callback(lambda _: self._release_slot())
                self.tasks[job_id] = task

    def _release_slot(self) -> None:
        self._release_sem_dec_counter_on_complete()
        # there may be more in the queue than there were slots
        self._wake.announce(())

    async def _poll_iteration(self) -> None:
        await self._steadily(super()._poll_iteration())

    async def _steadily(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("redis_unavailable", error=type(error).__name__)
            await self._start_anew()
        except Exception:  # a worker that beats and takes no work would be waited for in vain
            log.exception("poll_failed")
            await self._start_anew()

    async def _start_anew(self) -> None:
        await asyncio.sleep(RECONNECT_SECONDS)
        await self._resync_slots()

    async def join(self) -> None:
        """Wait until arq has put away the jobs that have ended: it writes to Redis once more after each."""
        open_tasks = [task for task in self.tasks.values() if not task.done()]
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=JOIN_SECONDS)

    async def _resync_slots(self) -> None:
        """Count slots anew: an error in the middle of taking a job has kept its slot."""
        for task in self.tasks.values():
            if task.done() and not task.cancelled():
                task.exception()  # looked at, or asyncio would call it forgotten: it is Redis' again
        self.tasks = {job_id: task for job_id, task in self.tasks.items() if not task.done()}
        self.job_counter = len(self.tasks)
        self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
        for _ in self.tasks:
            await self.sem.acquire()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Who is told what is said to all workers: that there is work, a wish, or something of an operation's lanes."""

    on_wake: Callable[[Sequence[str]], None]
    on_poke: Callable[[UUID], None]
    on_lanes: Callable[[UUID, LaneChange], None]

    def take(self, said: dict[str, Any]) -> None:
        """Hand on one message; what only a newer worker knows is a reason to look, as for an older one."""
        if "poke" in said:
            self.on_poke(UUID(said["poke"]))
        elif said.get("lanes") in LANE_CHANGES:
            self.on_lanes(UUID(said["operation"]), LaneChange(said["lanes"]))
        else:
            self.on_wake(said["wake"])


@asynccontextmanager
async def listening(redis: ArqRedis, *, namespace: str, ears: Ears) -> AsyncIterator[None]:
    """Hear of work and of wishes as soon as they are published."""
    listener = asyncio.create_task(_listen(redis, control_channel(namespace), ears))
    try:
        yield
    finally:
        await stop_task(listener)


async def _listen(redis: ArqRedis, channel: str, ears: Ears) -> None:
    while True:
        try:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(channel)
                ears.on_wake(())  # something may have been said before
                await _hear(pubsub, ears)
        except (RedisError, OSError, TimeoutError, ValueError, KeyError) as error:
            log.warning("control_channel_lost", error=type(error).__name__)
        except Exception:  # without it, work would only be found by polling
            log.exception("control_channel_failed")
        await asyncio.sleep(RECONNECT_SECONDS)


async def _hear(pubsub: PubSub, ears: Ears) -> None:
    """Hand on what is said; a silent connection is asked for a sign of life, and left if it gives none."""
    asked = False
    while True:
        message = await pubsub.get_message(timeout=LISTEN_SECONDS)
        if message is None:
            if asked:
                raise TimeoutError
            asked = True
            await pubsub.ping()
            continue
        asked = False
        if message["type"] == "message":
            ears.take(orjson.loads(message["data"]))

"""Keeps a worker's leases alive, and looks after operations whose worker is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog

from app.db.guard import UNAVAILABLE, WorkerGuard
from app.db.workers import Look
from app.jobs.attempt import Attempt, Reason, now
from app.jobs.stopping import stop_task
from app.metrics import WORKERS_DIED
from app.operations.dispatch import Dispatcher

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 0.25
FIRST_TRIES = 5
SOON_SECONDS = 0.2
LOOKERS = 4
"""So many workers look around every ``LOOK_SECONDS``; if there are more, each looks less often."""


class Keeper:
    """Beats every ``heartbeat_seconds``, and at once when somebody pokes; looks around in between.

    Args:
        guard: the worker's own connection.
        list_held: the attempts that run now.
        heartbeat_seconds: time between two renewals.
        on_failure: called if it ends through a bug; a worker without a keeper must not go on.
        on_offers: called with the operations of other workers that this one could share.
    """

    def __init__(
        self,
        guard: WorkerGuard,
        dispatcher: Dispatcher,
        list_held: Callable[[], Sequence[Attempt]],
        *,
        heartbeat_seconds: float,
        on_failure: Callable[[], None],
        on_offers: Callable[[Sequence[UUID]], None] = lambda _: None,
    ) -> None:
        self._on_failure = on_failure
        self._on_offers = on_offers
        self._guard = guard
        self._dispatcher = dispatcher
        self._list_held = list_held
        self._heartbeat_seconds = heartbeat_seconds
        self._poked = asyncio.Event()
        self._look_seconds = LOOK_SECONDS
        self._beaten = float("-inf")
        guard.on_poke = self.poke

    @property
    def silent_seconds(self) -> float:
        """How long ago Postgres last took a heartbeat of this worker; infinite before the first one."""
        return now() - self._beaten

    def poke(self, subject: UUID | None) -> None:
        """Beat at once if an operation of this worker is meant; None means that the connection needs care."""
        held = self._list_held()
        if subject is None or any(subject in (a.operation.id, a.operation.collection_id) for a in held):
            self._poked.set()
        else:
            # it may be one that is being claimed at this moment
            asyncio.get_running_loop().call_later(SOON_SECONDS, self._poked.set)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keep this worker's leases while the block runs. The worker is known to others when the block begins.

        Looking around is a task of its own: taking back many operations must not delay a heartbeat.
        """
        await self._begin()
        beating = asyncio.create_task(self._beat_forever())
        looking = asyncio.create_task(self._look_forever())
        for task in (beating, looking):
            task.add_done_callback(self._take_end)
        try:
            yield
        finally:
            await stop_task(looking)
            await stop_task(beating)
            await self._guard.aclose()

    async def _begin(self) -> None:
        """The first heartbeat; Postgres or this machine may be busy for a moment."""
        for _ in range(FIRST_TRIES - 1):
            try:
                return await self._beat()
            except UNAVAILABLE as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)
        return await self._beat()

    def _take_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("keeper_failed", exc_info=error)
            self._on_failure()

    async def _beat_forever(self) -> None:
        pause = self._heartbeat_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            self._poked.clear()
            try:
                await self._beat()
                pause = self._heartbeat_seconds
            except UNAVAILABLE as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
                self._fence()
                pause = min(AGAIN_SECONDS, self._heartbeat_seconds)

    async def _beat(self) -> None:
        held = self._list_held()
        sent = now()
        answers = await self._guard.beat([attempt.lease for attempt in held])
        self._beaten = sent
        for attempt in held:
            if not attempt.take_answer(answers.get(attempt.lease), sent=sent):
                log.warning("lease_lost", operation_id=str(attempt.operation.id), attempt=attempt.operation.attempt)

    def _fence(self) -> None:
        """Stop what may be somebody else's by now."""
        for attempt in self._list_held():
            if attempt.fenced and attempt.reason is not Reason.LEASE_LOST:
                attempt.stop(Reason.LEASE_LOST)

    async def _look_forever(self) -> None:
        while True:
            try:
                await self._act_on(await self._guard.look())
            except UNAVAILABLE as error:
                log.debug("look_failed", error=type(error).__name__)
            await asyncio.sleep(self._look_seconds)

    async def _act_on(self, look: Look) -> None:
        self._look_seconds = LOOK_SECONDS * max(1.0, look.alive / LOOKERS)
        for name in look.dead:
            log.warning("worker_died", worker=name)
            WORKERS_DIED.inc()
        if look.offers:
            self._on_offers(look.offers)
        taken_back = await self._dispatcher.take_back() if look.has_expired or look.dead else 0
        if taken_back or look.has_due:
            await self._dispatcher.pump()

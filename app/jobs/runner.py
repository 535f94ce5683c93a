"""The runner around every job: the only code that turns an outcome into a state."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.domain.operations import Lease, Operation, OperationKind
from app.domain.ports import OperationEvents, OperationQueue, Reporter
from app.jobs.attempt import Attempt, Reason, now
from app.jobs.classify import find_decisive
from app.jobs.context import Job, JobContext, Resources
from app.jobs.outcome import Settler
from app.jobs.snapshot import SnapshotReporter
from app.jobs.stopping import stop_task
from app.metrics import QUEUE_LATENCY
from app.operations.attempts import Attempts
from app.operations.dispatch import Dispatcher
from app.traces import attempt_span

log = structlog.get_logger(__name__)

UNAVAILABLE = (SQLAlchemyError, OSError, TimeoutError)
STOP_SECONDS = 10.0
SETTLE_SECONDS = 15.0
PAUSE_SECONDS = 30.0
"""How long a paused job may go on to its next checkpoint."""
LIMIT_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """Seconds of ``operations.md``."""

    soft_seconds: float
    hard_seconds: float
    lease_seconds: float


class Runner:
    """Claims deliveries, runs jobs under a lease, and has them settled."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        dispatcher: Dispatcher,
        queue: OperationQueue,
        events: OperationEvents,
        resources: Resources,
        settler: Settler,
        jobs: Mapping[OperationKind, Job],
        limits: RunnerLimits,
        worker: str,
    ) -> None:
        self._attempts = attempts
        self._dispatcher = dispatcher
        self._queue = queue
        self._events = events
        self._resources = resources
        self._settler = settler
        self._jobs = jobs
        self._limits = limits
        self._worker = worker
        self._running: dict[UUID, Attempt] = {}
        self._open = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.broken = asyncio.Event()
        """Set when a job does not end although it was told to, or a bug ended the keeper: replace the process."""

    def list_held(self) -> list[Attempt]:
        """The attempts that run now."""
        return list(self._running.values())

    async def run(self, operation_id: UUID, dispatch: int) -> None:
        """Execute one delivery; a stale one returns at once."""
        asked = now()
        try:
            operation = None if self._draining else await self._attempts.claim(operation_id, dispatch)
            if operation is None:
                await self._attempts.withdraw(operation_id, dispatch)
                await self._queue.forget([(operation_id, dispatch)])
        except UNAVAILABLE as error:
            # if it was claimed after all, its lease ends unrenewed; if not, it is enqueued again
            log.warning("claim_failed", operation_id=str(operation_id), error=type(error).__name__)
            return
        if operation is None or operation.lease_token is None:
            return
        lease = Lease(operation_id=operation.id, token=operation.lease_token)
        attempt = Attempt(operation, lease, lease_seconds=self._limits.lease_seconds, asked=asked)
        who: dict[str, Any] = {
            "kind": operation.kind.value,
            "operation_id": str(operation.id),
            "collection_id": None if operation.collection_id is None else str(operation.collection_id),
            "attempt": operation.attempt,
            "worker": self._worker,
        }
        with structlog.contextvars.bound_contextvars(**who), attempt_span(operation.trace_parent, **who):
            await self._carry_out(attempt)

    async def _carry_out(self, attempt: Attempt) -> None:
        operation = attempt.operation
        # one before it may still tell its watchers how it ended, or not know yet that it lost its lease
        if (older := self._running.get(operation.id)) is not None:
            older.stop(Reason.LEASE_LOST)
        self._running[operation.id] = attempt
        self._open += 1
        self._idle.clear()
        _observe_latency(operation)
        try:
            async with self._events.open(operation) as reporter:
                error = await self._execute(attempt, reporter)
                await _see_through(self._settler.settle(attempt, error, reporter))
        finally:
            if self._running.get(operation.id) is attempt:
                del self._running[operation.id]
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _announce_start(self, operation: Operation, reporter: Reporter) -> None:
        """Tell the watchers, then take the delivery out of the queue; the job need not wait for either."""
        data = {"kind": operation.kind.value, "attempt": operation.attempt, "worker": self._worker}
        await reporter.send_update("operation_started", data)
        if operation.attempt > 1:
            snapshot = (operation.progress or {}).get("documents")
            await reporter.send_update("operation_resumed", {"attempt": operation.attempt, "from": snapshot})
        await self._queue.forget([(operation.id, operation.dispatch)])

    async def _execute(self, attempt: Attempt, reporter: Reporter) -> BaseException | None:
        """Run the job to its end, its limits or its cancellation; the result is left in ``attempt.task``."""
        report = SnapshotReporter(reporter, self._attempts, attempt.lease)
        context = JobContext(
            resources=self._resources,
            lease=attempt.lease,
            report=report,
            should_yield=lambda: attempt.yielding,
            note_progress=attempt.note_progress,
            require_lease=attempt.require_lease,
        )
        job = self._jobs[attempt.operation.kind]
        # it begins first, so its event is the first of the attempt
        announcing = asyncio.create_task(self._announce_start(attempt.operation, reporter))
        attempt.task = task = asyncio.ensure_future(job(context, attempt.operation))
        try:
            await self._watch(attempt, task, reporter)
        except asyncio.CancelledError:
            attempt.stop(Reason.SHUTDOWN)
        await stop_task(task)
        await asyncio.wait({announcing, asyncio.create_task(report.save_newest())})
        if not task.done():
            log.error("job_does_not_stop", reason=attempt.reason)
            attempt.stop(Reason.LEASE_LOST)
            self.broken.set()
            return None
        return None if task.cancelled() else find_decisive(task.exception())

    async def _watch(self, attempt: Attempt, task: "asyncio.Task[dict[str, Any]]", reporter: Reporter) -> None:
        """Return when the job has ended or has to be stopped."""
        started, paused_at, told = now(), 0.0, False
        most = float(attempt.operation.config.get("max_runtime_seconds") or "inf") - attempt.operation.ran_seconds
        stopped = asyncio.ensure_future(attempt.stopped.wait())
        try:
            while not task.done() and attempt.reason is None:
                age = now() - started
                paused_at = (paused_at or age) if attempt.paused else 0.0
                if age >= most:
                    attempt.stop(Reason.MAX_RUNTIME)
                elif age >= self._limits.hard_seconds:
                    attempt.stop(Reason.HARD_LIMIT)
                elif attempt.paused and age - paused_at >= PAUSE_SECONDS:
                    attempt.stop(Reason.PAUSE)
                elif age >= self._limits.soft_seconds and not told:
                    attempt.ask_for_slice_end()
                    told = True
                    await reporter.send_update("soft_time_limit", {})
                deadlines = (most, self._limits.hard_seconds, *(() if told else (self._limits.soft_seconds,)))
                wait = min(max(min(deadlines) - age, 0.0), LIMIT_CHECK_SECONDS)
                await asyncio.wait({task, stopped}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def drain(self, *, grace_seconds: float) -> None:
        """Take no more deliveries, let jobs reach a checkpoint, then hand back what is left."""
        self._draining = True
        for attempt in self._running.values():
            attempt.yielding = True
        if await self._is_idle_within(grace_seconds):
            return
        for attempt in list(self._running.values()):
            attempt.stop(Reason.SHUTDOWN)
        await self._is_idle_within(STOP_SECONDS + SETTLE_SECONDS)

    async def _is_idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


def _observe_latency(operation: Operation) -> None:
    """Count how long the operation was due, by Postgres' clock alone."""
    if operation.heartbeat_at and operation.run_after and operation.created_at:
        due = max(operation.run_after, operation.created_at)
        QUEUE_LATENCY.labels(operation.kind.value).observe(max(0.0, (operation.heartbeat_at - due).total_seconds()))


async def _see_through(work: Coroutine[Any, Any, None]) -> None:
    """Wait until the work is done, also when cancelled meanwhile: what it stands on must not be closed before."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise

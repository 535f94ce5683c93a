"""The runner around every job: the only code that turns an outcome into a state."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import DomainError, LeaseLostError, SliceEndedError, TransientError
from app.domain.failures import HardTimeLimitError, UnexpectedError
from app.domain.operations import Lease, Operation, OperationKind
from app.domain.ports import OperationEvents, OperationQueue, Reporter
from app.jobs.classify import classify, find_decisive
from app.jobs.context import Job, JobContext, Resources
from app.jobs.stopping import stop_task
from app.operations.attempts import Attempts
from app.operations.dispatch import Dispatcher, final_event

log = structlog.get_logger(__name__)

STOP_SECONDS = 10.0
SETTLE_SECONDS = 15.0
LONGEST_RETRY_SECONDS = 900.0
FENCE_SHARE = 0.75
"""Share of a lease after which a worker that could not renew it stops writing."""
SNAPSHOT_SECONDS = 2.0


class Reason(StrEnum):
    """Why a running attempt was cancelled; ``CancelledError`` itself carries none."""

    USER = "user"
    HARD_LIMIT = "hard_limit"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """Seconds and counts of ``operations.md``."""

    soft_seconds: float
    hard_seconds: float
    lease_seconds: float
    heartbeat_seconds: float
    max_failures: int
    retry_delay_seconds: float


class Attempt:
    """One try at an operation, while it runs."""

    def __init__(self, operation: Operation, lease: Lease, *, fence_seconds: float) -> None:
        self.operation = operation
        self.lease = lease
        self.task: asyncio.Task[dict[str, Any]] | None = None
        self.reason: Reason | None = None
        self.yielding = False
        self._fence_seconds = fence_seconds
        self.renewed = time.monotonic()
        self.stopped = asyncio.Event()

    @property
    def fenced(self) -> bool:
        """Whether the lease may have been given to somebody else by now."""
        return time.monotonic() - self.renewed > self._fence_seconds

    def require_lease(self) -> None:
        """Raise LeaseLostError if this attempt cannot be sure to own its operation."""
        if self.fenced or self.reason is Reason.LEASE_LOST:
            raise LeaseLostError(f"the lease on operation {self.operation.id} was not renewed in time")

    def stop(self, reason: Reason) -> None:
        """Have the job cancelled; the first reason stands."""
        if self.reason is None:
            self.reason = reason
            self.stopped.set()


class _SnapshotReporter:
    """Passes events on and keeps the newest progress snapshot in the operation's row."""

    def __init__(self, inner: Reporter, attempts: Attempts, lease: Lease) -> None:
        self._inner = inner
        self._attempts = attempts
        self._lease = lease
        self._saved = 0.0

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the envelope's own word
        await self._inner.send_update(type, data)
        if type.endswith("_progress") and time.monotonic() - self._saved > SNAPSHOT_SECONDS:
            self._saved = time.monotonic()
            await self._attempts.save_progress(self._lease, data)


class Runner:
    """Claims deliveries, runs jobs under a lease, and settles them."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        dispatcher: Dispatcher,
        queue: OperationQueue,
        events: OperationEvents,
        resources: Resources,
        jobs: Mapping[OperationKind, Job],
        limits: RunnerLimits,
        worker: str,
    ) -> None:
        self._attempts = attempts
        self._dispatcher = dispatcher
        self._queue = queue
        self._events = events
        self._resources = resources
        self._jobs = jobs
        self._limits = limits
        self._worker = worker
        self._running: dict[UUID, Attempt] = {}
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self, operation_id: UUID, dispatch: int) -> None:
        """Execute one delivery; a stale one returns at once."""
        if self._draining:
            return
        operation = await self._attempts.claim(operation_id, dispatch)
        await self._queue.forget(operation_id, dispatch)
        if operation is None or operation.lease_token is None:
            await self._dispatcher.explain(operation_id)
            return
        lease = Lease(operation_id=operation.id, token=operation.lease_token)
        fence = self._limits.lease_seconds * FENCE_SHARE
        attempt = Attempt(operation, lease, fence_seconds=fence)
        self._running[operation.id] = attempt
        self._idle.clear()
        structlog.contextvars.bind_contextvars(operation_id=str(operation.id), attempt=operation.attempt)
        try:
            async with self._events.open(operation) as reporter:
                await self._announce_start(operation, reporter)
                error = await self._execute(attempt, reporter)
                await asyncio.shield(asyncio.create_task(self._settle(attempt, error, reporter)))
        finally:
            self._running.pop(operation.id, None)
            if not self._running:
                self._idle.set()
            structlog.contextvars.unbind_contextvars("operation_id", "attempt")

    async def _announce_start(self, operation: Operation, reporter: Reporter) -> None:
        data = {"kind": operation.kind.value, "attempt": operation.attempt, "worker": self._worker}
        await reporter.send_update("operation_started", data)
        if operation.attempt > 1:
            snapshot = (operation.progress or {}).get("documents")
            await reporter.send_update("operation_resumed", {"attempt": operation.attempt, "from": snapshot})

    async def _execute(self, attempt: Attempt, reporter: Reporter) -> BaseException | None:
        """Run the job to its end, its limits or its cancellation; the result is left in ``attempt.task``."""
        context = JobContext(
            resources=self._resources,
            lease=attempt.lease,
            since=attempt.operation.started_at or datetime.now(UTC),
            report=_SnapshotReporter(reporter, self._attempts, attempt.lease),
            should_yield=lambda: attempt.yielding,
            require_lease=attempt.require_lease,
        )
        job = self._jobs[attempt.operation.kind]
        attempt.task = task = asyncio.ensure_future(job(context, attempt.operation))
        stopped = asyncio.ensure_future(attempt.stopped.wait())
        first = {"return_when": asyncio.FIRST_COMPLETED}
        try:
            done, _ = await asyncio.wait({task, stopped}, timeout=self._limits.soft_seconds, **first)
            if not done:
                attempt.yielding = True
                await reporter.send_update("soft_time_limit", {})
                left = self._limits.hard_seconds - self._limits.soft_seconds
                done, _ = await asyncio.wait({task, stopped}, timeout=left, **first)
            if not done:
                attempt.stop(Reason.HARD_LIMIT)
        except asyncio.CancelledError:
            attempt.stop(Reason.SHUTDOWN)
        finally:
            stopped.cancel()
        await stop_task(task)
        if not task.done():
            log.error("job_does_not_stop", reason=attempt.reason)
            attempt.reason = Reason.LEASE_LOST
            return None
        return None if task.cancelled() else find_decisive(task.exception())

    async def _settle(self, attempt: Attempt, error: BaseException | None, reporter: Reporter) -> None:
        """Commit the outcome, then publish it; bounded, and not stopped by cancellation."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                ended = await self._commit(attempt, error)
                if ended is None:
                    log.warning("outcome_dropped", reason="the lease was lost")
                    return
                await self._publish(ended, reporter)
                if ended.state.is_final:
                    await self._dispatcher.dispatch_next(ended.collection_id)
                else:
                    await self._dispatcher.dispatch(ended.id)
        except (SQLAlchemyError, OSError, TimeoutError) as failure:
            log.warning(
                "settle_failed", error=type(failure).__name__, note="the lease expires and another worker goes on"
            )

    async def _commit(self, attempt: Attempt, error: BaseException | None) -> Operation | None:
        lease, task = attempt.lease, attempt.task
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return await self._attempts.complete(lease, task.result())
        if attempt.reason is Reason.LEASE_LOST or isinstance(error, LeaseLostError):
            return None
        if attempt.reason is Reason.USER:
            return await self._attempts.cancel(lease)
        if attempt.reason is Reason.SHUTDOWN:
            return await self._attempts.hand_back(lease, why="its worker is shutting down", interrupted=True)
        if isinstance(error, SliceEndedError):
            return await self._attempts.hand_back(lease, why="continues in the next slice", interrupted=False)
        if error is None:
            error = HardTimeLimitError("the attempt was ended at the hard time limit; what it had done is kept")
        return await self._fail_or_retry(attempt, error)

    async def _fail_or_retry(self, attempt: Attempt, error: BaseException) -> Operation | None:
        known = classify(error)
        if isinstance(known, UnexpectedError):
            log.error("job_failed", exc_info=error)
        else:
            log.warning("attempt_failed", code=known.code)
        failures = attempt.operation.failures
        most = 1 if isinstance(known, UnexpectedError) else self._limits.max_failures
        if known.retryable and failures < most:
            return await self._attempts.retry_later(
                attempt.lease, delay_seconds=self._delay(known, failures), code=known.code, message=known.message
            )
        return await self._attempts.fail(
            attempt.lease, code=known.code, message=known.message, retryable=known.retryable
        )

    def _delay(self, error: DomainError, failures: int) -> float:
        jitter = random.uniform(0.8, 1.2)  # noqa: S311 — spreads retries, keeps no secret
        delay = self._limits.retry_delay_seconds * 2.0**failures * jitter
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        return min(max(delay, asked or 0.0), LONGEST_RETRY_SECONDS)

    async def _publish(self, ended: Operation, reporter: Reporter) -> None:
        if ended.state.is_final:
            await reporter.send_update(*final_event(ended))
        elif ended.error_code is not None:
            retry_at = ended.run_after.isoformat() if ended.run_after else None
            data = {"attempt": ended.attempt, "error_code": ended.error_code, "retry_at": retry_at}
            await reporter.send_update("operation_retrying", data)
        else:
            await reporter.send_update("operation_queued", {"kind": ended.kind.value, "why_waiting": ended.why_waiting})

    def cancel(self, operation_id: UUID) -> None:
        """Stop an operation of this worker because its user asked."""
        attempt = self._running.get(operation_id)
        if attempt is not None:
            attempt.stop(Reason.USER)

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_seconds)
            held = list(self._running.values())
            if not held:
                continue
            sent = time.monotonic()
            try:
                async with asyncio.timeout(self._limits.heartbeat_seconds):
                    answers = await self._attempts.beat([attempt.lease for attempt in held])
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
                for attempt in held:
                    if attempt.fenced:
                        attempt.stop(Reason.LEASE_LOST)
                continue
            for attempt in held:
                self._take_answer(attempt, answers.get(attempt.operation.id), sent)

    def _take_answer(self, attempt: Attempt, cancel_requested: bool | None, sent: float) -> None:  # noqa: FBT001 — a row's value
        if cancel_requested is None:
            if attempt.task is not None and not attempt.task.done():
                attempt.stop(Reason.LEASE_LOST)
            return
        attempt.renewed = sent
        if cancel_requested:
            attempt.stop(Reason.USER)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Renew the leases of all running attempts while the block runs."""
        beat = asyncio.create_task(self._beat_forever())
        try:
            yield
        finally:
            await stop_task(beat)

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

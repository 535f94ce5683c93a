"""Turns how an attempt ended into what becomes of its operation."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import DomainError, LeaseLostError, SliceEndedError, TransientError
from app.domain.failures import DatabaseUnavailableError, HardTimeLimitError, MaxRuntimeError, UnexpectedError
from app.domain.operations import Operation, OperationState
from app.domain.ports import Reporter
from app.jobs.attempt import Attempt, Reason
from app.jobs.classify import classify
from app.metrics import ATTEMPTS, LEASES_LOST
from app.operations.attempts import Attempts
from app.operations.dispatch import LONGEST_DELAY_SECONDS, Dispatcher, final_event
from app.traces import end_attempt

log = structlog.get_logger(__name__)

UNAVAILABLE = (SQLAlchemyError, OSError, TimeoutError)
PASSING = (OperationalError, InterfaceError, PoolTimeoutError, OSError, TimeoutError)
"""What committing an outcome may meet that a moment later may be over."""

COMMIT_SECONDS = 5.0
PAUSE_SECONDS = 0.5
RELEASE_SECONDS = 5.0
LONGEST_BACKOFF_SECONDS = 900.0
LONGEST_OUTAGE_BACKOFF_SECONDS = 60.0

Release = Callable[[Attempt], Awaitable[None]]
"""Brings back what an attempt that did not complete had in its hands; bounded in time by its caller."""

ClearAway = Callable[[Operation], Awaitable[None]]
"""Takes away what an operation leaves that has ended without completing, once everybody knows that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon; see ``operations.md``."""

    max_failures: int
    max_interruptions: int
    retry_delay_seconds: float


class Settler:
    """Commits outcomes, then publishes them."""

    def __init__(
        self,
        attempts: Attempts,
        dispatcher: Dispatcher,
        release: Release,
        policy: RetryPolicy,
        *,
        clear_away: ClearAway | None = None,
    ) -> None:
        self._attempts = attempts
        self._dispatcher = dispatcher
        self._release = release
        self._policy = policy
        self._clear_away = clear_away

    async def settle(self, attempt: Attempt, error: BaseException | None, reporter: Reporter) -> None:
        """Commit the outcome as long as the lease is held, then publish it. Not to be stopped by cancellation."""
        kind = attempt.operation.kind.value
        try:
            ended = await self._commit(attempt, error)
            if ended is None:
                LEASES_LOST.inc()
                ATTEMPTS.labels(kind, "dropped").inc()
                end_attempt(outcome="dropped", error_code=LeaseLostError.code)
                log.warning("outcome_dropped", reason="the lease was lost")
                return
            outcome = ended.state.value if ended.state.is_final else "put_back"
            ATTEMPTS.labels(kind, outcome).inc()
            end_attempt(outcome=outcome, error_code=ended.error_code)
            await self._publish(ended, reporter)
            await self._dispatcher.pump()
            if ended.state in (OperationState.CANCELLED, OperationState.FAILED) and self._clear_away is not None:
                await self._clear_away(ended)
        except (*UNAVAILABLE, DomainError) as failure:
            log.warning("settle_failed", error=type(failure).__name__, note="the reconciler does what is left")

    async def _commit(self, attempt: Attempt, error: BaseException | None) -> Operation | None:
        """Try for as long as the lease is certain: Postgres may be away for a moment."""
        if not _is_done(attempt) and attempt.reason is not Reason.LEASE_LOST and not attempt.fenced:
            await self._give_back_documents(attempt)
        is_unsure = False
        while not (attempt.fenced or attempt.reason is Reason.LEASE_LOST or isinstance(error, LeaseLostError)):
            try:
                async with asyncio.timeout(COMMIT_SECONDS):
                    ended = await self._decide(attempt, error)
                    if ended is None and is_unsure:
                        ended = await self._attempts.find_ended(attempt.operation)
                    return ended
            except PASSING as failure:
                is_unsure = True
                log.warning("outcome_not_committed", error=type(failure).__name__, note="trying again")
            except (SQLAlchemyError, TypeError, ValueError) as failure:
                log.exception("outcome_refused")
                reason = f"its outcome cannot be stored ({type(failure).__name__}); the worker's log has the details"
                return await self._attempts.fail(
                    attempt.lease, code=UnexpectedError.code, message=reason, retryable=True
                )
            await asyncio.sleep(PAUSE_SECONDS)
        return None

    async def _give_back_documents(self, attempt: Attempt) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._release(attempt)
        except (*UNAVAILABLE, DomainError) as failure:
            log.warning("documents_not_released", error=type(failure).__name__, note="the next attempt does it")
        except Exception:  # whatever it breaks on, the outcome has to be committed
            log.exception("documents_not_released")

    async def _decide(self, attempt: Attempt, error: BaseException | None) -> Operation | None:
        lease, task = attempt.lease, attempt.task
        if task is not None and _is_done(attempt):
            return await self._attempts.complete(lease, task.result())
        if attempt.reason is Reason.USER:
            return await self._attempts.cancel(lease)
        if attempt.reason is Reason.SHUTDOWN:
            return await self._attempts.hand_back(lease, why="its worker is shutting down", interrupted=True)
        if attempt.reason is Reason.PAUSE or (isinstance(error, SliceEndedError) and attempt.paused):
            return await self._attempts.hand_back(lease, why=None, interrupted=False)
        if isinstance(error, SliceEndedError):
            return await self._attempts.hand_back(lease, why="continues in the next slice", interrupted=False)
        if attempt.reason is Reason.HARD_LIMIT:
            error = HardTimeLimitError("the attempt was ended at the hard time limit; what it had done is kept")
        elif attempt.reason is Reason.MAX_RUNTIME:
            error = MaxRuntimeError("it has run as long as its max_runtime_seconds allows; what is done is kept")
        return await self._fail_or_retry(attempt, error or asyncio.CancelledError())

    async def _fail_or_retry(self, attempt: Attempt, error: BaseException) -> Operation | None:
        known, operation, policy = classify(error), attempt.operation, self._policy
        if isinstance(known, UnexpectedError):
            log.error("job_failed", exc_info=error)
        else:
            log.warning("attempt_failed", code=known.code)
        if isinstance(known, DatabaseUnavailableError) and operation.interruptions < policy.max_interruptions:
            delay = min(2.0**operation.interruptions, LONGEST_OUTAGE_BACKOFF_SECONDS)
            return await self._attempts.retry_later(
                attempt.lease, delay_seconds=_spread(delay), code=known.code, message=known.message, interrupted=True
            )
        most = min(1, policy.max_failures) if isinstance(known, UnexpectedError) else policy.max_failures
        if known.retryable and operation.failures < most:
            delay = self._delay(known, operation.failures)
            return await self._attempts.retry_later(
                attempt.lease, delay_seconds=delay, code=known.code, message=known.message
            )
        return await self._attempts.fail(
            attempt.lease, code=known.code, message=known.message, retryable=known.retryable
        )

    def _delay(self, error: DomainError, failures: int) -> float:
        """The policy's delay, or what the other side asked for if that is longer."""
        delay = min(_spread(self._policy.retry_delay_seconds * 2.0**failures), LONGEST_BACKOFF_SECONDS)
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        return min(max(delay, asked or 0.0), LONGEST_DELAY_SECONDS)

    async def _publish(self, ended: Operation, reporter: Reporter) -> None:
        if ended.state.is_final:
            await reporter.send_update(*final_event(ended))
        elif ended.error_code is not None:
            retry_at = ended.run_after.isoformat() if ended.run_after else None
            data = {"attempt": ended.attempt, "error_code": ended.error_code, "retry_at": retry_at}
            await reporter.send_update("operation_retrying", data)
        elif ended.paused_at is not None:
            await reporter.send_update("operation_paused", {"why_waiting": ended.why_waiting})
        else:
            why = ended.why_waiting or ended.told_waiting
            await reporter.send_update("operation_queued", {"kind": ended.kind.value, "why_waiting": why})


def _is_done(attempt: Attempt) -> bool:
    task = attempt.task
    return task is not None and task.done() and not task.cancelled() and task.exception() is None


def _spread(seconds: float) -> float:
    """Jitter of 20 %, so that what failed together does not come back together."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 — spreads retries, keeps no secret

"""One try at an operation, while it runs."""

import asyncio
import time
from enum import StrEnum
from typing import Any

from app.domain.errors import LeaseLostError
from app.domain.operations import Lease, LeaseAnswer, Operation

FENCE_SHARE = 0.75
"""Share of a lease after which a worker that could not renew it stops writing."""

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds of a clock that nobody sets and that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(CLOCK)


class Reason(StrEnum):
    """Why a running attempt was cancelled; ``CancelledError`` itself carries none."""

    USER = "user"
    PAUSE = "pause"
    HARD_LIMIT = "hard_limit"
    MAX_RUNTIME = "max_runtime"
    SHUTDOWN = "shutdown"
    LEASE_LOST = "lease_lost"


class Attempt:
    """One try at an operation, while it runs.

    Attributes:
        task: the job.
        reason: why it is stopped, if it is.
        yielding: whether it shall stop at its next checkpoint.
        paused: whether that is because its user paused it.
        renewed: when the last renewal of its lease that succeeded was asked for, on ``now``'s clock; first, its claim.
    """

    def __init__(self, operation: Operation, lease: Lease, *, lease_seconds: float, asked: float) -> None:
        self.operation = operation
        self.lease = lease
        self.task: asyncio.Task[dict[str, Any]] | None = None
        self.reason: Reason | None = None
        self.yielding = False
        self.paused = False
        self.renewed = asked
        self.stopped = asyncio.Event()
        self._has_progressed = False
        self._ends_slice = False
        self._fence_seconds = lease_seconds * FENCE_SHARE

    @property
    def fenced(self) -> bool:
        """Whether the lease may have been given to somebody else by now."""
        return now() - self.renewed > self._fence_seconds

    def require_lease(self) -> None:
        """Raise LeaseLostError if this attempt cannot be sure to own its operation."""
        if self.fenced or self.reason is Reason.LEASE_LOST:
            raise LeaseLostError(f"the lease on operation {self.operation.id} was not renewed in time")

    def ask_for_slice_end(self) -> None:
        """Have the job stop at its next checkpoint, but not before it has something to show for.

        Else a job whose way to its first checkpoint is longer than a slice would begin again for ever.
        """
        self._ends_slice = True
        self.yielding |= self._has_progressed

    def note_progress(self) -> None:
        """The job has kept something that the next slice need not do again."""
        self._has_progressed = True
        self.yielding |= self._ends_slice

    def stop(self, reason: Reason) -> None:
        """Have the job cancelled; the first reason stands, unless the lease is lost."""
        if self.reason is None or reason is Reason.LEASE_LOST:
            self.reason = reason
            self.stopped.set()

    def take_answer(self, answer: LeaseAnswer | None, *, sent: float) -> bool:
        """Do as the renewed lease says; False if the lease is lost. ``sent`` is when it was asked for."""
        if answer is None:
            if self.task is not None and not self.task.done():
                self.stop(Reason.LEASE_LOST)
                return False
            return True
        self.renewed = sent
        self.paused = answer.pause
        if answer.cancel:
            self.stop(Reason.USER)
        elif answer.pause:
            self.yielding = True
        return True

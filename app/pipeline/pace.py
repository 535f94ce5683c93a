"""How many requests a model server is given at once: more while that pays, fewer when it is too much."""

import time
from collections.abc import Callable

FIRST = 2
EPOCH_SECONDS = 0.25
REQUESTS_PER_SLOT = 2
"""An epoch is measured over at least so many requests of each slot."""
GAIN = 1.02
LOSS = 0.9
HOLD_AFTER_LOSS = 10
HOLD_AFTER_REFUSAL = 2
"""Epochs until more is tried again."""


class Pace:
    """Additive increase, multiplicative decrease.

    The limit doubles while that raises the throughput (tokens a second), then it grows by one. A step that does not pay
    is taken back. A server that refuses or does not answer in time halves the limit.

    Args:
        most: the limit never exceeds it.
        clock: monotonic seconds.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._limit = min(FIRST, most)
        self._doubles = True
        self._hold = 0
        self._before: int | None = None
        self._rate = 0.0
        self._lowered = float("-inf")
        self._start_epoch()

    @property
    def limit(self) -> int:
        """Requests that may be open at once, at least one."""
        return self._limit

    def succeed(self, tokens: int, *, full: bool) -> None:
        """A request was answered. Only what is ``full``, every slot in use and more waiting, is measured."""
        if not full:
            self._start_epoch()
            return
        self._requests += 1
        self._tokens += tokens
        seconds = self._clock() - self._since
        if self._requests >= REQUESTS_PER_SLOT * self._limit and seconds >= EPOCH_SECONDS:
            self._decide(self._tokens / seconds)
            self._start_epoch()

    def back_off(self, started: float) -> None:
        """A request that began then was too much. Requests from before the last time this was said say nothing new."""
        if started < self._lowered:
            return
        self._lowered = self._clock()
        self._lower(to=self._limit // 2, hold=HOLD_AFTER_REFUSAL)

    def _start_epoch(self) -> None:
        self._since = self._clock()
        self._requests = 0
        self._tokens = 0

    def _decide(self, rate: float) -> None:
        before, self._before = self._before, None
        if before is not None and rate < self._rate * GAIN:
            # rate of the smaller limit stands: what is tried next is compared with it
            self._lower(to=before if rate >= self._rate * LOSS else before // 2, hold=HOLD_AFTER_LOSS)
            return
        self._rate = rate
        if self._hold > 0:
            self._hold -= 1
            return
        if self._limit < self._most:
            self._before = self._limit
            self._limit = min(self._most, self._limit * 2 if self._doubles else self._limit + 1)

    def _lower(self, *, to: int, hold: int) -> None:
        self._limit = max(1, to)
        self._hold = hold
        self._doubles = False
        self._before = None
        self._start_epoch()

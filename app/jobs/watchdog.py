"""Measures how late the event loop is, and notices from outside when it stands still."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from app.jobs.stopping import stop_task
from app.metrics import LOOP_BLOCKED, LOOP_LAG

log = structlog.get_logger(__name__)

SAMPLE_SECONDS = 0.05
LOOK_SECONDS = 0.5
BLOCKED_SECONDS = 5.0
MOST_FRAMES = 20


class Watchdog:
    """A thread beside the event loop: tells where it is stuck, and says so before leases end.

    Args:
        limit_seconds: how long the loop may stand still before ``on_limit`` is called, on the thread.
        on_limit: ends the process, where something starts it again; else None.
    """

    def __init__(self, *, limit_seconds: float, on_limit: Callable[[], None] | None) -> None:
        self._limit_seconds = limit_seconds
        self._on_limit = on_limit
        self._seen = time.monotonic()
        self._ended = threading.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop while the block runs."""
        self._seen = time.monotonic()
        sampling = asyncio.create_task(self._sample())
        thread = threading.Thread(target=self._watch, args=(threading.get_ident(),), name="loop-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            await stop_task(sampling)
            thread.join(timeout=LOOK_SECONDS * 2)

    async def _sample(self) -> None:
        while True:
            due = time.monotonic() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self._seen = time.monotonic()
            LOOP_LAG.observe(max(0.0, self._seen - due))

    def _watch(self, loop_thread: int) -> None:
        told_of = 0.0
        looked = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            slept, looked = time.monotonic() - looked, time.monotonic()
            seen = self._seen
            if slept > LOOK_SECONDS * 4:
                # the whole process was frozen, not its loop alone; the loop gets its chance to find out
                continue
            lag = looked - seen
            if lag > BLOCKED_SECONDS and told_of != seen:
                told_of = seen
                LOOP_BLOCKED.inc()
                log.error("event_loop_blocked", seconds=round(lag, 1), frames=_frames_of(loop_thread))
            if lag > self._limit_seconds and self._on_limit is not None:
                log.error("event_loop_given_up", seconds=round(lag, 1))
                self._on_limit()


def _frames_of(thread: int) -> list[str]:
    """Where a thread is, innermost last, as ``file:line function``."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 — the documented way to another thread's stack
    frames = traceback.extract_stack(frame)[-MOST_FRAMES:] if frame is not None else []
    return [f"{item.filename}:{item.lineno} {item.name}" for item in frames]

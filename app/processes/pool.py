"""A bounded set of killable children, each replaced at once when it ends; a call costs at most its own child."""

import asyncio
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TypeVar

import structlog

from app.domain.errors import (
    ProcessAnswerTooLargeError,
    ProcessDiedError,
    ProcessTimeoutError,
    ProcessUnavailableError,
)
from app.processes import frames
from app.processes.groups import ProcessGroups
from app.processes.process import REAP_SECONDS, ChildProcess

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
START_SECONDS = 120.0
START_ATTEMPTS = 3
"""Starts in a row that may fail before a waiting call is refused."""
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 10.0
ANSWER_MAX_BYTES = 512 * 1024 * 1024
CRASHED = "crashed"


def _ignore(_: str) -> None:
    """Nobody counts."""


class ProcessPool:
    """``Processes`` over children that import only what is called.

    Every slot has a keeper task: it starts a child, waits for the end of it and starts the next one. A call is given
    to the child that was used last of those that are ready, or waits for the next one that becomes ready.

    Args:
        size: how many calls run at once.
        memory_bytes: address space of a child; beyond it allocations fail there.
        recycle_after: calls after which a child is replaced, so that leaks stay small.
        recycle_bytes: a child that holds more memory than this after a call is replaced; a quarter of
            ``memory_bytes`` unless told.
        answer_max_bytes: a larger answer is not read, and its child killed.
        preload: what a child does before its first call: imports of a ``module``, calls of a ``module:function``.
        on_end: called with the reason of every replacement: ``crashed``, ``timeout``, ``cancelled``,
            ``answer_too_large``, ``recycled_calls``, ``recycled_memory``.
    """

    def __init__(
        self,
        size: int,
        *,
        memory_bytes: int,
        recycle_after: int = 2000,
        recycle_bytes: int | None = None,
        answer_max_bytes: int = ANSWER_MAX_BYTES,
        preload: Sequence[str] = (),
        on_end: Callable[[str], None] = _ignore,
    ) -> None:
        self._command = [sys.executable, "-m", "app.processes.child", str(os.getpid()), str(memory_bytes), *preload]
        self._size = size
        self._recycle_after = recycle_after
        self._recycle_bytes = memory_bytes // 4 if recycle_bytes is None else recycle_bytes
        self._answer_max_bytes = answer_max_bytes
        self._report = on_end
        self._keepers: list[asyncio.Task[None]] = []
        self._children: set[ChildProcess] = set()
        self._ready: list[ChildProcess] = []
        self._waiting: deque[asyncio.Future[ChildProcess]] = deque()
        self._closed = False
        self._groups = ProcessGroups()
        # also at the end of the interpreter, and for a pool nobody has any more
        self._close_groups = weakref.finalize(self, self._groups.close)

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        return self._size

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that run now, ready or not."""
        return [child.pid for child in self._children]

    async def start(self) -> None:
        """Start all children; their imports go on in the background.

        Raises:
            ProcessUnavailableError: if the pool is closed.
        """
        try:
            while len(self._keepers) < self._size:
                self._require_open()
                # a context of its own: what is bound to the log of the first call is not true of a child's whole life
                keeper = asyncio.create_task(self._keep(), name="keep-child", context=Context())
                self._keepers.append(keeper)
                # the keeper starts its child now, and others may run between two children
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def run(self, function: Callable[..., Result], *args: object, timeout_seconds: float) -> Result:
        """See the port; waiting for a child is no part of ``timeout_seconds``."""
        self._require_open()
        call = await frames.dump((function.__module__, function.__name__, args))
        child = await self._take()
        end_reason: str | None = CRASHED
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await child.call(call, answer_max_bytes=self._answer_max_bytes)
            end_reason = self._find_wear(child)
        except TimeoutError:
            end_reason = "timeout"
            raise ProcessTimeoutError(f"the call took longer than {timeout_seconds:.0f} s") from None
        except asyncio.CancelledError:
            end_reason = "cancelled"
            raise
        except ProcessAnswerTooLargeError:
            end_reason = "answer_too_large"
            raise
        finally:
            await self._give_back(child, end_reason)
        succeeded, value = await frames.load(answer)
        if not succeeded:
            raise value
        result: Result = value
        return result

    async def aclose(self) -> None:
        """Kill all children, also those in the middle of a call or of their start."""
        children = list(self._children)
        self._kill_all()
        if self._keepers:
            await asyncio.wait(self._keepers)
        for child in children:
            await child.wait_ended(REAP_SECONDS)
        await asyncio.to_thread(self._close_groups)

    def _kill_all(self) -> None:
        self._closed = True
        for child in self._children:
            child.kill()
        for keeper in self._keepers:
            keeper.cancel()
        self._refuse("the process pool is closed")

    def _require_open(self) -> None:
        if self._closed:
            raise ProcessUnavailableError("the process pool is closed")

    def _find_wear(self, child: ChildProcess) -> str | None:
        """Why a child that answered should be replaced all the same."""
        if child.memory_ran_out or child.resident_bytes > self._recycle_bytes:
            return "recycled_memory"
        return "recycled_calls" if child.calls >= self._recycle_after else None

    async def _take(self) -> ChildProcess:
        await self.start()
        while True:
            while self._ready:
                if (child := self._ready.pop()).is_usable:
                    return child
            self._require_open()
            waiter: asyncio.Future[ChildProcess] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                child = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self._offer(waiter.result())
                raise
            if child.is_usable:
                return child

    def _offer(self, child: ChildProcess) -> None:
        """Give a ready child to the call that waits longest, or keep it for the next one."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(child)
                return
        self._ready.append(child)

    def _refuse(self, reason: str) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(ProcessUnavailableError(reason))

    async def _give_back(self, child: ChildProcess, end_reason: str | None) -> None:
        if end_reason is None and not self._closed:
            self._offer(child)
            return
        child.kill(end_reason)
        if end_reason not in {"recycled_calls", "recycled_memory"}:
            # who stopped a call may rely on it having stopped
            await child.wait_ended(REAP_SECONDS)

    async def _keep(self) -> None:
        """Keep one slot filled; a child that ends before it was given any call makes the next one wait."""
        unused = 0
        while not self._closed:
            if unused:
                await asyncio.sleep(min(BACKOFF_FIRST_SECONDS * 2 ** min(unused - 1, 10), BACKOFF_MAX_SECONDS))
            try:
                used = await self._keep_one(last_chance=unused + 1 >= START_ATTEMPTS)
            except Exception:  # a bug here must not leave a slot empty for good
                log.exception("keep_child_failed")
                used = False
            unused = 0 if used else unused + 1

    async def _keep_one(self, *, last_chance: bool) -> bool:
        """One child from its start to its end; gives whether it was used."""
        try:
            child = ChildProcess(self._command, self._groups)
        except (OSError, RuntimeError) as error:
            self._on_failed_start(f"no child process can be started: {error}", last_chance=last_chance)
            return False
        self._children.add(child)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child.wait_ready()
            self._offer(child)
            await child.wait_ended()
        except (ProcessDiedError, TimeoutError) as error:
            self._children.discard(child)
            reason = error.message if isinstance(error, ProcessDiedError) else "a child process did not get ready"
            self._on_failed_start(reason, last_chance=last_chance)
        finally:
            child.dispose()
            self._children.discard(child)
        self._on_end(child)
        return child.calls > 0

    def _on_failed_start(self, reason: str, *, last_chance: bool) -> None:
        log.warning("child_start_failed", reason=reason)
        if last_chance and not self._children:
            self._refuse(reason)

    def _on_end(self, child: ChildProcess) -> None:
        if self._closed:
            return
        reason = child.end_reason or CRASHED
        log.info("child_replaced", pid=child.pid, reason=reason, status=child.status, calls=child.calls)
        try:
            self._report(reason)
        except Exception:  # a slot stays filled whatever its listener does
            log.exception("on_end_failed", reason=reason)

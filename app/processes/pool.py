"""A bounded set of single-child slots; a call that must stop costs its child, and nothing else."""

import asyncio
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from app.domain.errors import ProcessDiedError, ProcessTimeoutError
from app.processes.child import HEADER

log = structlog.get_logger(__name__)

Result = TypeVar("Result")
STREAM_LIMIT = 16 * 1024 * 1024
REAP_SECONDS = 5.0


class _Slot:
    """One child at a time, started when it is first needed or warmed up before."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self.calls = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> asyncio.subprocess.Process:
        """The running child."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=STREAM_LIMIT,
                start_new_session=True,
            )
            self.calls = 0
        return self._process

    async def call(self, frame: bytes) -> bytes:
        """Send a frame, wait for the answer.

        Raises:
            ProcessDiedError: if the child ends first.
        """
        process = await self.start()
        self.calls += 1
        if process.stdin is None or process.stdout is None:
            raise ProcessDiedError("the child process has no pipes")
        try:
            process.stdin.write(HEADER.pack(len(frame)))
            process.stdin.write(frame)
            await process.stdin.drain()
            size = HEADER.unpack(await process.stdout.readexactly(HEADER.size))[0]
            return await process.stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            status = await process.wait()
            raise ProcessDiedError(f"a child process ended in the middle of a call (status {status})") from error

    async def stop(self) -> None:
        """Kill the child and reap it."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(REAP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.error("child_not_reaped", pid=process.pid)  # noqa: TRY400 — the stack says nothing


class ProcessPool:
    """``Processes`` over children that import only what is called.

    Args:
        size: how many calls run at once.
        memory_bytes: address space of a child; beyond it allocations fail there.
        recycle_after: calls after which a child is replaced, so that leaks stay small.
        preload: modules a child imports before its first call.
    """

    def __init__(self, size: int, *, memory_bytes: int, recycle_after: int = 2000, preload: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "app.processes.child", str(os.getpid()), str(memory_bytes), *preload]
        self._slots = [_Slot(command) for _ in range(size)]
        self._free: asyncio.LifoQueue[_Slot] = asyncio.LifoQueue()
        for slot in self._slots:
            self._free.put_nowait(slot)
        self._recycle_after = recycle_after
        self._closed = False

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        return len(self._slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that run now."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    async def start(self) -> None:
        """Start all children; their imports go on in the background."""
        for slot in self._slots:
            await slot.start()

    async def run(self, function: Callable[..., Result], *args: object, timeout_seconds: float) -> Result:
        """See the port."""
        frame = pickle.dumps((function.__module__, function.__name__, args), protocol=5)
        slot = await self._free.get()
        healthy = False
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await slot.call(frame)
            healthy = True
        except TimeoutError:
            raise ProcessTimeoutError(f"the call took longer than {timeout_seconds:.0f} s") from None
        finally:
            if not healthy or slot.calls >= self._recycle_after or self._closed:
                await asyncio.shield(slot.stop())
            self._free.put_nowait(slot)
        result: Result = self._read(answer)
        return result

    @staticmethod
    def _read(answer: bytes) -> Any:  # noqa: ANN401 — whatever the function returned
        succeeded, value = pickle.loads(answer)  # noqa: S301 — written by our own child
        if not succeeded:
            raise value
        return value

    async def aclose(self) -> None:
        """Kill all children, also those in the middle of a call."""
        self._closed = True
        for slot in self._slots:
            await slot.stop()

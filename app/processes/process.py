"""One child process, as its parent sees it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

import structlog

from app.domain.errors import ProcessAnswerTooLargeError, ProcessDiedError
from app.processes.child import ANSWER, SIZE
from app.processes.frames import read_parts, write_parts
from app.processes.groups import ProcessGroups

log = structlog.get_logger(__name__)

STREAM_LIMIT = 1024 * 1024
REAP_SECONDS = 5.0
GRACE_SECONDS = 1.0


def describe_status(status: int) -> str:
    """How a process ended, for people."""
    if status >= 0:
        return f"exited with status {status}"
    if -status == signal.SIGKILL:
        return "was killed with SIGKILL: by the kernel for want of memory, or from outside"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"crashed with {name} in native code, which may also be want of memory"


class ChildProcess:
    """Started at once, in a process group of its own; takes calls one at a time after ``wait_ready``.

    Must be created on the thread of an event loop that lives as long: Linux ends a child with the thread it is from.

    Raises:
        OSError: if it cannot be started.
        RuntimeError: if no thread can be started to watch it.
    """

    def __init__(self, command: Sequence[str], groups: ProcessGroups) -> None:
        self._groups = groups
        self._ended = asyncio.Event()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.calls = 0
        self.resident_bytes = 0
        self.memory_ran_out = False
        self.end_reason: str | None = None
        self._socket, theirs = socket.socketpair()
        with ExitStack() as undo:
            undo.callback(self._socket.close)
            with theirs:
                self._popen = _spawn(command, theirs)
            undo.callback(_bury, self._popen, groups)
            undo.callback(self._popen.kill)
            groups.add(self.pid)
            # the thread holds no child and so no pool: a pool nobody has any more is collected, and its children end
            arguments = (self._popen, groups, asyncio.get_running_loop(), weakref.WeakMethod(self._on_end))
            threading.Thread(target=_watch, args=arguments, name=f"wait-child-{self.pid}", daemon=True).start()
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Process id, and id of its group."""
        pid: int = self._popen.pid
        return pid

    @property
    def status(self) -> int | None:
        """Exit status once it has ended; negative = that signal."""
        status: int | None = self._popen.returncode
        return status

    @property
    def is_usable(self) -> bool:
        """Whether it may be given a call, as far as is known here."""
        ends = self._ended.is_set() or self.end_reason is not None
        return not ends and self._streams is not None and not self._streams[0].at_eof()

    async def wait_ready(self) -> None:
        """Wait until its imports are done.

        Raises:
            ProcessDiedError: if it ends first.
        """
        try:
            self._streams = await asyncio.open_unix_connection(sock=self._socket, limit=STREAM_LIMIT)
            await self._read_answer(answer_max_bytes=0)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise await self._died("before it was ready") from error

    async def call(self, call: Sequence[bytes], *, answer_max_bytes: int) -> list[bytes]:
        """Send a pickled call, give the pickled answer.

        Raises:
            ProcessDiedError: if the child ends first.
            ProcessAnswerTooLargeError: if the answer has more bytes; the child is of no use afterwards.
        """
        self.calls += 1
        if self._streams is None:
            raise ProcessDiedError("the child process has no connection")
        try:
            await write_parts(self._streams[1], [SIZE.pack(sum(map(len, call))), *call])
            return await self._read_answer(answer_max_bytes=answer_max_bytes)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise await self._died("in the middle of a call") from error

    def kill(self, reason: str | None = None) -> None:
        """End it and all it started, whatever it does; the first reason stays."""
        self.end_reason = self.end_reason or reason
        self._groups.kill(self.pid)

    def dispose(self) -> None:
        """End it and close the connection."""
        self.kill()
        if self._streams is None:
            self._socket.close()
        else:
            self._streams[1].transport.abort()

    async def wait_ended(self, timeout_seconds: float | None = None) -> None:
        """Wait until it is gone; one that does not go is logged."""
        if not await self._is_ended_within(timeout_seconds):
            log.error("child_not_reaped", pid=self.pid)

    async def _is_ended_within(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._ended.wait()
        except TimeoutError:
            return False

    async def _read_answer(self, *, answer_max_bytes: int) -> list[bytes]:
        if self._streams is None:
            raise ConnectionError
        reader = self._streams[0]
        size, self.resident_bytes, self.memory_ran_out = ANSWER.unpack(await reader.readexactly(ANSWER.size))
        if size > answer_max_bytes:
            raise ProcessAnswerTooLargeError(size, answer_max_bytes)
        return await read_parts(reader, size)

    async def _died(self, when: str) -> ProcessDiedError:
        # it may have closed its end only; a status of its own says more than that of our signal
        if not await self._is_ended_within(GRACE_SECONDS):
            self.kill()
        await self.wait_ended(REAP_SECONDS)
        end = "did not end" if self.status is None else describe_status(self.status)
        return ProcessDiedError(f"a child process {end}, {when}")

    def _on_end(self) -> None:
        self._ended.set()
        if self._streams is not None:
            # a process that left the group may still hold the other end
            self._streams[1].transport.abort()


def _spawn(command: Sequence[str], theirs: socket.socket) -> "subprocess.Popen[bytes]":
    end = theirs.fileno()
    return subprocess.Popen(command, stdin=end, stdout=end, start_new_session=True)  # noqa: S603 — our own module


def _bury(popen: "subprocess.Popen[bytes]", groups: ProcessGroups) -> None:
    """Wait for the end of a child and end what it started."""
    if sys.platform == "linux":
        # until it is reaped, its id belongs to no other group
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
        groups.remove(popen.pid)
        popen.wait()
    else:
        popen.wait()
        groups.remove(popen.pid)


def _watch(
    popen: "subprocess.Popen[bytes]",
    groups: ProcessGroups,
    loop: asyncio.AbstractEventLoop,
    on_end: "weakref.WeakMethod[Callable[[], None]]",
) -> None:
    _bury(popen, groups)
    # the loop may be closed, or the child forgotten: nobody is left to tell
    with suppress(RuntimeError):
        if (tell := on_end()) is not None:
            loop.call_soon_threadsafe(tell)

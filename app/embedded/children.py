"""Child processes that end with their owner and never run twice on the same data.

Every child inherits an open, exclusively locked file and so do the processes it forks. The kernel frees the
lock when the last of them is gone. Who holds the lock can be sure that nothing of an earlier start is alive,
whatever pid files say; who does not get it finds in the file the pid to stop.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import structlog

from app.domain.errors import DomainError, EmbeddedStartError

log = structlog.get_logger(__name__)

START_SECONDS = 120
"""Long enough for a crash recovery on a slow disk; a server that ends is noticed at once."""

POLL_SECONDS = 0.02
LOG_TAIL_LINES = 12
LOG_MAX_BYTES = 8 * 1024 * 1024
RESTART_FIRST_SECONDS = 0.2
RESTART_MAX_SECONDS = 30.0
STABLE_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A system user to run a child as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to run one child.

    Args:
        folder: its working directory.
        log: file its output is appended to.
        lock: file it holds locked while it or anything it forked lives.
        stop_signals: what stops it, gentlest first, with the seconds to wait after each; SIGKILL follows.
            The first one is also what it gets when its owner dies.
        kill_seconds: how long to wait after SIGKILL for it and everything it forked.
        user: whom it runs as, if not as the owner.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    lock: Path
    environment: Mapping[str, str]
    stop_signals: tuple[tuple[signal.Signals, float], ...]
    kill_seconds: float = 5.0
    user: User | None = None

    @property
    def all_signals(self) -> tuple[tuple[signal.Signals, float], ...]:
        """The stop signals with the one nobody survives at the end."""
        return (*self.stop_signals, (signal.SIGKILL, self.kill_seconds))


def _become_child(parent: int, lock: int, death_signal: signal.Signals) -> None:
    """Between fork and exec: sign the lock file and ask the kernel to be stopped when the owner dies."""
    # the owner's Python handlers would swallow a signal that arrives before exec
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    if sys.platform == "linux":
        LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


class Child:
    """A running child process of this event loop."""

    def __init__(self, command: Command, process: "subprocess.Popen[bytes]", *, log_start: int) -> None:
        self._command = command
        self._process = process
        self._log_start = log_start
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        threading.Thread(target=self._watch, name=f"wait-{command.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative = ended by that signal."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        await self._ended.wait()
        return self._process.returncode

    async def stop(self) -> None:
        """End it, gently first; returns when it is gone, within the sum of the waits of its command."""
        for number, seconds in self._command.all_signals:
            if self.exit_code is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()

    def read_log_tail(self) -> str:
        """The last lines it has logged since it started."""
        with contextlib.suppress(OSError), self._command.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def _watch(self) -> None:
        self._process.wait()
        # the loop is closed when its owner did not wait for the child: nobody is left to tell
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def spawn(command: Command, *, lock: int) -> Child:
    """Start a child that holds ``lock``.

    Call it on a thread that lives as long as the child shall: Linux stops the child when that *thread* ends.
    """
    user = command.user
    if command.log.exists() and command.log.stat().st_size > LOG_MAX_BYTES:
        command.log.replace(command.log.with_suffix(".log.1"))
    with open(command.log, "ab", opener=_open_private) as output:
        log_start = output.tell()
        process = subprocess.Popen(  # noqa: S603 - our own argument lists, no shell
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env=dict(command.environment),
            start_new_session=True,
            umask=0o077,
            pass_fds=(lock,),
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
            preexec_fn=partial(_become_child, os.getpid(), lock, command.stop_signals[0][0]),  # noqa: PLW1509 - a few system calls, and nothing else can set PDEATHSIG after setuid
        )
    return Child(command, process, log_start=log_start)


async def run_to_end(command: Command, *, lock: int, timeout_seconds: float) -> None:
    """Run a child that ends by itself.

    Raises:
        EmbeddedStartError: it failed or took longer than ``timeout_seconds``.
    """
    child = spawn(command, lock=lock)
    try:
        async with asyncio.timeout(timeout_seconds):
            exit_code = await child.wait()
    except TimeoutError as error:
        raise EmbeddedStartError(command.name, f"not done after {timeout_seconds} s", child.read_log_tail()) from error
    finally:
        await child.stop()
    if exit_code != 0:
        raise EmbeddedStartError(command.name, f"exit code {exit_code}", child.read_log_tail())


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = asyncio.get_running_loop().time() + seconds
    while not _try_lock(descriptor):
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def _signal_leftover(lock: int, number: signal.Signals) -> None:
    """Signal the process that signed the lock file, unless its pid was given to another one since."""
    signed_at = os.fstat(lock).st_mtime
    with contextlib.suppress(ValueError, psutil.Error):
        process = psutil.Process(int(os.pread(lock, 32, 0)))
        if process.create_time() <= signed_at + 1:
            process.send_signal(number)


async def claim_lock(command: Command) -> int:
    """Lock the data of a child, after ending what an earlier start left running; the open lock file.

    Raises:
        EmbeddedStartError: a process of an earlier start does not end even when killed.
    """
    with contextlib.ExitStack() as undo:
        descriptor = os.open(command.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        undo.callback(os.close, descriptor)
        if not await _outlast_leftovers(descriptor, command):
            raise EmbeddedStartError(command.name, f"a process of an earlier start still holds {command.lock}")
        undo.pop_all()
    return descriptor


async def _outlast_leftovers(lock: int, command: Command) -> bool:
    if _try_lock(lock):
        return True
    for number, seconds in command.all_signals:
        log.warning("embedded_leftover_found", name=command.name, signal=number.name)
        _signal_leftover(lock, number)
        if await _lock_within(lock, seconds):
            return True
    return False


class Server(Protocol):
    """What ``Service`` needs to know about a server."""

    @property
    def name(self) -> str:
        """For messages and logs."""
        ...

    def build_command(self) -> Command:
        """How to run it now; ``lock`` and ``stop_signals`` never change."""
        ...

    async def prepare(self, lock: int) -> None:
        """Bring its data and folders in order, with nothing else running on them."""
        ...

    async def is_ready(self) -> bool:
        """Whether it answers; bounded in time, to be called again and again."""
        ...


class Service:
    """One server kept running: started, restarted with a growing delay whenever it ends, stopped.

    Args:
        server: what to run.
        on_end: called with its name each time it ended without being asked to.
        longest_restart_seconds: where the delay stops growing.
    """

    def __init__(
        self,
        server: Server,
        *,
        on_end: Callable[[str], None],
        longest_restart_seconds: float = RESTART_MAX_SECONDS,
    ) -> None:
        self._server = server
        self._on_end = on_end
        self._longest_restart_seconds = longest_restart_seconds
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.start_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the running child."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start the server, wait until it answers, and keep it running from then on.

        Raises:
            EmbeddedStartError: it ended or did not answer in time.
        """
        begun = asyncio.get_running_loop().time()
        await self._start_once()
        self.start_seconds = asyncio.get_running_loop().time() - begun
        self._keeper = asyncio.create_task(self._keep_running(), name=f"keep-{self._server.name}")

    async def stop(self) -> None:
        """Stop keeping it and end it; nothing happens if it never started."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        if self._child is not None:
            await self._child.stop()
        if self._keeper is not None and not self._keeper.cancelled():
            # it only ends by itself through a bug, which must not stay hidden
            self._keeper.result()

    async def _start_once(self) -> None:
        try:
            self._child = await self._spawn()
        # the second is what signing the lock file on a full disk comes to
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedStartError(self._server.name, str(error)) from error
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._wait_ready(self._child)
        except TimeoutError as error:
            tail = self._child.read_log_tail()
            raise EmbeddedStartError(self._server.name, f"no answer after {START_SECONDS} s", tail) from error

    async def _spawn(self) -> Child:
        lock = await claim_lock(self._server.build_command())
        try:
            await self._server.prepare(lock)
            return spawn(self._server.build_command(), lock=lock)
        finally:
            os.close(lock)

    async def _wait_ready(self, child: Child) -> None:
        while not await self._server.is_ready():
            if child.exit_code is not None:
                raise EmbeddedStartError(self._server.name, f"exit code {child.exit_code}", child.read_log_tail())
            await asyncio.sleep(POLL_SECONDS)

    async def _keep_running(self) -> None:
        delay = RESTART_FIRST_SECONDS
        while self._child is not None:
            begun = asyncio.get_running_loop().time()
            exit_code = await self._child.wait()
            log.error("embedded_server_ended", name=self._server.name, exit_code=exit_code)
            self._on_end(self._server.name)
            if asyncio.get_running_loop().time() - begun > STABLE_SECONDS:
                delay = RESTART_FIRST_SECONDS
            running = False
            while not running:
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._longest_restart_seconds)
                running = await self._try_restart()

    async def _stop_half_started(self) -> None:
        if self._child is not None:
            await self._child.stop()

    async def _try_restart(self) -> bool:
        try:
            await self._start_once()
        except DomainError as error:
            log.error("embedded_restart_failed", name=self._server.name, code=error.code, reason=error.message)  # noqa: TRY400 - the message says it all; a traceback adds nothing
            await self._stop_half_started()
            return False
        except Exception:  # whatever it is, without a server nothing works: it is tried again
            log.exception("embedded_restart_failed", name=self._server.name)
            await self._stop_half_started()
            return False
        log.warning("embedded_server_restarted", name=self._server.name)
        return True

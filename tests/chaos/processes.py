"""Processes that are restarted when they end, as systemd would do, and how to find what they left behind."""

import asyncio
import ctypes
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from tests.chaos.journal import Journal

MARKER = "VECLOOM_CHAOS_RUN"
"""Environment variable that every process of a run has, and so have its children."""

RESTART_SECONDS = 0.3
SLOW_RESTART_SECONDS = 1.0
SHORT_LIFE_SECONDS = 3.0
STOP_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def _die_with(parent: int) -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Supervised:
    """One process, started again whenever it ends.

    Args:
        versions: checkouts whose code it runs, the first one at first.
        good_ends: exit statuses of one that was asked to end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        journal: Journal,
        versions: Sequence[Path],
        good_ends: Sequence[int] = (0,),
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = environment
        self._journal = journal
        self._good_ends = good_ends
        self._versions = deque(versions)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._asked = False

    def start(self) -> None:
        """Start it and keep it running."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self.name}")

    @property
    def version(self) -> Path:
        """The checkout whose code it runs when it is started next."""
        return self._versions[0]

    def deploy(self) -> Path:
        """Have the next start run the next version, which may be the same."""
        self._versions.rotate(-1)
        return self.version

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    def signal(self, number: signal.Signals) -> int | None:
        """Send a signal; the process id, or None if it does not run now."""
        pid = self.pid
        if pid is not None:
            self._asked |= number in (signal.SIGKILL, signal.SIGTERM)
            os.kill(pid, number)
        return pid

    async def terminate(self) -> None:
        """Ask it to end; it must within a minute."""
        process = self._process
        if self.signal(signal.SIGTERM) is None or process is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self._journal.violate(f"{self.name} (pid {process.pid}) did not end within {STOP_SECONDS:.0f} s of SIGTERM")
            self.signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it for good, gently."""
        if self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        self.signal(signal.SIGCONT)
        await self.terminate()
        process = self._process
        if process is not None:
            code = await process.wait()
            if code not in (*self._good_ends, -signal.SIGKILL):
                self._journal.violate(f"{self.name} ended with status {code} when it was asked to end")

    def kill(self) -> None:
        """End it at once and for good."""
        if self._keeper is not None:
            self._keeper.cancel()
        self.signal(signal.SIGKILL)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            self._asked = False
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**self._environment, "PYTHONPATH": str(self.version)},
                    cwd=self.version,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=partial(_die_with, os.getpid()),
                )
            code = await self._process.wait()
            if not self._asked:
                self._journal.tell(f"{self.name} ended by itself with status {code}")
            short = loop.time() - begun < SHORT_LIFE_SECONDS
            await asyncio.sleep(SLOW_RESTART_SECONDS if short else RESTART_SECONDS)


def list_pool_children(pid: int) -> list[psutil.Process]:
    """The children of a worker that work for its process pool."""
    try:
        children = psutil.Process(pid).children()
        return [child for child in children if "app.processes.child" in child.cmdline()]
    except psutil.Error:
        return []  # it or one of them is just ending


def list_marked(token: str) -> list[psutil.Process]:
    """Living processes of a run, found by their environment."""
    wanted = f"{MARKER}={token}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                process = psutil.Process(int(path.parent.name))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        except (OSError, psutil.Error):
            continue
    return found

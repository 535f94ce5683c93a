"""The process groups of one pool: none outlives this process."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import structlog

from app.processes import reaper
from app.processes.reaper import kill_group

log = structlog.get_logger(__name__)

REAPER_SECONDS = 5.0


class ProcessGroups:
    """Remembers groups here and in a reaper process, which kills them when this process is gone."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._groups: set[int] = set()
        self._reaper: subprocess.Popen[bytes] | None = None
        # a child's end is noticed on a thread; the garbage collector may call close on any, in the middle of anything
        self._lock = threading.RLock()

    def add(self, group: int) -> None:
        """From now on the group dies with this process."""
        with self._lock:
            self._groups.add(group)
            if self._reaper is None or self._reaper.poll() is not None:
                self._start_reaper()
            else:
                self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Kill what is left of a group and forget it; its leader is not reaped before, so that its id is still its."""
        with self._lock:
            kill_group(group)
            self._groups.discard(group)
            self._tell(f"-{group}\n")

    def kill(self, group: int) -> None:
        """Kill a group, unless it is gone."""
        with self._lock:
            if group in self._groups:
                kill_group(group)

    def close(self) -> None:
        """Kill all groups and end the reaper; a fork of the owner owns nothing."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            for group in tuple(self._groups):
                kill_group(group)
            watcher, self._reaper = self._reaper, None
        if watcher is None or watcher.stdin is None:
            return
        with contextlib.suppress(OSError):
            watcher.stdin.close()
        try:
            watcher.wait(REAPER_SECONDS)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()

    def _start_reaper(self) -> None:
        if self._reaper is not None:
            log.warning("reaper_ended", pid=self._reaper.pid, status=self._reaper.returncode)
            if self._reaper.stdin is not None:
                self._reaper.stdin.close()
        # told of the groups by its arguments, it knows them even if this process is killed before it can write a line
        known = [str(group) for group in self._groups]
        self._reaper = subprocess.Popen(  # noqa: S603 — our own file, with the standard library alone
            [sys.executable, "-I", "-S", str(Path(reaper.__file__)), *known],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        if self._reaper.stdin is not None:
            os.set_blocking(self._reaper.stdin.fileno(), False)

    def _tell(self, lines: str) -> None:
        if self._reaper is None or self._reaper.stdin is None:
            return
        # a reaper that is gone is replaced with the next child; one that does not read for 64 KiB is of no use
        with contextlib.suppress(OSError):
            self._reaper.stdin.write(lines.encode())

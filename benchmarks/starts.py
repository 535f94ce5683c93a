"""What the jobs of the benchmarks write down, and when they end."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOOP, WAIT = "noop", "wait"
LOOK_SECONDS = 0.05
"""How often a waiting job looks whether it may end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A job body has started; ``at_ns`` is of the clock that all processes of a machine share."""

    key: str
    pid: int
    attempt: int
    at_ns: int


class StartLog:
    """A file with one line for each start of a job body; many processes append to it."""

    def __init__(self, path: Path, body: str = NOOP) -> None:
        self.path = path
        self._release = path.with_suffix(".release")
        self._waits = body == WAIT

    def note(self, key: str, attempt: int) -> None:
        """Write down that a job has started; the first thing a job body does."""
        line = f"{key} {os.getpid()} {attempt} {time.monotonic_ns()}\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def may_end(self) -> bool:
        """Whether the job is done: a no-op at once, a waiting one when it is released."""
        return not self._waits or self._release.exists()

    def release(self) -> None:
        """Let waiting jobs end."""
        self._release.touch()

    def count(self) -> int:
        """How many starts there are."""
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def read(self) -> Sequence[Start]:
        """All starts, in the order in which they were written."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [
            Start(key=key, pid=int(pid), attempt=int(attempt), at_ns=int(at))
            for key, pid, attempt, at in (line.split() for line in lines)
        ]

"""Queues and their workers, as the benchmarks see them: Vecloom and others are measured by the same code."""

import asyncio
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from redis.asyncio import Redis

from benchmarks.forwarder import Forwarder
from benchmarks.starts import StartLog

Figures = dict[str, float | int | str]
"""Figures by name; a value that is no number is shown as it is."""

READY = "ready"
READY_SECONDS = 60.0
POLL_SECONDS = 0.01


async def wait_for(what: str, holds: Callable[[], bool], *, seconds: float) -> None:
    """Wait until something holds; the benchmark ends if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


class Worker:
    """A worker process with whatever children it has."""

    def __init__(
        self, command: Sequence[str], *, environment: dict[str, str], output: Path, lines: Sequence["Line"] = ()
    ) -> None:
        self._output = output
        self._lines = lines
        with output.open("wb") as file:
            self._process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        self._seen: set[int] = {self._process.pid}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait_until_ready(self, marker: str) -> None:
        """Wait until it has written that it is ready."""
        await wait_for(
            f"a worker that writes {marker!r} to {self._output}",
            lambda: marker in self._output.read_text(errors="replace"),
            seconds=READY_SECONDS,
        )

    def owns(self, pid: int) -> bool:
        """Whether a process is this worker or was its child at any look."""
        with suppress(psutil.NoSuchProcess):
            self._seen |= {child.pid for child in psutil.Process(self._process.pid).children(recursive=True)}
        return pid in self._seen

    def cpu_seconds(self) -> float:
        """User and system time of the process and its living children."""
        root = psutil.Process(self._process.pid)
        times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
        return float(sum(time.user + time.system for time in times))

    def send(self, number: signal.Signals) -> None:
        """Deliver a signal: a request to end goes to the process alone, anything harder to its children too."""
        if number is signal.SIGTERM:
            self._process.send_signal(number)
        else:
            os.killpg(self._process.pid, number)

    def cut_off(self) -> None:
        """Let nothing through on its lines any more, as a network that is partitioned."""
        for line in self._lines:
            line.forwarder.flowing.clear()

    def close(self) -> None:
        """Kill what is left."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Line:
    """A connection that can be cut: what a worker's command and environment call it, and what instead of that."""

    name: str
    instead: str
    forwarder: Forwarder


class System(ABC):
    """A queue with a worker of its own. Each instance has a file in which its jobs write down their starts."""

    name: str
    configuration: str
    pause_seconds = 0.1
    """Longest pause between two creations: longer than a poll, so that they fall anywhere between two."""

    settle_seconds = 2.0
    """How long after work the counters still move."""

    ready = READY
    committed_ns: int | None = None
    """When the last creation was durable, if creating does more than that."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._started = 0
        self.log = StartLog(folder / "starts")

    @abstractmethod
    def command(self, body: str) -> list[str]:
        """The command of a worker whose jobs have this body."""

    def environment(self) -> dict[str, str]:
        """The environment of a worker."""
        return dict(os.environ)

    @abstractmethod
    def lines(self, folder: Path) -> list[Line]:
        """Lines through a folder to all that keeps a worker's jobs alive."""

    @abstractmethod
    async def create(self) -> str:
        """Create one job; gives the key it writes down."""

    @abstractmethod
    async def count_unfinished(self) -> int:
        """Jobs that have not come to their end."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, to an empty queue."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections."""

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    @asynccontextmanager
    async def workers(self, body: str, count: int, *, can_be_cut_off: bool = False) -> AsyncIterator[list[Worker]]:
        """Worker processes that are ready; killed at the end."""
        async with AsyncExitStack() as stack:
            workers = []
            for _ in range(count):
                self._started += 1
                output = self._folder / f"worker-{self._started}.log"
                lines = self.lines(self._folder / f"line-{self._started}") if can_be_cut_off else []
                for line in lines:
                    await line.forwarder.open()
                    stack.push_async_callback(line.forwarder.close)
                command = [_through(lines, argument) for argument in self.command(body)]
                environment = {name: _through(lines, value) for name, value in self.environment().items()}
                worker = Worker(command, environment=environment, output=output, lines=lines)
                stack.callback(worker.close)
                workers.append(worker)
            for worker in workers:
                await worker.wait_until_ready(self.ready)
            yield workers

    async def wait_until_finished(self, starts: int, *, seconds: float) -> None:
        """Wait until so many jobs have started and none is left."""
        await wait_for(f"{starts} starts of {self.name}", lambda: self.log.count() >= starts, seconds=seconds)
        deadline = time.monotonic() + seconds
        while await self.count_unfinished():
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name}: some jobs did not end within {seconds:.0f} s")
            await asyncio.sleep(POLL_SECONDS)


def _through(lines: Sequence[Line], text: str) -> str:
    for line in lines:
        text = text.replace(line.name, line.instead)
    return text


def line_to_valkey(socket: str, folder: Path) -> Line:
    """A line to Valkey's socket."""
    folder.mkdir(parents=True, exist_ok=True)
    listen = folder / "valkey.sock"
    return Line(socket, str(listen), Forwarder(listen, Path(socket)))


def socket_of(redis_url: str) -> str:
    """Path of the embedded Valkey's socket."""
    return redis_url.removeprefix("unix://")


async def flush(socket: str, database: int) -> None:
    """Empty one of Valkey's numbered databases, for a system that has it for itself."""
    async with Redis(unix_socket_path=socket, db=database) as redis:
        await redis.flushdb()

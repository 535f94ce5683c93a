"""Runs the model server of the benchmarks, and sums up what it wrote down."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from benchmarks.systems import Figures

MODEL = "double"
CANARY_TEXTS = 3
"""Requests with no more texts than this may be questions about the model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a model server behaves."""

    latency_ms: float = 50
    max_texts: int = 32
    slots: int = 4

    @property
    def texts_per_second(self) -> float:
        """As much as it can do."""
        return self.slots * self.max_texts * 1000 / self.latency_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A request that the server answered; times are seconds since 1970."""

    arrived: float
    begun: float
    ended: float
    texts: int


class ModelServer:
    """A running model server, seen from outside."""

    def __init__(self, pid: int, port: int, shape: Shape) -> None:
        self.pid = pid
        self.shape = shape
        self.url = f"http://127.0.0.1:{port}/v1"
        self._log = f"http://127.0.0.1:{port}/log"

    async def forget(self) -> None:
        """Begin a new log."""
        async with httpx.AsyncClient() as client:
            await client.delete(self._log)

    async def read_log(self) -> list[Served]:
        """All requests since the log began."""
        async with httpx.AsyncClient() as client:
            rows = (await client.get(self._log)).json()
        return [Served(arrived=row[0], begun=row[1], ended=row[2], texts=row[3]) for row in rows]

    def environment(self) -> dict[str, str]:
        """What a Vecloom worker needs to use it."""
        return {
            "VECLOOM_EMBEDDING_URL": self.url,
            "VECLOOM_EMBEDDING_MODEL": MODEL,
            "VECLOOM_EMBEDDING_BATCH_SIZE": str(self.shape.max_texts),
        }


@asynccontextmanager
async def serving_model(shape: Shape) -> AsyncIterator[ModelServer]:
    """A model server in a process of its own, for the length of the block."""
    options = ["--latency-ms", str(shape.latency_ms), "--max-texts", str(shape.max_texts), "--slots", str(shape.slots)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.embedder_double", *options, stdout=asyncio.subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise AssertionError("unreachable: its output is a pipe")
        yield ModelServer(process.pid, int(await process.stdout.readline()), shape)
    finally:
        process.kill()
        await process.wait()


def sum_up(served: Sequence[Served], shape: Shape, *, started: float, finished: float) -> Figures:
    """How busy the server was from the start of an operation to its end, by its own log."""
    whole = finished - started
    work = [request for request in served if request.texts > CANARY_TEXTS]
    if not work:
        raise SystemExit("the model server was asked nothing")
    busy = sum(request.ended - request.begun for request in served)
    return {
        "busy_by_its_slots": round(busy / (shape.slots * whole), 3),
        "busy_with_any_request": round(_covered(served) / whole, 3),
        "seconds_before_the_first_request": round(min(request.arrived for request in work) - started, 3),
        "seconds_after_the_last_request": round(finished - max(request.ended for request in served), 3),
        "requests": len(served),
        "texts_per_request": round(sum(request.texts for request in work) / len(work), 1),
        "waited_in_its_queue_ms": round(1000 * sum(r.begun - r.arrived for r in served) / len(served), 1),
    }


def _covered(served: Sequence[Served]) -> float:
    """Seconds in which at least one request was served."""
    seconds, until = 0.0, 0.0
    for request in sorted(served, key=lambda request: request.begun):
        seconds += max(0.0, request.ended - max(request.begun, until))
        until = max(until, request.ended)
    return seconds

"""Another worker goes on: after a death at once, after SIGTERM at once, after a freeze when the lease has ended."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.harness import Api, WorkerProcess, wait_until

MODULE = "tests.e2e.waiting_worker"
LONG_LEASE_SECONDS = 600
FROZEN_SECONDS = float(os.environ.get("VECLOOM_TEST_FROZEN_SECONDS", "0"))
"""How much longer than until it is replaced a worker stays frozen."""
"""So long that a test which waited for it would fail."""


@dataclass(frozen=True)
class Mark:
    """One line that a waiting worker wrote."""

    what: str
    operation: str
    attempt: int
    pid: int


class Pair:
    """Two workers, and what they noted."""

    def __init__(self, settings: Settings, folder: Path, **variables: str) -> None:
        self.marks, self.gate = folder / "marks", folder / "gate"
        files = {"VECLOOM_TEST_MARKS": str(self.marks), "VECLOOM_TEST_GATE": str(self.gate), **variables}
        self.workers = [
            WorkerProcess(settings, folder / f"worker-{number}.log", module=MODULE, **files) for number in range(2)
        ]

    def read(self) -> Sequence[Mark]:
        """All marks, oldest first."""
        lines = self.marks.read_text().splitlines() if self.marks.exists() else []
        parts = [line.split() for line in lines]
        return [Mark(part[0], part[1], int(part[2]), int(part[3])) for part in parts if len(part) == 5]

    async def started(self, attempts: int) -> Mark:
        """The mark of the n-th attempt, once it is there."""

        async def find() -> Mark | None:
            starts = [mark for mark in self.read() if mark.what == "start"]
            return starts[attempts - 1] if len(starts) >= attempts else None

        mark: Mark = await wait_until(find)
        return mark

    def worker_of(self, mark: Mark) -> WorkerProcess:
        """Who wrote a mark."""
        return next(worker for worker in self.workers if worker.pid == mark.pid)


@pytest.fixture
def pair(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Iterator[Pair]:
    """Two workers with other settings, if the test asks for some; not started yet."""
    changes: dict[str, Any] = dict(getattr(request, "param", {}))
    variables = {name: changes.pop(name) for name in list(changes) if name.isupper()}
    opened = Pair(settings.model_copy(update=changes), tmp_path, **variables)
    yield opened
    for worker in opened.workers:
        worker.close()


long_lease = pytest.mark.parametrize("pair", [{"lease": LONG_LEASE_SECONDS, "reconcile": 60}], indirect=True)


async def _start_both(pair: Pair, api: Api, folder: Path) -> tuple[dict[str, Any], Mark]:
    operation = await api.create("notes", folder)
    for worker in pair.workers:
        worker.start()
    first = await pair.started(1)

    async def both_alive() -> bool:
        workers = (await api.client.get("/api/v1/workers")).json()["workers"]
        watched = [worker for worker in workers if worker["alive"] and worker["death_is_noticed_at_once"]]
        return len(watched) == 2

    await wait_until(both_alive)
    return operation, first


@long_lease
async def test_a_killed_worker_is_noticed_without_waiting_for_its_lease(pair: Pair, api: Api, folder: Path) -> None:
    """Its session is gone with it, so the other one goes on long before the lease of ten minutes has ended."""
    operation, first = await _start_both(pair, api, folder)

    os.kill(first.pid, signal.SIGKILL)
    second = await pair.started(2)
    pair.gate.touch()
    ended = await api.wait(operation)

    assert second.pid != first.pid
    assert ended["state"] == "completed"
    assert (ended["attempt"], ended["interruptions"], ended["failures"]) == (2, 1, 0)


@long_lease
async def test_sigterm_hands_the_operation_back_at_a_checkpoint(pair: Pair, api: Api, folder: Path) -> None:
    """A job that reaches a checkpoint within the grace period is no interruption, and the other worker goes on."""
    operation, first = await _start_both(pair, api, folder)

    status = pair.worker_of(first).end(signal.SIGTERM)
    second = await pair.started(2)
    pair.gate.touch()
    ended = await api.wait(operation)

    assert status == 0
    assert second.pid != first.pid
    assert ended["state"] == "completed"
    assert (ended["attempt"], ended["interruptions"]) == (2, 0)


@pytest.mark.parametrize(
    "pair", [{"lease": LONG_LEASE_SECONDS, "reconcile": 60, "VECLOOM_TEST_DEAF": "1"}], indirect=True
)
async def test_sigterm_ends_a_job_that_reaches_no_checkpoint(pair: Pair, api: Api, folder: Path) -> None:
    """After the grace period the job is stopped, and its operation handed back as interrupted."""
    operation, first = await _start_both(pair, api, folder)

    status = pair.worker_of(first).end(signal.SIGTERM)
    await pair.started(2)
    pair.gate.touch()
    ended = await api.wait(operation)

    assert status == 0
    assert ended["state"] == "completed"
    assert (ended["attempt"], ended["interruptions"]) == (2, 1)


async def test_a_frozen_worker_loses_its_lease_and_writes_nothing(pair: Pair, api: Api, folder: Path) -> None:
    """Another one takes over; the frozen one, continued, finds its lease gone before it writes."""
    operation, first = await _start_both(pair, api, folder)
    frozen = pair.worker_of(first)

    frozen.send(signal.SIGSTOP)
    second = await pair.started(2)
    pair.gate.touch()
    ended = await api.wait(operation)
    await asyncio.sleep(FROZEN_SECONDS)
    frozen.send(signal.SIGCONT)
    again = await api.append("notes")
    await api.wait(again)
    status = frozen.end(signal.SIGTERM)

    writes = [mark for mark in pair.read() if mark.what == "write" and mark.operation == operation["operation_id"]]
    assert ended["state"] == "completed"
    assert [mark.pid for mark in writes] == [second.pid]
    assert second.pid != first.pid
    assert status == 0


async def test_a_frozen_worker_that_is_alone_goes_on_when_it_wakes(pair: Pair, api: Api, folder: Path) -> None:
    """Its lease has ended, but nobody has taken it: it is renewed or taken back, and the operation ends well."""
    operation = await api.create("notes", folder)
    pair.workers[0].start()
    await pair.started(1)

    pair.workers[0].send(signal.SIGSTOP)

    async def lease_has_ended() -> bool:
        workers = (await api.client.get("/api/v1/workers")).json()["workers"]
        return not any(worker["alive"] for worker in workers)

    await wait_until(lease_has_ended)
    waiting = await api.get(operation)
    pair.workers[0].send(signal.SIGCONT)
    pair.gate.touch()
    ended = await api.wait(operation)

    assert waiting["state"] == "running"
    assert ended["state"] == "completed"
    assert [mark.what for mark in pair.read()].count("write") == 1

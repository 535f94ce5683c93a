"""An event loop that is late is measured; one that stands still is noticed from outside."""

import asyncio
import threading
import time
from pathlib import Path

import structlog
from prometheus_client import REGISTRY

from app.jobs.watchdog import Watchdog
from app.settings import Settings
from tests.harness import Api, WorkerProcess, wait_until


def _figure(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


async def test_the_lag_of_the_loop_is_measured() -> None:
    """A loop that is held up for a fifth of a second has a sample of more than a tenth."""
    name = "vecloom_event_loop_lag_seconds_bucket"
    slow_before = _figure("vecloom_event_loop_lag_seconds_count") - (
        REGISTRY.get_sample_value(name, {"le": "0.1"}) or 0.0
    )
    watchdog = Watchdog(limit_seconds=60, on_limit=None)

    async with watchdog.watching():
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 — standing still is what is measured

        async def is_counted() -> bool:
            below = REGISTRY.get_sample_value(name, {"le": "0.1"}) or 0.0
            return _figure("vecloom_event_loop_lag_seconds_count") - below > slow_before

        assert await wait_until(is_counted)


async def test_a_loop_that_stands_still_is_given_up_on_the_thread() -> None:
    """Past the limit the callback runs although the loop does not, and the log says where it stands."""
    given_up = threading.Event()
    watchdog = Watchdog(limit_seconds=5.5, on_limit=given_up.set)
    with structlog.testing.capture_logs() as lines:
        async with watchdog.watching():
            await asyncio.sleep(0.1)
            stand_still(given_up)

    blocked = [line for line in lines if line["event"] == "event_loop_blocked"]
    assert given_up.is_set()
    assert len(blocked) == 1
    assert any("stand_still" in frame for frame in blocked[0]["frames"])


def stand_still(until: threading.Event) -> None:
    """Keep the event loop's thread."""
    until.wait(timeout=60)


async def test_a_blocked_worker_ends_itself_before_its_lease_does(
    api: Api, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    """A worker process whose loop stands still for good exits with status 70, and another one completes its work."""
    blocked = WorkerProcess(settings, tmp_path / "blocked.log", module="tests.jobs.blocked_worker")
    healthy = WorkerProcess(settings, tmp_path / "healthy.log")
    try:
        blocked.start()
        operation = await api.create("notes", folder)
        await api.wait(operation, states=["running"])
        status = await asyncio.to_thread(blocked.wait)
        healthy.start()
        ended = await api.wait(operation)
    finally:
        blocked.close()
        healthy.close()

    assert status == 70
    assert ended["state"] == "completed"
    assert ended["attempt"] == 2
    assert "event_loop_given_up" in (tmp_path / "blocked.log").read_text()

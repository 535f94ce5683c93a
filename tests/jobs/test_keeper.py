"""The keeper of a worker's leases."""

import asyncio

from app.bootstrap import Parts
from app.db.guard import WorkerGuard
from app.domain.operations import WorkerProfile
from app.jobs.attempt import Attempt
from app.jobs.keeper import Keeper


async def test_a_worker_does_not_go_on_without_its_keeper(parts: Parts) -> None:
    """A bug that ends the heartbeats is not only logged: whoever runs the worker is told to replace it."""
    profile = WorkerProfile(name="worker", version="0", kinds=("APPEND",), slots=1, lease_seconds=60)
    guard = WorkerGuard(parts.endpoints.database_url, profile, timeout_seconds=5)
    failed = asyncio.Event()
    beats = 0

    def list_held() -> list[Attempt]:
        nonlocal beats
        beats += 1
        if beats > 1:
            raise RuntimeError("a bug")
        return []

    keeper = Keeper(guard, parts.dispatcher, list_held, heartbeat_seconds=0.05, on_failure=failed.set)
    async with keeper.keeping():
        await asyncio.wait_for(failed.wait(), timeout=20)

    assert beats == 2

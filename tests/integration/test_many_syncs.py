"""Continuous sync of many collections, with several schedulers and workers of their own processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.bootstrap import Parts, configured_endpoints, open_parts
from app.settings import Settings
from tests.harness import Api, WorkerProcess, wait_until
from tests.integration.syncs import count_appends, pass_interval, run_sql, scheduler, set_sync, work_off

COLLECTIONS = 20
SOURCES = 50
WORKERS = 3
INTERVALS = 10

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
async def workers(settings: Settings, tmp_path: Path) -> AsyncIterator[None]:
    """Three worker processes with few processes of their own; their cron jobs schedule too."""
    few = settings.model_copy(update={"process_slots": 1})
    processes = [WorkerProcess(few, tmp_path / f"worker-{number}.log") for number in range(WORKERS)]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.close()


async def test_every_due_source_is_appended_once_an_interval(
    api: Api, parts: Parts, settings: Settings, tmp_path: Path, workers: None
) -> None:
    """50 sources in 20 collections, 3 workers, 2 schedulers that begin at once, 10 intervals: 500 APPENDs.

    Nothing is left out, nothing happens twice, and every run completes.
    """
    for number in range(SOURCES):
        folder = tmp_path / f"source-{number}"
        folder.mkdir()
        (folder / "note.txt").write_text(f"Note {number} about tides and comets.")
        name, url = f"c{number % COLLECTIONS}", folder.as_uri()
        if number < COLLECTIONS:
            await api.client.post("/api/v1/collections", json={"name": name, "sources": [{"url": url}]})
            await set_sync(api, name)
        else:
            await api.client.post(f"/api/v1/collections/{name}/sources", json={"url": url})
    await work_off(parts, [])

    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(open_parts(settings, configured_endpoints(settings)))
        schedulers = [scheduler(parts), scheduler(other)]
        counts = []
        for interval in range(1, INTERVALS + 1):
            await pass_interval(parts)
            expected = interval * COLLECTIONS

            async def all_begun(expected: int = expected) -> bool:
                await work_off(parts, schedulers)
                [row] = await run_sql(parts, "SELECT count(*) FROM sync_runs WHERE state <> 'running'")
                return bool(row[0] >= expected)

            await wait_until(all_begun)
            counts.append(set((await count_appends(parts)).values()))
    runs = await run_sql(parts, "SELECT state, count(*) FROM sync_runs GROUP BY state")
    [row] = await run_sql(parts, "SELECT count(DISTINCT worker) FROM operations WHERE kind = 'APPEND'")

    assert counts == [{interval} for interval in range(1, INTERVALS + 1)]
    assert len(await count_appends(parts)) == SOURCES
    assert [tuple(run) for run in runs] == [("completed", COLLECTIONS * INTERVALS)]
    assert row[0] > 1


async def test_due_once_however_many_ask_at_once(api: Api, parts: Parts, tmp_path: Path) -> None:
    """Eight schedulers in the same moment, again and again, without a worker: one run a collection."""
    (tmp_path / "note.txt").write_text("tides")
    for number in range(10):
        await api.client.post("/api/v1/collections", json={"name": f"c{number}", "sources": [{"url": str(tmp_path)}]})
        await set_sync(api, f"c{number}")
    for interval in range(1, 6):
        await run_sql(parts, "UPDATE operations SET state = 'completed', result = '{}', finished_at = now()")
        await pass_interval(parts)
        begun = await work_off_without_workers(parts)

        assert begun == 10
        assert set((await count_appends(parts)).values()) == {interval}


async def work_off_without_workers(parts: Parts) -> int:
    """Eight schedulers begin what is due; how many runs that were."""
    rounds = await asyncio.gather(*(scheduler(parts).dispatch_due() for _ in range(8)))
    again = await asyncio.gather(*(scheduler(parts).dispatch_due() for _ in range(8)))
    assert sum(round_["begun"] for round_ in again) == 0
    return sum(round_["begun"] for round_ in rounds)

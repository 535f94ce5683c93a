"""What tests of continuous sync share: time passes when they say so."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.bootstrap import Parts
from app.operations.syncs import SyncRules, SyncService
from tests.harness import Api, wait_until

INTERVAL = 60


def scheduler(parts: Parts, **rules: Any) -> SyncService:
    """One of any number of schedulers."""
    return SyncService(parts.database, parts.dispatcher, parts.events, SyncRules(**rules))


async def run_sql(parts: Parts, sql: str, **values: Any) -> list[Any]:
    """Run a statement; its rows."""
    async with parts.database.begin() as connection:
        result = await connection.execute(text(sql), values)
        return list(result.all()) if result.returns_rows else []


async def pass_time(parts: Parts, seconds: float) -> None:
    """Move everything that continuous sync waits for nearer by so much."""
    await run_sql(parts, "UPDATE collection_syncs SET next_due = next_due - make_interval(secs => :s)", s=seconds)
    await run_sql(parts, "UPDATE source_syncs SET next_try = next_try - make_interval(secs => :s)", s=seconds)


async def pass_interval(parts: Parts) -> None:
    """As long as the longest interval with its jitter."""
    await pass_time(parts, INTERVAL * 1.1)


async def idle(parts: Parts) -> bool:
    """Whether no operation is under way."""
    [row] = await run_sql(parts, "SELECT count(*) FROM operations WHERE state IN ('pending', 'running')")
    return bool(row[0] == 0)


async def work_off(parts: Parts, schedulers: Sequence[SyncService], *, seconds: float = 60.0) -> int:
    """Let schedulers begin, all at once, what is due, and workers do it; how many runs were begun."""
    rounds = await asyncio.gather(*(one.dispatch_due() for one in schedulers))

    async def done() -> bool:
        return await idle(parts)

    await wait_until(done, seconds=seconds)
    for one in schedulers:
        # before time passes: a failing source waits from then on
        await one.settle()
    return sum(round_["begun"] for round_ in rounds)


async def set_sync(api: Api, name: str, **settings: Any) -> dict[str, Any]:
    """Give a collection continuous sync."""
    answer = await api.client.put(f"/api/v1/collections/{name}/sync", json={"interval_seconds": INTERVAL, **settings})
    assert answer.status_code == 200, answer.text
    status: dict[str, Any] = answer.json()
    return status


async def status_of(api: Api, name: str) -> dict[str, Any]:
    """How it stands with the continuous sync of a collection."""
    status: dict[str, Any] = (await api.client.get(f"/api/v1/collections/{name}/sync")).json()
    return status


async def runs_of(api: Api, name: str) -> list[dict[str, Any]]:
    """Its sync runs, newest first."""
    runs: list[dict[str, Any]] = (await api.client.get(f"/api/v1/collections/{name}/sync/runs")).json()["runs"]
    return runs


async def add_source(api: Api, name: str, folder: Path) -> None:
    """Add a source to a collection; nobody indexes it yet."""
    answer = await api.client.post(f"/api/v1/collections/{name}/sources", json={"url": folder.as_uri()})
    assert answer.status_code == 201, answer.text


async def count_appends(parts: Parts) -> dict[str, int]:
    """Scheduled APPENDs by source."""
    rows = await run_sql(
        parts,
        """SELECT config ->> 'source_id' AS source, count(*) FROM operations
           WHERE kind = 'APPEND' AND config ->> 'trigger' = 'schedule' GROUP BY 1""",
    )
    return {row[0]: row[1] for row in rows}

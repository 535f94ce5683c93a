"""The end of a run: nothing breaks any more, everything must come to rest."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tests.chaos.client import HONEST
from tests.chaos.load import Load, Watched
from tests.chaos.system import System, wait_until_ready

REST_SECONDS = 150.0
LEARNED_SECONDS = 45.0
POLL_SECONDS = 0.25
NOT_TOLD = frozenset({"config", "result", "progress", "error_message", "id", "user_id", "collection_id", "kind"})
FINAL = frozenset({"completed", "failed", "cancelled"})


async def settle(system: System, load: Load) -> None:
    """Resume everything, wait for the end of all operations, retry what failed, and append every source once more."""
    system.model.delay_seconds = 0.0
    await wait_until_ready(system)
    await _resume_all(load)
    await _wait_ended(system, load, list(load.operations.values()), "when the faults had stopped")
    await _retry_all(system, load)
    await _append_all(system, load)
    await _wait_queue_empty(system)


async def _resume_all(load: Load) -> None:
    for target in load.targets:
        await load.resume(f"/collections/{quote(target.name)}")
    for watched in load.operations.values():
        if watched.story.final is None:
            await load.resume(f"/operations/{watched.id}")


async def _wait_ended(system: System, load: Load, operations: Sequence[Watched], when: str) -> None:
    """Each row becomes final, and soon after that its watcher knows and was told the same."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REST_SECONDS
    for watched in operations:
        row = await system.client.get(f"/operations/{watched.id}")
        while row["state"] not in FINAL and loop.time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            row = await system.client.get(f"/operations/{watched.id}")
        if row["state"] not in FINAL:
            system.journal.violate(f"{watched.name} did not end {when}: {await _describe(system, watched)}")
            continue
        try:
            async with asyncio.timeout(LEARNED_SECONDS):
                await watched.story.ended.wait()
        except TimeoutError:
            seen = watched.story.events[-3:]
            system.journal.violate(f"{watched.name} is {row['state']}, but its watcher was not told; it saw {seen}")
            continue
        load.compare_end(watched, row)


async def _describe(system: System, watched: Watched) -> str:
    connection = await system.connect()
    try:
        row = await connection.fetchrow("SELECT now() AS now, o.* FROM operations o WHERE id = $1", watched.id)
        told = {name: value for name, value in dict(row or {}).items() if name not in NOT_TOLD and value is not None}
        return ", ".join(f"{name} {value}" for name, value in told.items())
    finally:
        await connection.close()


async def _retry_all(system: System, load: Load) -> None:
    """What was cancelled or failed goes on; nothing may fail now for a reason that trying again does not help."""
    retried = []
    for watched in load.operations.values():
        final = watched.story.final
        if final is None or final["type"] == "operation_completed" or not load.may_go_on(watched):
            continue
        failed = final["type"] == "operation_failed"
        if failed and not final["data"]["retryable"] and final["data"]["error_code"] not in HONEST:
            system.journal.violate(f"{watched.name} failed for good: {final['data']}")
            continue
        await load.retry(watched)
        retried.append(watched)
    await _wait_ended(system, load, retried, "after its retry, without any fault")
    _require_completed(system, retried)


async def _append_all(system: System, load: Load) -> None:
    """Bring every collection up to date, then have it compared with every vector embedded again."""
    appended = [await load.append(target, key=f"last-{target.name}") for target in load.targets]
    await _wait_completed(system, load, appended)
    verified = [
        await load.submit(target, "VERIFY", {"deep": True}, key=f"verify-{target.name}") for target in load.targets
    ]
    for watched in await _wait_completed(system, load, verified):
        result = watched.story.final["data"]["result"] if watched.story.final else {}
        if not result.get("ok") and not _is_another_cut(system, result):
            system.journal.violate(f"{watched.name} finds: {result}")


def _is_another_cut(system: System, result: Mapping[str, Any]) -> bool:
    """Whether a version has found nothing but texts that another one embeds with something before them."""
    agrees = not result.get("missing") and not result.get("extra")
    return not system.cuts_alike and agrees and set(result.get("wrong_reasons", ())) == {"text"}


async def _wait_completed(system: System, load: Load, operations: Sequence[Watched | None]) -> list[Watched]:
    accepted = [watched for watched in operations if watched is not None]
    await _wait_ended(system, load, accepted, "without any fault")
    _require_completed(system, accepted)
    return accepted


def _require_completed(system: System, operations: Sequence[Watched]) -> None:
    for watched in operations:
        final = watched.story.final
        if final is not None and final["type"] != "operation_completed":
            system.journal.violate(f"{watched.name} did not complete without any fault: {final['data']}")


async def _wait_queue_empty(system: System) -> None:
    """Stale announcements are taken and dropped by the workers; only periodic jobs come and go."""
    queue = f"{system.settings.redis_namespace}:queue"

    async def waiting() -> list[str]:
        names = [bytes(name).decode() for name in await system.parts.redis.zrange(queue, 0, -1)]
        return [name for name in names if not name.startswith("cron:")]

    left = await poll_until_empty(waiting, seconds=60.0)
    if left:
        system.journal.violate(f"the queue still holds {len(left)} announcements: {left[:5]}")


async def poll_until_empty(ask: Callable[[], Awaitable[list[str]]], *, seconds: float) -> list[str]:
    """The last answer: empty, or what was left at the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (left := await ask()) and loop.time() < deadline:  # noqa: ASYNC110 — other processes set no event here
        await asyncio.sleep(POLL_SECONDS)
    return left

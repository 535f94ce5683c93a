"""A worker that is killed again and again."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, WorkerProcess, wait_until

DOCUMENTS = int(os.environ.get("VECLOOM_TEST_KILL_DOCUMENTS", "2000"))
LONGEST_RUN_SECONDS = 0.9
SHORT_RUN_SECONDS = 0.2
"""For a worker that is ahead, so that a fast machine does not finish before the last kill."""
KILLS = int(os.environ.get("VECLOOM_TEST_KILLS", "20"))


@pytest.mark.timeout(900)
async def test_twenty_kills_lose_nothing_and_double_nothing(
    api: Api, settings: Settings, worker_process: WorkerProcess, tmp_path: Path
) -> None:
    """After each kill -9 the operation continues by itself, ends with the expected points, and tells all it did."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    chance = random.Random(7)  # noqa: S311 — repeatable, keeps no secret
    operation = await api.create("corpus", root)

    for kill in range(1, KILLS + 1):
        worker_process.start()
        await wait_until(lambda: _is_running(api, operation))
        ahead = await _count_completed(api) > DOCUMENTS * kill / (KILLS + 1)
        await asyncio.sleep(chance.uniform(0.0, SHORT_RUN_SECONDS if ahead else LONGEST_RUN_SECONDS))
        worker_process.end(signal.SIGKILL)
    worker_process.start()
    ended = await api.wait(operation)
    points = await api.assert_consistent("corpus")
    collection = (await api.client.get("/api/v1/collections/corpus")).json()

    assert ended["state"] == "completed"
    assert collection["documents"] == {"completed": DOCUMENTS}
    result = ended["result"]
    assert collection["chunks"] == result["chunks"] == points
    assert collection["tokens"] == result["tokens"]
    assert (result["documents_added"], result["unchanged"], result["reused_chunks"]) == (DOCUMENTS, 0, 0)
    assert {result["stages"][stage]["items"] for stage in ("read", "extract", "chunk", "commit")} == {DOCUMENTS}
    assert {result["stages"][stage]["items"] for stage in ("embed", "store")} == {points}
    assert ended["progress"]["documents"]["total"] == DOCUMENTS
    assert worker_process.end(signal.SIGTERM) == 0


async def _is_running(api: Api, operation: dict[str, str]) -> bool:
    state: str = (await api.get(operation))["state"]
    assert state in ("pending", "running"), "the operation ended before it was killed often enough"
    return state == "running"


async def _count_completed(api: Api) -> int:
    collection = (await api.client.get("/api/v1/collections/corpus")).json()
    completed: int = collection["documents"].get("completed", 0)
    return completed

"""Workers that are killed while they rebuild a collection: at chosen statements, and at any moment."""

import asyncio
import signal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import running_worker
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.e2e.test_kill_removals import kill_at
from tests.harness import Api, WorkerProcess, wait_until
from tests.integration.test_reindex import assert_verified, count_generations, read_chunks, reindex, roll_back

pytestmark = pytest.mark.timeout(600)

DOCUMENTS = 20
SMALL = {"chunk_size": 64, "chunk_overlap": 8, "gate": "report-only"}
KILLS = 50
LONGEST_SECONDS = 4.0
"""A worker that is let be for so long comes to the end of a rebuild more often than not."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Interruptions enough for all kills, and a gate that is soon through."""
    return settings.model_copy(update={"max_interruptions": 1000, "reindex_gate_sample": 0.05})


@pytest.fixture
async def created(api: Api, tmp_path: Path) -> dict[str, Any]:
    """An indexed collection."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    async with running_worker(api.parts):
        ended = await api.wait(await api.create("notes", root))
    assert ended["state"] == "completed"
    return ended


async def test_a_killed_rebuild_goes_on_to_its_end(
    api: Api, created: dict[str, Any], worker_process: WorkerProcess
) -> None:
    """Among its documents, and inside the switch: all of the old one serves, or all of the new."""
    old = await read_chunks(api, "notes")
    operation = await reindex(api, "notes", **SMALL)
    collection = created["collection_id"]

    worker_process.start()
    await wait_until(lambda: _has_rows(api))
    worker_process.end(signal.SIGKILL)
    assert await read_chunks(api, "notes") == old
    # the switch: the generation of before, then the collection, are locked in the middle of its transaction
    await kill_at(api, worker_process, "generations WHERE collection_id = $1 AND state = 'active'", collection)
    assert await read_chunks(api, "notes") == old
    await kill_at(api, worker_process, "collections WHERE id = $1", collection)
    assert await read_chunks(api, "notes") == old
    worker_process.start()
    ended = await api.wait(operation)

    assert ended["state"] == "completed", ended
    assert ended["attempt"] > 2
    assert await read_chunks(api, "notes") != old
    await assert_verified(api, "notes")
    assert (await count_generations(api.parts))["retired"] == 1
    # nothing is in the way of the next one
    again = await api.wait(await reindex(api, "notes", gate="report-only"))
    assert again["state"] == "completed", again


async def _has_rows(api: Api) -> bool:
    async with api.parts.database.begin() as connection:
        return bool(await connection.scalar(text("SELECT count(*) FROM generation_documents")))


async def test_killed_at_any_moment_one_generation_serves_whole(
    api: Api, created: dict[str, Any], worker_process: WorkerProcess
) -> None:
    """Rebuilds and ways back, one after the other, with a worker that is killed every other moment."""
    del created
    random = Random(7)  # noqa: S311 — the same moments every time, as far as a machine allows
    known: dict[int, list[tuple[Any, ...]]] = {400: await read_chunks(api, "notes")}
    operation = await reindex(api, "notes", **SMALL)
    ends: list[dict[str, Any]] = []
    kills = 0
    for _ in range(KILLS):
        worker_process.start()
        # on a busy machine it takes longer to come to an end
        await asyncio.sleep(random.uniform(0.0, LONGEST_SECONDS * (1 + kills / 10)))
        worker_process.end(signal.SIGKILL)
        kills += 1
        size = (await api.client.get("/api/v1/collections/notes")).json()["chunking"]["size"]
        chunks = await read_chunks(api, "notes")
        # what serves is one of the two, and all of it
        assert chunks == known.setdefault(size, chunks)
        state = await api.get(operation)
        if state["state"] == "completed":
            ends.append(state)
            kills = 0
            operation = await roll_back(api, "notes") if len(ends) % 2 else await reindex(api, "notes", **SMALL)
    worker_process.start()
    ends.append(await api.wait(operation, seconds=120))
    size = (await api.client.get("/api/v1/collections/notes")).json()["chunking"]["size"]
    chunks = await read_chunks(api, "notes")
    assert chunks == known.setdefault(size, chunks)

    assert {end["state"] for end in ends} == {"completed"}
    assert len(known) == 2
    await assert_verified(api, "notes")

    async def is_clean() -> bool:
        counts = await count_generations(api.parts)
        return "building" not in counts and "chunks_elsewhere" not in counts

    await wait_until(is_clean)
    counts = await count_generations(api.parts)
    assert counts["stored"] == counts["active"] + counts["retired"]

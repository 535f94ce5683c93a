"""Workers that are killed in the middle of removing something, at chosen statements."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.bootstrap import running_worker
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, WorkerProcess, wait_until
from tests.integration.test_removals import add_source, count_left, delete, remove_source

pytestmark = pytest.mark.timeout(300)

DOCUMENTS = 60
CHUNKS_OF_SOURCE = """chunks WHERE document_id IN (
    SELECT d.id FROM documents d JOIN sources s ON s.id = d.source_id WHERE s.url = $1)"""
ONE_DOCUMENT_OF_SOURCE = """documents WHERE id = (
    SELECT d.id FROM documents d JOIN sources s ON s.id = d.source_id WHERE s.url = $1 ORDER BY d.id DESC LIMIT 1)"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small batches, so that an attempt ends between them; retries and interruptions enough for all kills."""
    return settings.model_copy(update={"document_removal_batch_size": 10})


@pytest.fixture
async def created(api: Api, tmp_path: Path) -> dict[str, Any]:
    """A collection over a folder, and over a folder inside it."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    inner = root / "inner"
    write_corpus(inner, DOCUMENTS // 3, seed=6)
    async with running_worker(api.parts):
        ended = await api.wait(await api.create("corpus", root))
        await add_source(api, "corpus", inner)
    assert ended["state"] == "completed"
    return ended


@asynccontextmanager
async def locked(api: Api, rows: str, *values: Any) -> AsyncIterator[None]:
    """Whoever wants to change these rows waits while the block runs."""
    address = api.parts.database.engine.url.render_as_string(hide_password=False)
    connection = await asyncpg.connect(address.replace("postgresql+asyncpg", "postgresql"))
    try:
        async with connection.transaction():
            statement = f"SELECT 1 FROM {rows} FOR UPDATE"  # noqa: S608 — our own names
            assert await connection.fetch(statement, *values)
            yield
    finally:
        await connection.close()


async def _is_blocked(api: Api) -> bool:
    query = """SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
               AND wait_event_type = 'Lock' AND pid <> pg_backend_pid())"""
    async with api.parts.database.begin() as connection:
        return bool(await connection.scalar(text(query)))


async def kill_at(api: Api, worker: WorkerProcess, rows: str, *values: Any) -> None:
    """Have a worker come to the statement that changes these rows, and kill it there."""
    async with locked(api, rows, *values):
        worker.start()
        await wait_until(lambda: _is_blocked(api))
        worker.end(signal.SIGKILL)


async def test_killed_deletion_goes_on_to_its_end(
    api: Api, created: dict[str, Any], worker_process: WorkerProcess
) -> None:
    """Wherever it was: after a drop that is not noted yet, among chunks or documents, before the row itself."""
    collection = created["collection_id"]
    before = (await api.client.get("/api/v1/collections/corpus")).json()
    operation = await delete(api, "corpus")

    for table in ("generations", "chunks", "documents", "sources"):
        await kill_at(api, worker_process, f"{table} WHERE collection_id = $1", collection)
    await kill_at(api, worker_process, "collections WHERE id = $1", collection)
    worker_process.start()
    ended = await api.wait(operation)

    assert ended["state"] == "completed", ended
    assert ended["attempt"] > 1
    assert ended["result"] == {
        "points": before["chunks"],
        "chunks": before["chunks"],
        "documents": DOCUMENTS + DOCUMENTS // 3,
        "generations": 1,
    }
    assert await count_left(api.parts, collection) == {}
    assert (ended["collection"], ended["collection_id"]) == ("corpus", None)


async def test_killed_removal_of_a_source_goes_on_to_its_end(
    api: Api, created: dict[str, Any], worker_process: WorkerProcess, tmp_path: Path
) -> None:
    """After points are gone and their chunks are not, among documents that stay, before the source's row."""
    root = (tmp_path / "corpus").as_uri()
    operation = await remove_source(api, "corpus", tmp_path / "corpus")

    await kill_at(api, worker_process, CHUNKS_OF_SOURCE, root)
    await kill_at(api, worker_process, "document_sources")
    await kill_at(api, worker_process, ONE_DOCUMENT_OF_SOURCE, root)
    await kill_at(api, worker_process, "sources WHERE url = $1", root)
    worker_process.start()
    ended = await api.wait(operation)

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert (result["documents_removed"], result["documents_kept"]) == (DOCUMENTS, DOCUMENTS // 3)
    collection = (await api.client.get("/api/v1/collections/corpus")).json()
    assert collection["documents"] == {"completed": DOCUMENTS // 3}
    points = await api.assert_consistent("corpus")
    assert result["points_removed"] + points == created["result"]["chunks"]
    left = await count_left(api.parts, created["collection_id"])
    assert (left["sources"], left["documents"], left.get("document_sources")) == (1, DOCUMENTS // 3, None)
    answer = await api.client.post("/api/v1/collections/corpus/operations", json={"kind": "VERIFY"})
    assert (await api.wait(answer.json()))["result"]["ok"]


async def test_killed_retry_tries_each_document_once(
    api: Api, created: dict[str, Any], worker_process: WorkerProcess
) -> None:
    """What an attempt has settled stays so, and what it had in hand is tried by the next one."""
    async with api.parts.database.begin() as connection:
        await connection.execute(
            text("UPDATE documents SET state = 'failed', error_code = 'embedder_unavailable', content_hash = NULL")
        )
    answer = await api.client.post("/api/v1/collections/corpus/documents/retry")

    await kill_at(api, worker_process, "chunks")
    await kill_at(
        api, worker_process, "chunks WHERE document_id IN (SELECT id FROM documents ORDER BY position DESC LIMIT 20)"
    )
    worker_process.start()
    ended = await api.wait(answer.json())

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert result["documents_retried"] == result["documents"] == DOCUMENTS + DOCUMENTS // 3
    assert (result["documents_failed"], result["tokens"]) == (0, 0)
    assert ended["progress"]["documents"]["done"] == ended["progress"]["documents"]["total"] == result["documents"]
    assert (await api.client.get("/api/v1/collections/corpus")).json()["documents"] == {
        "completed": DOCUMENTS + DOCUMENTS // 3
    }
    await api.assert_consistent("corpus")

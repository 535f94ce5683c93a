"""Cancel, in every stage an operation can be in: it stops, its processes end, and the collection is usable."""

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until
from tests.model_server import FakeModelServer
from tests.vector_proxy import Plan, Spoil, VectorProxy

IMPORT_SECONDS = 2.0


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer, proxy: VectorProxy) -> Settings:
    """Settings with both in between, and two child processes; waiting for Postgres' locks is allowed."""
    changes = {
        "embedding_url": server.url,
        "embedding_model": server.model,
        "qdrant_url": proxy.url,
        "process_slots": 2,
    }
    return settings.model_copy(update=changes)


def _busy_children() -> list[psutil.Process]:
    """Child processes of the pool that have computed for longer than their imports take."""
    busy = []
    for child in psutil.Process(os.getpid()).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may have ended since it was listed
            if "app.processes.child" in " ".join(child.cmdline()) and child.cpu_times().user > IMPORT_SECONDS:
                busy.append(child)
    return busy


async def _cancel(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    return await api.wait(operation)


async def _assert_usable(api: Api, parts: Parts, expected: int) -> None:
    """Nothing is in anybody's hands, and another run brings in everything."""
    async with parts.database.begin() as connection:
        held = await connection.scalar(text("SELECT count(*) FROM documents WHERE state = 'processing'"))
    ended = await api.wait(await api.append("corpus"))
    collection = (await api.client.get("/api/v1/collections/corpus")).json()

    assert held == 0
    assert ended["state"] == "completed", ended
    assert collection["documents"] == {"completed": expected}
    assert collection["busy"] is None
    await api.assert_consistent("corpus")


def _until(predicate: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return predicate()

    return look


async def test_while_a_process_computes(api: Api, parts: Parts, tmp_path: Path, worker: None) -> None:
    """A child in the middle of chunking a large text is killed."""
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "large.txt").write_text("".join(f"Sentence {n} of a long, long text.\n" for n in range(2_500_000)))
    operation = await api.create("corpus", root, model="wordllama")
    [child, *_] = await wait_until(_until_busy)

    ended = await _cancel(api, operation)

    assert ended["state"] == "cancelled"
    await wait_until(_until(lambda: _has_ended(child)))
    (root / "large.txt").write_text("Now it is short.")
    await _assert_usable(api, parts, 1)


def _has_ended(child: psutil.Process) -> bool:
    try:
        return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _until_busy() -> list[psutil.Process]:
    return _busy_children()


async def test_while_the_embedder_does_not_answer(
    api: Api, parts: Parts, tmp_path: Path, server: FakeModelServer, worker: None
) -> None:
    """Requests that hang are given up."""
    root = tmp_path / "corpus"
    write_corpus(root, 30)
    operation = await api.create("corpus", root)
    await wait_until(_until(lambda: bool(server.batches)))
    server.held = True
    asked = server.requests
    await wait_until(_until(lambda: server.requests > asked))

    ended = await _cancel(api, operation)
    server.held = False

    assert ended["state"] == "cancelled"
    await _assert_usable(api, parts, 30)


async def test_while_the_vector_store_dawdles(
    api: Api, parts: Parts, tmp_path: Path, proxy: VectorProxy, worker: None
) -> None:
    """Writes that hang are given up; what of them arrives later has no rows, and the next run cleans it away."""
    root = tmp_path / "corpus"
    write_corpus(root, 30)
    proxy.spoil_next(Plan(spoil=Spoil.SLOW, delay_seconds=30), times=1000)
    operation = await api.create("corpus", root, model="wordllama")
    await wait_until(_until(lambda: proxy.spoiled > 0))

    ended = await _cancel(api, operation)
    proxy.mend()

    assert ended["state"] == "cancelled"
    await _assert_usable(api, parts, 30)


async def test_while_points_of_a_removed_source_go(
    api: Api, parts: Parts, tmp_path: Path, proxy: VectorProxy, worker: None
) -> None:
    """No chunk is left without its point: what was taken from the store was taken from the manifest before."""
    root = tmp_path / "corpus"
    write_corpus(root, 30)
    await api.wait(await api.create("corpus", root, model="wordllama"))
    [source] = (await api.client.get("/api/v1/collections/corpus/sources")).json()["sources"]
    proxy.spoil_next(Plan(spoil=Spoil.SLOW, delay_seconds=30), times=1000)
    operation = (await api.client.delete(f"/api/v1/collections/corpus/sources/{source['id']}")).json()
    await wait_until(_until(lambda: proxy.spoiled > 0))

    ended = await _cancel(api, operation)
    proxy.mend()

    assert ended["state"] == "cancelled"
    await api.assert_consistent("corpus", may_be_dirty=True)
    await _assert_usable(api, parts, 30)


async def test_while_postgres_keeps_it_waiting(api: Api, parts: Parts, tmp_path: Path, worker: None) -> None:
    """A statement behind a lock is given up."""
    root = tmp_path / "corpus"
    write_corpus(root, 30)
    await api.wait(await api.create("corpus", root, model="wordllama"))
    async with parts.database.begin() as connection:
        await connection.execute(text("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE"))
        sources = (await connection.execute(text("SELECT id, collection_id FROM sources"))).one()
        response = await _append_without_looking(parts, api, *sources)
        await api.wait(response, states=["running"])
        ended = await _cancel(api, response)

    assert ended["state"] == "cancelled"
    await _assert_usable(api, parts, 30)


async def _append_without_looking(parts: Parts, api: Api, source: UUID, collection: UUID) -> dict[str, Any]:
    """Create an APPEND while the table of sources cannot be read."""
    async with parts.database.begin() as connection:
        operation = await connection.scalar(
            text(
                """INSERT INTO operations (id, user_id, collection_id, kind, state, writes, config)
                   VALUES (gen_random_uuid(), :user, :collection, 'APPEND', 'pending', true,
                           jsonb_build_object('source_id', CAST(:source AS text), 'mode', 'full')) RETURNING id"""
            ),
            {"user": api.user_id, "collection": collection, "source": str(source)},
        )
    await parts.dispatcher.pump()
    return {"operation_id": str(operation)}


async def test_while_redis_is_away(api: Api, parts: Parts, tmp_path: Path, server: FakeModelServer) -> None:
    """The request reaches the worker through Postgres alone: it does not even know where Redis is."""
    root = tmp_path / "corpus"
    write_corpus(root, 30)
    async with running_worker(parts):
        server.held = True
        operation = await api.create("corpus", root)
        await api.wait(operation, states=["running"])
        await parts.redis.client_pause(2500)

        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        ended = await api.wait(operation)
        server.held = False

    assert ended["state"] == "cancelled"


async def test_while_it_waits_for_its_next_attempt(api: Api, parts: Parts, tmp_path: Path, worker: None) -> None:
    """An operation between two attempts is cancelled at once."""
    root = tmp_path / "corpus"
    write_corpus(root, 5)
    operation = await api.create("corpus", root, model="wordllama")
    await api.wait(operation)
    again = await api.append("corpus")
    await api.wait(again)
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """UPDATE operations SET state = 'pending', run_after = now() + interval '1 hour', finished_at = NULL,
                       dispatched_at = NULL, error_code = 'embedder_unavailable' WHERE id = :id"""
            ),
            {"id": again["operation_id"]},
        )

    ended = await _cancel(api, again)

    assert ended["state"] == "cancelled"

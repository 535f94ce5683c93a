"""Several worker processes share the documents of one operation, whatever happens to any of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.embedders.fingerprint import CANARY_TEXTS
from app.settings import Settings
from tests.harness import Api, WorkerProcess, wait_until
from tests.integration.test_removals import count_left, delete
from tests.model_server import FakeModelServer

DOCUMENTS = 400
WORKERS = 3


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server so slow that workers that start late on a busy machine still find something to do."""
    with FakeModelServer().running() as running:
        running.delay_seconds = 0.2
        yield running


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer) -> Settings:
    """Workers that have one small request at a time in flight."""
    changes = {
        "embedding_url": server.url,
        "embedding_model": server.model,
        "embedding_batch_size": 4,
        "embedding_concurrency_per_worker": 1,
        "process_slots": 1,
    }
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of short documents, no two alike."""
    return _write(tmp_path / "many", DOCUMENTS)


def _write(root: Path, documents: int) -> Path:
    root.mkdir()
    for number in range(documents):
        (root / f"{number:04}.txt").write_text(f"Entry {number} of the list of comets.")
    return root


class Fleet:
    """Worker processes, and who of them has what in hand."""

    def __init__(self, settings: Settings, api: Api, folder: Path) -> None:
        self.workers = [WorkerProcess(settings, folder / f"worker-{number}.log") for number in range(WORKERS)]
        self.api = api

    async def rows(self, sql: str) -> list[Any]:
        """Rows of a statement."""
        async with self.api.parts.database.begin() as connection:
            return list((await connection.execute(text(sql))).mappings())

    async def start(self) -> None:
        """Start all and wait until all are known."""
        for worker in self.workers:
            worker.start()

        async def all_alive() -> bool:
            return len(await self.rows("SELECT 1 FROM workers WHERE locked_at IS NOT NULL")) == WORKERS

        await wait_until(all_alive)

    async def sharing(self, lanes: int = WORKERS - 1) -> tuple[WorkerProcess, list[WorkerProcess]]:
        """The operation's own worker, and the others, once each of them has documents in hand."""

        async def all_busy() -> list[Any]:
            busy = await self.rows(
                """SELECT l.worker FROM lanes l WHERE EXISTS
                   (SELECT 1 FROM documents d WHERE d.lane = l.id AND d.state = 'completed')"""
            )
            return busy if len(busy) >= lanes else []

        names = {row["worker"].rpartition(":")[2] for row in await wait_until(all_busy)}
        return (
            next(worker for worker in self.workers if str(worker.pid) not in names),
            [worker for worker in self.workers if str(worker.pid) in names],
        )

    async def nothing_left(self) -> bool:
        """Whether no lane, no offer and no document in hand is left."""
        left = await self.rows(
            """SELECT (SELECT count(*) FROM lanes) + (SELECT count(*) FROM lane_offers)
                    + (SELECT count(*) FROM documents WHERE state = 'processing') AS n"""
        )
        return int(left[0]["n"]) == 0


@pytest.fixture
async def fleet(settings: Settings, api: Api, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Started workers."""
    opened = Fleet(settings, api, tmp_path)
    await opened.start()
    yield opened
    for worker in opened.workers:
        worker.close()


async def _assert_all_there(api: Api, ended: dict[str, Any], documents: int = DOCUMENTS) -> None:
    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 0)
    assert ended["result"]["documents_added"] == ended["result"]["chunks"] == documents, ended
    assert ended["result"]["stages"]["commit"]["items"] == ended["result"]["stages"]["store"]["items"] == documents
    assert (await api.client.get("/api/v1/collections/comets")).json()["documents"] == {"completed": documents}
    assert await api.assert_consistent("comets") == documents


async def test_idle_workers_share_an_operation(fleet: Fleet, api: Api, many: Path, server: FakeModelServer) -> None:
    """All of them work at it, no document is done twice, and the result is that of all."""
    ended = await api.wait(await api.create("comets", many))

    sent = [entry for entry in server.texts if entry.startswith("Entry")]
    await _assert_all_there(api, ended)
    assert ended["result"]["workers"] == WORKERS
    assert len(sent) == len(set(sent)) == DOCUMENTS
    # the operation's own worker asks twice about a new model, every lane once
    assert len(server.texts) - len(sent) == len(CANARY_TEXTS) * (WORKERS + 1)
    assert server.peak > 1
    assert await fleet.nothing_left()


async def test_a_few_documents_are_not_shared(fleet: Fleet, api: Api, folder: Path) -> None:
    """They are done before another worker has begun."""
    ended = await api.wait(await api.create("notes", folder))

    assert ended["result"]["workers"] == 1


async def test_what_a_killed_lane_had_in_hand_is_done_by_others(fleet: Fleet, api: Api, many: Path) -> None:
    """The attempt goes on, and every document is there once."""
    operation = await api.create("comets", many)
    _, lanes = await fleet.sharing()

    os.kill(lanes[0].pid, signal.SIGKILL)
    ended = await api.wait(operation)

    await _assert_all_there(api, ended)
    assert ended["attempt"] == 1
    assert await fleet.nothing_left()


async def test_a_frozen_lane_writes_nothing_once_it_was_taken_over(fleet: Fleet, api: Api, many: Path) -> None:
    """Its lease ends, others do its documents, and when it wakes up it is told so."""
    operation = await api.create("comets", many)
    _, lanes = await fleet.sharing()

    os.kill(lanes[0].pid, signal.SIGSTOP)
    ended = await api.wait(operation)
    os.kill(lanes[0].pid, signal.SIGCONT)

    await _assert_all_there(api, ended)
    assert ended["attempt"] == 1
    await asyncio.sleep(1)  # whatever it still wants to do
    await _assert_all_there(api, ended)
    assert await fleet.nothing_left()


async def test_lanes_end_with_the_worker_of_their_operation(
    fleet: Fleet, api: Api, many: Path, server: FakeModelServer
) -> None:
    """A killed one's operation goes on elsewhere, in step with what its lanes had done."""
    operation = await api.create("comets", many)
    own, _ = await fleet.sharing()

    os.kill(own.pid, signal.SIGKILL)
    ended = await api.wait(operation)

    await _assert_all_there(api, ended)
    assert ended["attempt"] == 2
    assert ended["result"]["workers"] == WORKERS - 1
    assert await fleet.nothing_left()


async def test_a_lane_leaves_on_sigterm(fleet: Fleet, api: Api, many: Path) -> None:
    """It ends what is nearly done, gives back the rest and is no interruption."""
    operation = await api.create("comets", many)
    _, lanes = await fleet.sharing()

    status = await asyncio.to_thread(lanes[0].end, signal.SIGTERM)
    ended = await api.wait(operation)

    assert status == 0
    await _assert_all_there(api, ended)
    assert (ended["attempt"], ended["interruptions"]) == (1, 0)


@pytest.mark.parametrize("wish", ["cancel", "pause"])
async def test_a_wish_reaches_every_lane(fleet: Fleet, api: Api, many: Path, wish: str) -> None:
    """Nothing is in hand any more, what is done is kept, and later only the rest is done."""
    operation = await api.create("comets", many)
    await fleet.sharing()

    path = f"/api/v1/operations/{operation['operation_id']}"
    await api.client.post(f"{path}/{wish}")
    await api.wait(operation, states=("cancelled",) if wish == "cancel" else ("pending",))
    await wait_until(fleet.nothing_left)
    documents = (await api.client.get("/api/v1/collections/comets")).json()["documents"]
    points = await api.assert_consistent("comets", may_be_dirty=True)
    await api.client.post(f"{path}/{'retry' if wish == 'cancel' else 'resume'}")
    ended = await api.wait(operation)

    assert set(documents) == {"completed", "pending"}
    assert points == documents["completed"]
    await _assert_all_there(api, ended)


async def test_a_worker_that_has_not_the_folder_leaves_it_to_others(
    settings: Settings, api: Api, tmp_path: Path, server: FakeModelServer
) -> None:
    """It cannot read what the scan has seen, and no document fails for that."""
    own = WorkerProcess(settings, tmp_path / "own.log")
    many = _write(tmp_path / "many", 3 * DOCUMENTS)
    server.delay_seconds = 0.3
    # a namespace of mounts of its own hides the folder from this one alone
    elsewhere = WorkerProcess(settings, tmp_path / "elsewhere.log", module="tests.e2e.blind_worker", HIDDEN=str(many))
    try:
        own.start()
        operation = await api.create("comets", many)
        await api.wait(operation, states=("running",))
        elsewhere.start()
        await wait_until(lambda: _said(tmp_path / "elsewhere.log"))
        server.delay_seconds = 0.01
        ended = await api.wait(operation)
    finally:
        own.close()
        elsewhere.close()

    said = (tmp_path / "elsewhere.log").read_text()
    if "cannot hide" in said:
        pytest.skip("hiding a folder from one process needs the right to mount")
    await _assert_all_there(api, ended, 3 * DOCUMENTS)
    assert "lane_blind" in said


async def test_a_worker_with_another_model_behind_the_same_name_writes_nothing(
    settings: Settings, api: Api, tmp_path: Path, server: FakeModelServer
) -> None:
    """It takes documents in hand while it asks its model, and gives them back."""
    many = _write(tmp_path / "many", 3 * DOCUMENTS)
    server.delay_seconds = 0.3
    own = WorkerProcess(settings, tmp_path / "own.log")
    with FakeModelServer().running() as another:
        another.salt = "another model"
        there = {name: getattr(settings, name) for name in settings.model_fields_set}
        elsewhere = WorkerProcess(Settings(**{**there, "embedding_url": another.url}), tmp_path / "elsewhere.log")
        try:
            own.start()
            operation = await api.create("comets", many)
            await api.wait(operation, states=("running",))
            elsewhere.start()
            await wait_until(lambda: _was_asked(another))
            server.delay_seconds = 0.01
            ended = await api.wait(operation)
        finally:
            own.close()
            elsewhere.close()

    await _assert_all_there(api, ended, 3 * DOCUMENTS)
    assert another.texts == [*CANARY_TEXTS]
    assert "embedder_changed" in (tmp_path / "elsewhere.log").read_text()


async def _was_asked(server: FakeModelServer) -> bool:
    return bool(server.texts)


async def _said(log: Path) -> bool:
    """Whether a worker has tried, or can not."""
    written = await asyncio.to_thread(log.read_text)
    return "lane_blind" in written or "cannot hide" in written


async def test_documents_that_are_tried_again_are_shared(fleet: Fleet, api: Api, many: Path) -> None:
    """A retry is worked by all, as the operation that failed was."""
    await api.wait(await api.create("comets", many))
    async with api.parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM chunks"))
        # else there would be nothing to do for the model
        await connection.execute(text("DELETE FROM embedding_cache"))
        await connection.execute(
            text(
                """UPDATE documents SET state = 'failed', error_code = 'embedder_unavailable', content_hash = NULL,
                   chunk_count = 0"""
            )
        )

    answer = await api.client.post("/api/v1/collections/comets/documents/retry")
    result = (await api.wait(answer.json()))["result"]

    assert (result["documents_retried"], result["documents"], result["workers"]) == (DOCUMENTS, DOCUMENTS, WORKERS)
    assert await api.assert_consistent("comets") == DOCUMENTS
    assert await fleet.nothing_left()


async def test_deletion_waits_for_all_who_share(fleet: Fleet, api: Api, many: Path) -> None:
    """Nobody writes to the collection any more when it goes, so nothing of it is left."""
    operation = await api.create("comets", many)
    await fleet.sharing()

    deletion = await delete(api, "comets")
    ended = await api.wait(deletion)

    assert ended["state"] == "completed", ended
    assert (await api.get(operation))["state"] == "cancelled"
    assert await count_left(api.parts, operation["collection_id"]) == {}
    await wait_until(fleet.nothing_left)

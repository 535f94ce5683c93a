"""Pause and resume: of an operation and of a whole collection, with nothing done twice."""

from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until

DOCUMENTS = 1200


async def _post(api: Api, path: str) -> dict[str, Any]:
    response = await api.client.post(f"/api/v1/{path}")
    assert response.status_code in (200, 202), response.text
    body: dict[str, Any] = response.json()
    return body


async def _until_under_way(parts: Parts) -> None:
    async def some_done() -> bool:
        async with parts.database.begin() as connection:
            done = await connection.scalar(text("SELECT count(*) FROM documents WHERE state = 'completed'"))
        return bool(done)

    await wait_until(some_done)


async def _until_paused(api: Api, operation: dict[str, Any], why: str) -> dict[str, Any]:
    async def is_paused() -> dict[str, Any] | None:
        now = await api.get(operation)
        return now if now["state"] == "pending" and str(now["why_waiting"]).startswith(why) else None

    paused: dict[str, Any] = await wait_until(is_paused)
    return paused


async def test_a_running_operation_pauses_and_goes_on_with_nothing_done_twice(
    api: Api, parts: Parts, worker: None, tmp_path: Path
) -> None:
    """It stops at a checkpoint, every document in hand is finished or given back, and resume does only the rest."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS)
    operation = await api.create("corpus", root)
    await _until_under_way(parts)

    await _post(api, f"operations/{operation['operation_id']}/pause")
    paused = await _until_paused(api, operation, "paused since")
    documents = (await api.client.get("/api/v1/collections/corpus")).json()["documents"]
    points = await api.assert_consistent("corpus")
    await _post(api, f"operations/{operation['operation_id']}/resume")
    ended = await api.wait(operation)

    assert (paused["failures"], paused["interruptions"]) == (0, 0)
    assert 0 < documents["completed"] < DOCUMENTS
    assert set(documents) == {"completed", "pending"}
    assert points > 0
    assert ended["state"] == "completed"
    assert ended["result"]["documents_added"] == ended["result"]["stages"]["read"]["items"] == DOCUMENTS
    assert (await api.client.get("/api/v1/collections/corpus")).json()["documents"] == {"completed": DOCUMENTS}
    assert await api.assert_consistent("corpus") == ended["result"]["chunks"]


async def test_a_paused_operation_does_not_start(api: Api, parts: Parts, folder: Path) -> None:
    """A pending one waits with a worker at hand, says since when, and later writers wait behind it."""
    operation = await api.create("notes", folder)
    await _post(api, f"operations/{operation['operation_id']}/pause")
    async with running_worker(parts):
        other = await api.wait(await api.create("other", folder))
        behind = await api.append("notes")
        paused = await api.get(operation)
        await _post(api, f"operations/{operation['operation_id']}/resume")
        ended = [await api.wait(operation), await api.wait(behind)]

    assert other["state"] == "completed"
    assert paused["state"] == "pending"
    assert paused["why_waiting"].startswith("paused since 20")
    assert behind["why_waiting"] == f"behind operation {operation['operation_id']} (INDEX, paused)"
    assert [operation["state"] for operation in ended] == ["completed", "completed"]


async def test_a_paused_operation_can_be_cancelled(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """Cancel ends it at once, and a later retry starts it although it was paused before."""
    operation = await api.create("notes", folder / "guides")
    await api.wait(operation)
    appended = await api.append("notes")
    await api.wait(appended)
    paused = await api.append("notes")
    await _post(api, f"operations/{paused['operation_id']}/pause")

    cancelled = await api.client.post(f"/api/v1/operations/{paused['operation_id']}/cancel")
    if cancelled.status_code == 409:  # it was faster than the pause
        assert (await api.get(paused))["state"] == "completed"
        return
    ended = await api.wait(paused)
    await _post(api, f"operations/{paused['operation_id']}/retry")
    retried = await api.wait(paused)

    assert ended["state"] == "cancelled"
    assert retried["state"] == "completed"
    assert retried["paused_at"] is None


async def test_a_paused_collection_stops_all_its_operations_and_no_other(
    api: Api, parts: Parts, worker: None, tmp_path: Path, folder: Path
) -> None:
    """What runs there stops at a checkpoint, what waits does not start, search and other collections go on."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS)
    operation = await api.create("corpus", root)
    behind = await api.append("corpus")
    await _until_under_way(parts)

    collection = await _post(api, "collections/corpus/pause")
    await _until_paused(api, operation, "its collection is paused since")
    waiting = await api.get(behind)
    other = await api.wait(await api.create("other", folder))
    hits = await api.search("corpus", "the")
    await _post(api, "collections/corpus/resume")
    ended = [await api.wait(operation), await api.wait(behind)]

    assert collection["paused_at"] is not None
    assert waiting["why_waiting"].startswith("its collection is paused since")
    assert other["state"] == "completed"
    assert hits
    assert [operation["state"] for operation in ended] == ["completed", "completed"]
    assert (await api.client.get("/api/v1/collections/corpus")).json()["documents"] == {"completed": DOCUMENTS}


async def test_a_finished_operation_cannot_be_paused(api: Api, worker: None, folder: Path) -> None:
    """Pause and resume say that it has ended, with the code that cancel has for it."""
    operation = await api.create("notes", folder)
    await api.wait(operation)

    answers = [
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/{action}")
        for action in ("pause", "resume")
    ]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert {answer.json()["code"] for answer in answers} == {"operation_finished"}

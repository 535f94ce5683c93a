"""INDEX and APPEND with a model behind HTTP that is slow, picky, broken, gone or another one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bootstrap import Parts
from app.settings import Settings
from tests.harness import Api, wait_until
from tests.model_server import FakeModelServer, Fault

pytestmark = pytest.mark.usefixtures("worker")
KEY = "model-secret"


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server that wants a key."""
    with FakeModelServer(api_key=KEY).running() as running:
        yield running


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer) -> Settings:
    """Settings that use it, with short patience."""
    changes = {
        "embedding_url": server.url,
        "embedding_model": server.model,
        "embedding_api_key": KEY,
        "embedding_batch_size": 4,
        "embedding_timeout": 5,
    }
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 24 short documents."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(24):
        (root / f"{number:02}.txt").write_text(f"Entry {number} of the list of comets.")
    return root


async def test_documents_are_embedded_by_the_server_in_full_batches(
    api: Api, many: Path, server: FakeModelServer
) -> None:
    """Each text is sent once, in batches of the set size, several at a time at most, and is found by meaning."""
    ended = await api.wait(await api.create("comets", many))
    hits = await api.search("comets", "Entry 7 of the list of comets.", mode="dense", limit=1)

    sent = [text for text in server.texts if text.startswith("Entry")]
    assert ended["state"] == "completed", ended
    assert len(sent) == len(set(sent)) + 1  # the query is one of them
    assert max(server.batches) == 4
    assert 1 <= server.peak <= 4
    assert hits[0]["path"] == "07.txt"


async def test_a_busy_server_is_waited_for(api: Api, many: Path, server: FakeModelServer) -> None:
    """429 and 503 slow the operation down and cost no document and no attempt."""
    server.fail_next(429, times=2, headers={"Retry-After": "0.2"})
    server.fail_next(503)

    ended = await api.wait(await api.create("comets", many))

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 0)
    assert await api.assert_consistent("comets") == 24


async def test_a_server_of_small_batches_gets_small_batches(api: Api, many: Path, server: FakeModelServer) -> None:
    """422 splits a batch until it passes."""
    server.batch_limit = 3

    ended = await api.wait(await api.create("comets", many))

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 0)
    assert await api.assert_consistent("comets") == 24


async def test_one_bad_text_costs_one_document(api: Api, many: Path, server: FakeModelServer) -> None:
    """A text the model refuses is isolated; its neighbours in the batch are stored."""
    server.poison = "Entry 13 "

    ended = await api.wait(await api.create("comets", many))
    documents = await api.documents("comets")

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 1)
    assert documents["13.txt"]["error_code"] == "embedder_rejected"
    assert await api.assert_consistent("comets") == 23


@pytest.mark.parametrize("fault", [Fault.NAN, Fault.ZERO, Fault.NOT_JSON, Fault.MISSING_ROW, Fault.CLOSE])
async def test_a_garbled_answer_is_asked_for_again(api: Api, many: Path, server: FakeModelServer, fault: Fault) -> None:
    """What cannot be used is never stored; the texts are sent again."""
    server.delay_seconds = 0.05
    operation = await api.create("comets", many)
    await wait_until(lambda: _has_embedded_documents(server))
    server.spoil_next(fault, times=2)

    ended = await api.wait(operation)

    assert not server.scripted
    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 0)
    assert await api.assert_consistent("comets") == 24


async def test_a_wrong_key_fails_the_operation_and_no_document(
    api: Api, many: Path, server: FakeModelServer, parts: Parts
) -> None:
    """A refusal of everything is the operator's to mend: all documents stay pending, and a retry completes."""
    await api.wait(await api.create("comets", many / "00.txt"))
    server.api_key = "rotated"
    response = await api.client.post("/api/v1/collections/comets/sources", json={"url": many.as_uri()})
    body = {"kind": "APPEND", "config": {"source_id": response.json()["id"], "mode": "full"}}
    operation = (await api.client.post("/api/v1/collections/comets/operations", json=body)).json()
    refused = await api.wait(operation)
    server.api_key = KEY
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",))

    assert (refused["state"], refused["error_code"]) == ("failed", "embedder_refuses_access")
    assert KEY not in str(refused)
    assert ended["result"]["documents_failed"] == 0


async def test_a_key_that_stops_working_midway_fails_no_document(api: Api, many: Path, server: FakeModelServer) -> None:
    """What was stored before stays; the rest is pending, not failed."""
    server.delay_seconds = 0.05
    operation = await api.create("comets", many)
    await wait_until(lambda: _has_embedded_documents(server))
    server.api_key = "rotated"
    refused = await api.wait(operation)
    states = {document["state"] for document in (await api.documents("comets")).values()}
    server.api_key = KEY
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",))

    assert (refused["state"], refused["error_code"]) == ("failed", "embedder_refuses_access")
    assert "failed" not in states
    assert ended["result"]["documents_failed"] == 0
    assert await api.assert_consistent("comets") == 24


async def _has_embedded_documents(server: FakeModelServer) -> bool:
    return any(text.startswith("Entry") for text in server.texts)


async def test_a_server_that_answers_only_garbage_fails_no_document(
    api: Api, many: Path, server: FakeModelServer
) -> None:
    """Before a text is blamed, the model must embed a text that it has embedded before."""
    server.delay_seconds = 0.05
    operation = await api.create("comets", many)
    await wait_until(lambda: _has_embedded_documents(server))
    server.spoil_next(Fault.NAN, times=10_000)
    failed = await api.wait(operation, states=("failed",))
    states = {document["state"] for document in (await api.documents("comets")).values()}

    assert failed["error_code"] == "embedder_garbage"
    assert "failed" not in states


async def test_another_model_behind_the_same_name_stops_before_it_writes(
    api: Api, many: Path, server: FakeModelServer
) -> None:
    """With other vectors for the canary texts, an APPEND ends with embedder_changed and embeds no document."""
    await api.wait(await api.create("comets", many))
    (many / "new.txt").write_text("A new entry.")
    server.salt = "another model"
    server.texts.clear()

    ended = await api.wait(await api.append("comets"))

    assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")
    assert "A new entry." not in server.texts
    assert await api.assert_consistent("comets") == 24


async def test_a_model_of_another_length_stops_before_it_writes(api: Api, many: Path, server: FakeModelServer) -> None:
    """The same for a server that now answers vectors of another dimension."""
    await api.wait(await api.create("comets", many))
    server.dimension = 24

    ended = await api.wait(await api.append("comets"))

    assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")


async def test_a_folder_that_disappears_midway_fails_no_document(
    api: Api, tmp_path: Path, server: FakeModelServer
) -> None:
    """What was not read yet stays pending; nothing is removed; when the folder is back, a retry goes on."""
    root = tmp_path / "stick"
    root.mkdir()
    for number in range(1500):
        (root / f"{number:04}.txt").write_text(f"Entry {number} of the list of comets.")
    server.delay_seconds = 0.02
    operation = await api.create("comets", root)
    await wait_until(lambda: _has_embedded_documents(server))
    root.rename(tmp_path / "unplugged")
    vanished = await api.wait(operation)
    failed = await api.client.get("/api/v1/collections/comets/documents", params={"state": "failed"})
    server.delay_seconds = 0
    (tmp_path / "unplugged").rename(root)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",))

    assert (vanished["state"], vanished["error_code"]) == ("failed", "source_not_found")
    assert failed.json()["documents"] == []
    assert (ended["result"]["documents"], ended["result"]["documents_failed"]) == (1500, 0)
    assert await api.assert_consistent("comets") == 1500


async def test_a_file_that_disappears_midway_costs_one_document(
    api: Api, tmp_path: Path, server: FakeModelServer
) -> None:
    """The folder is still there, so the file is what vanished, and the next run forgets it."""
    root = tmp_path / "stick"
    root.mkdir()
    for number in range(1500):
        (root / f"{number:04}.txt").write_text(f"Entry {number} of the list of comets.")
    server.delay_seconds = 0.02
    operation = await api.create("comets", root)
    await wait_until(lambda: _has_embedded_documents(server))
    (root / "1499.txt").unlink()
    ended = await api.wait(operation)
    server.delay_seconds = 0
    failed = await api.client.get("/api/v1/collections/comets/documents", params={"state": "failed"})
    again = await api.wait(await api.append("comets"))

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 1)
    assert [document["error_code"] for document in failed.json()["documents"]] == ["file_vanished"]
    assert (again["result"]["documents_removed"], again["result"]["documents_failed"]) == (1, 0)
    assert await api.assert_consistent("comets") == 1499

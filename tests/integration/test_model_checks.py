"""How often a model is asked whether it is still the same, and what may go on meanwhile."""

from pathlib import Path

import pytest
from sqlalchemy import text

from app.embedders.fingerprint import CANARY_TEXTS
from app.settings import Settings
from tests.harness import Api, wait_until
from tests.model_server import FakeModelServer, Fault

pytestmark = pytest.mark.usefixtures("worker")
DOCUMENTS = 24


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer) -> Settings:
    """Settings that use the model server."""
    changes = {"embedding_url": server.url, "embedding_model": server.model, "embedding_batch_size": 4}
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of short documents, no two alike."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(DOCUMENTS):
        (root / f"{number:02}.txt").write_text(f"Entry {number} of the list of comets.")
    return root


def _questions(server: FakeModelServer) -> list[str]:
    """What the model was asked about itself."""
    return [sent for sent in server.texts if not sent.startswith("Entry")]


async def _count(api: Api, state: str) -> int:
    async with api.parts.database.begin() as connection:
        statement = text("SELECT count(*) FROM documents WHERE state = :state")
        return int(await connection.scalar(statement, {"state": state}) or 0)


async def test_an_index_asks_the_model_twice_about_itself(api: Api, many: Path, server: FakeModelServer) -> None:
    """Once for the vectors it is known by, from which its dimension follows, and once whether it stands by them."""
    ended = await api.wait(await api.create("comets", many))

    assert ended["state"] == "completed"
    assert _questions(server) == [*CANARY_TEXTS] * 2
    assert server.requests == len(server.batches)


async def test_an_append_asks_the_model_once_about_itself(api: Api, many: Path, server: FakeModelServer) -> None:
    """Whether or not there is anything to embed."""
    await api.wait(await api.create("comets", many))
    server.texts.clear()
    nothing = await api.wait(await api.append("comets"))
    asked_for_nothing = list(server.texts)
    (many / "new.txt").write_text("Entry 24 of the list of comets.")
    server.texts.clear()
    ended = await api.wait(await api.append("comets"))

    assert (nothing["result"]["documents_added"], ended["result"]["documents_added"]) == (0, 1)
    assert asked_for_nothing == [*CANARY_TEXTS]
    assert server.texts == [*CANARY_TEXTS, "Entry 24 of the list of comets."]


async def test_documents_are_prepared_while_the_model_is_asked(api: Api, many: Path, server: FakeModelServer) -> None:
    """A scan and what follows it do not wait for the answer; what is embedded and written does."""
    await api.wait(await api.create("comets", many))
    (many / "new.txt").write_text("Entry 24 of the list of comets.")
    server.texts.clear()
    server.held = True
    operation = await api.append("comets")
    await wait_until(lambda: _count(api, "processing"))
    points = await api.assert_consistent("comets")
    open_requests = server.open
    server.held = False
    ended = await api.wait(operation)

    assert (points, open_requests) == (DOCUMENTS, 1)
    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 1)
    assert await api.assert_consistent("comets") == DOCUMENTS + 1


async def test_another_model_gets_nothing_written_although_documents_were_prepared(
    api: Api, many: Path, server: FakeModelServer
) -> None:
    """Its answer ends the operation; what was in hand is pending again, and no text of it was sent."""
    await api.wait(await api.create("comets", many))
    for number in range(DOCUMENTS):
        (many / f"{number:02}.txt").write_text(f"Entry {number} of another list of comets.")
    server.texts.clear()
    server.salt = "another model"
    server.held = True
    operation = await api.append("comets")
    await wait_until(lambda: _count(api, "processing"))
    server.held = False
    ended = await api.wait(operation)
    sent = list(server.texts)
    server.salt = ""
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    again = await api.wait(operation, states=("completed",))

    assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")
    assert sent == [*CANARY_TEXTS]
    assert again["result"]["documents_changed"] == DOCUMENTS
    assert await api.assert_consistent("comets") == DOCUMENTS


async def test_a_removal_waits_for_the_answer_too(api: Api, many: Path, server: FakeModelServer) -> None:
    """With another model nothing that is gone from the source is removed."""
    await api.wait(await api.create("comets", many))
    (many / "07.txt").unlink()
    server.salt = "another model"

    ended = await api.wait(await api.append("comets"))

    assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")
    assert (await _count(api, "removed"), await api.assert_consistent("comets")) == (0, DOCUMENTS)


async def test_garbage_does_not_become_what_a_model_is_known_by(api: Api, many: Path, server: FakeModelServer) -> None:
    """If the model does not stand by its first answer, the new generation is dropped and nothing is in it."""
    server.spoil_next(Fault.WRONG_DIMENSION)

    operation = await api.create("comets", many)
    ended = await api.wait(operation)
    sent = _questions(server) == server.texts
    stored = await api.parts.store.list_collections()
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    again = await api.wait(operation, states=("completed",))

    assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")
    assert sent
    assert not any(ended["collection_id"].replace("-", "") in name for name in stored)
    assert again["result"]["documents_added"] == DOCUMENTS
    assert await api.assert_consistent("comets") == DOCUMENTS

"""Collections whose words are weighed and told apart in another way than usual."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Api
from tests.integration.test_reindex import assert_verified, reindex, roll_back

GERMAN = {"language": "german", "b": 0.4}


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """Three texts."""
    folder = tmp_path / "garden"
    folder.mkdir()
    (folder / "cherries.txt").write_text("Der Anbau vieler Kirschen, und was dabei zu beachten ist.\n")
    (folder / "apples.txt").write_text("Äpfel werden im Herbst geerntet.\n")
    (folder / "tools.txt").write_text("Spaten und Harke stehen im Schuppen.\n")
    return folder


async def find(api: Api, query: str) -> set[str]:
    """Files that have the words of a query."""
    return {hit["path"] for hit in await api.search("garden", query, mode="bm25")}


async def read_words(api: Api) -> dict[str, Any]:
    """The settings of the collection."""
    settings: dict[str, Any] = (await api.client.get("/api/v1/collections/garden")).json()["sparse_settings"]
    return settings


async def test_a_new_collection_has_the_language_it_is_given(api: Api, garden: Path, worker: None) -> None:
    """Also of what comes later, and in what a repair writes."""
    await api.wait(await api.create("garden", garden, sparse={**GERMAN, "k": None}))
    (garden / "pears.txt").write_text("Die Birnen reifen spät.\n")
    appended = await api.wait(await api.append("garden"))

    assert appended["state"] == "completed"
    assert await read_words(api) == GERMAN
    assert await find(api, "Kirsche") == {"cherries.txt"}
    assert await find(api, "Birne") == {"pears.txt"}
    assert await find(api, "der und im") == set()
    await assert_verified(api, "garden")


async def test_a_repair_writes_words_as_they_were(api: Api, garden: Path, worker: None) -> None:
    """Points that were lost come back in the collection's language."""
    await api.wait(await api.create("garden", garden, sparse=GERMAN))
    answer = await api.client.post("/api/v1/collections/garden/search", json={"query": "Kirsche"})
    name = answer.json()["generation"]
    ids = [point async for batch in api.parts.store.stream_ids(name) for point, _ in batch]
    await api.parts.store.delete_points(name, ids)
    lost = await find(api, "Kirsche")

    body = {"kind": "VERIFY", "config": {"repair": True}}
    answer = await api.client.post("/api/v1/collections/garden/operations", json=body)
    repaired = await api.wait(answer.json())

    assert lost == set()
    assert repaired["state"] == "completed", repaired
    assert await find(api, "Kirsche") == {"cherries.txt"}


async def test_another_language_is_a_rebuild_that_embeds_nothing(api: Api, garden: Path, worker: None) -> None:
    """From stored chunks with their vectors; what comes later is written alike, and the way back has its own words."""
    await api.wait(await api.create("garden", garden))
    before = await find(api, "Kirsche")

    planned = await api.wait(await reindex(api, "garden", sparse=GERMAN, dry_run=True))
    ended = await api.wait(await reindex(api, "garden", sparse=GERMAN))
    after = await find(api, "Kirsche")
    words = await read_words(api)
    (garden / "pears.txt").write_text("Die Birnen reifen spät.\n")
    await api.wait(await api.append("garden"))
    later = await find(api, "Birne")
    back = await api.wait(await roll_back(api, "garden"))

    assert ended["state"] == "completed", ended
    assert (planned["result"]["level"], planned["result"]["sparse"], planned["result"]["sparse_now"]) == (
        "chunks",
        GERMAN,
        {},
    )
    result = ended["result"]
    assert (result["level"], result["sparse"], result["tokens"], result["reused_share"]) == ("chunks", GERMAN, 0, 1.0)
    assert (before, after, later, words) == (set(), {"cherries.txt"}, {"pears.txt"}, GERMAN)
    assert (back["state"], await read_words(api)) == ("completed", {})
    assert (await find(api, "Kirsche"), await find(api, "Birne")) == (set(), set())
    assert await find(api, "Birnen") == {"pears.txt"}
    await assert_verified(api, "garden")


async def test_what_is_not_said_stays_and_null_is_as_usual_again(api: Api, garden: Path, worker: None) -> None:
    """A second rebuild changes one setting; another model keeps them all."""
    await api.wait(await api.create("garden", garden, sparse=GERMAN))

    await api.wait(await reindex(api, "garden", sparse={"b": None, "k": 2}))
    second = await read_words(api)
    await api.wait(await reindex(api, "garden", chunk_size=64, gate="report-only"))

    assert second == {"language": "german", "k": 2.0}
    assert await read_words(api) == second


@pytest.mark.parametrize("words", [{"language": "klingon"}, {"k1": 1}, {"b": 2}])
async def test_wrong_words_are_refused(api: Api, garden: Path, worker: None, words: dict[str, Any]) -> None:
    """At creation and by a rebuild, before anything is made."""
    await api.wait(await api.create("garden", garden))

    created = await api.client.post("/api/v1/collections", json={"name": "other", "sparse": words})
    rebuilt = await api.client.post("/api/v1/collections/garden/reindex", json={"sparse": words})

    assert {(answer.status_code, answer.json()["code"]) for answer in (created, rebuilt)} == {
        (422, "invalid_sparse_settings")
    }
    assert (await api.client.get("/api/v1/collections/other")).status_code == 404

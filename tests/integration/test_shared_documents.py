"""Documents that two sources have: a folder, and a folder inside it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from tests.harness import Api

WHALES = "guides/whales.md"


@pytest.fixture
def guides(folder: Path) -> Path:
    """A folder inside the folder, with two of its three documents."""
    return folder / "guides"


async def _add_source(api: Api, name: str, folder: Path) -> dict[str, Any]:
    answer = await api.client.post(f"/api/v1/collections/{name}/sources", json={"url": folder.as_uri()})
    assert answer.status_code == 201, answer.text
    source: dict[str, Any] = answer.json()
    return source


async def _sources(api: Api, name: str) -> dict[str, str]:
    answer = await api.client.get(f"/api/v1/collections/{name}/sources")
    return {source["url"]: source["id"] for source in answer.json()["sources"]}


async def _append(api: Api, name: str, source: str) -> dict[str, Any]:
    body = {"kind": "APPEND", "config": {"source_id": source}}
    answer = await api.client.post(f"/api/v1/collections/{name}/operations", json=body)
    return await api.wait(answer.json())


async def _found(api: Api, name: str, source: str, query: str = "large mammals in the ocean") -> list[str]:
    hits = await api.search(name, query, filter={"source_ids": [source]})
    return [hit["uri"].rpartition("/")[2] for hit in hits]


async def _verify(api: Api, name: str) -> dict[str, Any]:
    answer = await api.client.post(f"/api/v1/collections/{name}/operations", json={"kind": "VERIFY"})
    result: dict[str, Any] = (await api.wait(answer.json()))["result"]
    return result


async def test_document_of_two_sources_is_found_under_both(api: Api, folder: Path, guides: Path, worker: None) -> None:
    """The second source embeds nothing, lists what it has, and filters by either find it."""
    await api.wait(await api.create("notes", folder))
    inner = await _add_source(api, "notes", guides)

    ended = await _append(api, "notes", inner["id"])

    outer = (await _sources(api, "notes"))[folder.as_uri()]
    answer = await api.client.get("/api/v1/collections/notes/documents", params={"source_id": inner["id"]})
    assert (ended["state"], ended["result"]["unchanged"], ended["result"]["chunks"]) == ("completed", 2, 0)
    assert ended["result"]["documents"] == len(answer.json()["documents"]) == 2
    assert set(await _found(api, "notes", inner["id"])) == {"whales.md", "rockets.txt"}
    assert set(await _found(api, "notes", outer)) == {"whales.md", "rockets.txt", "bread.html"}
    assert (await _verify(api, "notes"))["ok"]


async def test_document_that_one_source_loses_stays_with_the_other(
    api: Api, folder: Path, guides: Path, worker: None
) -> None:
    """A source whose choice shrinks lets its documents pass over; they are removed when nobody has them."""
    await api.wait(await api.create("notes", folder, source={"include": ["**/*"]}))
    inner = await _add_source(api, "notes", guides)
    await _append(api, "notes", inner["id"])
    outer = (await _sources(api, "notes"))[folder.as_uri()]
    await _exclude_guides(api.parts, outer)

    lost = await _append(api, "notes", outer)

    assert (lost["result"]["documents_removed"], lost["result"]["documents"]) == (0, 1)
    documents = await api.documents("notes")
    assert {path: document["state"] for path, document in documents.items()} == dict.fromkeys(
        ("whales.md", "rockets.txt", "bread.html"), "completed"
    )
    assert "whales.md" in await _found(api, "notes", inner["id"])
    assert "whales.md" not in await _found(api, "notes", outer)
    assert (await _verify(api, "notes"))["ok"]

    (guides / "whales.md").unlink()
    gone = await _append(api, "notes", inner["id"])

    assert gone["result"]["documents_removed"] == 1
    assert await _found(api, "notes", inner["id"]) == ["rockets.txt"]
    await api.assert_consistent("notes")


async def _exclude_guides(parts: Parts, source: str) -> None:
    async with parts.database.begin() as connection:
        await connection.execute(
            text("""UPDATE sources SET config = '{"include": [], "exclude": ["guides/**"]}' WHERE id = :id"""),
            {"id": source},
        )


async def test_changed_document_belongs_to_the_source_that_saw_it_first(
    api: Api, folder: Path, guides: Path, worker: None
) -> None:
    """Whoever scans first embeds the change, the other finds it unchanged, and both still have it."""
    await api.wait(await api.create("notes", folder))
    inner = await _add_source(api, "notes", guides)
    await _append(api, "notes", inner["id"])
    outer = (await _sources(api, "notes"))[folder.as_uri()]
    (guides / "whales.md").write_text("# Whales\n\nNarwhals are whales with a long tusk.\n")

    first = await _append(api, "notes", inner["id"])
    second = await _append(api, "notes", outer)

    assert first["result"]["documents_changed"] == 1
    assert (second["result"]["documents_changed"], second["result"]["unchanged"]) == (0, 3)
    for source in (inner["id"], outer):
        assert "whales.md" in await _found(api, "notes", source, "narwhals with a tusk")
    assert (await _verify(api, "notes"))["ok"]
    await api.assert_consistent("notes")


async def test_file_that_is_deleted_is_removed_once_both_have_looked(
    api: Api, folder: Path, guides: Path, worker: None
) -> None:
    """Between the two scans the other source still answers for it."""
    await api.wait(await api.create("notes", folder))
    inner = await _add_source(api, "notes", guides)
    await _append(api, "notes", inner["id"])
    outer = (await _sources(api, "notes"))[folder.as_uri()]
    (guides / "whales.md").unlink()

    first = await _append(api, "notes", outer)
    second = await _append(api, "notes", inner["id"])

    assert (first["result"]["documents_removed"], second["result"]["documents_removed"]) == (0, 1)
    assert {path for path, document in (await api.documents("notes")).items() if document["state"] == "removed"} == {
        "whales.md"
    }
    async with api.parts.database.begin() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM documents WHERE stale_labels IS NOT NULL")) == 0
    assert await api.assert_consistent("notes") == 2


async def test_dry_run_knows_of_the_other_source(api: Api, folder: Path, guides: Path, worker: None) -> None:
    """It says what the real operation then does: what is gone here and known elsewhere is not removed."""
    await api.wait(await api.create("notes", folder))
    inner = await _add_source(api, "notes", guides)
    await _append(api, "notes", inner["id"])
    outer = (await _sources(api, "notes"))[folder.as_uri()]
    (guides / "whales.md").unlink()
    body = {"collection": "notes", "source": {"url": folder.as_uri()}}

    planned = await api.wait((await api.client.post("/api/v1/plans", json=body)).json())
    real = await _append(api, "notes", outer)

    for name in ("documents_added", "documents_changed", "documents_removed", "unchanged", "documents", "chunks"):
        assert planned["result"][name] == real["result"][name], name

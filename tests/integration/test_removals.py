"""Sources that are taken out of a collection, and collections that go."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from app.domain.errors import GenerationMissingError
from app.domain.points import PointBatch
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until

OF_A_COLLECTION = ("chunks", "documents", "sources", "generations", "operations")


async def count_left(parts: Parts, collection_id: str) -> dict[str, int]:
    """What Postgres and the vector store still hold of a collection."""
    left: dict[str, int] = {}
    async with parts.database.begin() as connection:
        for table in OF_A_COLLECTION:
            statement = text(f"SELECT count(*) FROM {table} WHERE collection_id = :id")  # noqa: S608 — our own names
            left[table] = await connection.scalar(statement, {"id": collection_id}) or 0
        statement = text("SELECT count(*) FROM collections WHERE id = :id")
        left["collections"] = await connection.scalar(statement, {"id": collection_id}) or 0
        left["document_sources"] = await connection.scalar(text("SELECT count(*) FROM document_sources")) or 0
    left["stored"] = sum(UUID(collection_id).hex in name for name in await parts.store.list_collections())
    return {name: number for name, number in left.items() if number}


async def remove_source(api: Api, name: str, folder: Path) -> dict[str, Any]:
    """Ask for the removal of the source over a folder; gives the operation."""
    sources = (await api.client.get(f"/api/v1/collections/{name}/sources")).json()["sources"]
    source = next(source["id"] for source in sources if source["url"] == folder.as_uri())
    answer = await api.client.delete(f"/api/v1/collections/{name}/sources/{source}")
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def delete(api: Api, name: str, **headers: str) -> dict[str, Any]:
    """Ask for the deletion of a collection; gives the operation."""
    answer = await api.client.delete(f"/api/v1/collections/{name}", headers=headers)
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def add_source(api: Api, name: str, folder: Path) -> None:
    """Add a source and bring its documents in."""
    source = (await api.client.post(f"/api/v1/collections/{name}/sources", json={"url": folder.as_uri()})).json()
    body = {"kind": "APPEND", "config": {"source_id": source["id"]}}
    answer = await api.client.post(f"/api/v1/collections/{name}/operations", json=body)
    assert (await api.wait(answer.json()))["state"] == "completed"


# --- sources ------------------------------------------------------------------------------------


async def test_removed_source_leaves_nothing(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """Its points, chunks, documents and row are gone from everywhere, and the result counts them."""
    created = await api.wait(await api.create("notes", folder))

    ended = await api.wait(await remove_source(api, "notes", folder))

    assert ended["state"] == "completed", ended
    assert ended["result"] == {
        "source": folder.as_uri(),
        "documents_removed": 3,
        "points_removed": created["result"]["chunks"],
        "documents_kept": 0,
    }
    assert ended["progress"] == {"removed": 3, "total": 3}
    assert await count_left(parts, ended["collection_id"]) == {
        "collections": 1,
        "generations": 1,
        "operations": 2,
        "stored": 1,
    }
    assert await api.assert_consistent("notes") == 0
    assert await api.search("notes", "whales") == []


async def test_what_another_source_has_stays(api: Api, folder: Path, worker: None) -> None:
    """Documents of both belong to the other one from now on, and its filter finds them."""
    await api.wait(await api.create("notes", folder))
    await add_source(api, "notes", folder / "guides")

    ended = await api.wait(await remove_source(api, "notes", folder))

    [inner] = (await api.client.get("/api/v1/collections/notes/sources")).json()["sources"]
    hits = await api.search("notes", "whales in the ocean", filter={"source_ids": [inner["id"]]})
    verified = await api.client.post("/api/v1/collections/notes/operations", json={"kind": "VERIFY"})
    assert (ended["result"]["documents_removed"], ended["result"]["documents_kept"]) == (1, 2)
    assert {hit["path"] for hit in hits} == {"whales.md", "rockets.txt"}
    assert (await api.wait(verified.json()))["result"]["ok"]
    assert await api.assert_consistent("notes") == 2


async def test_the_source_that_only_shares_can_go_too(api: Api, folder: Path, worker: None) -> None:
    """Removing the source that documents do not belong to removes none of them."""
    await api.wait(await api.create("notes", folder))
    await add_source(api, "notes", folder / "guides")

    ended = await api.wait(await remove_source(api, "notes", folder / "guides"))

    verified = await api.client.post("/api/v1/collections/notes/operations", json={"kind": "VERIFY"})
    assert (ended["result"]["documents_removed"], ended["result"]["documents_kept"]) == (0, 2)
    assert (await api.wait(verified.json()))["result"]["ok"]
    assert len(await api.search("notes", "whales")) == 3
    assert await api.assert_consistent("notes") == 3


async def test_points_go_from_every_generation(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """Also from one that is being built, and nobody minds one that does not exist yet."""
    operation = await api.wait(await api.create("notes", folder))
    await _build_another(parts, operation["collection_id"], "built", is_made=True)
    await _build_another(parts, operation["collection_id"], "unmade", is_made=False)

    ended = await api.wait(await remove_source(api, "notes", folder))

    assert ended["state"] == "completed", ended
    assert ended["result"]["points_removed"] == 2 * operation["result"]["chunks"]
    assert await parts.store.count("built") == 0
    with pytest.raises(GenerationMissingError):
        await parts.store.count("unmade")
    await parts.store.drop_collection("built")


COPY_GENERATION = """
INSERT INTO generations (id, collection_id, name, state, model, dimension, fingerprint, canaries, chunking)
SELECT gen_random_uuid(), collection_id, :name, 'building', model, dimension, fingerprint, canaries, chunking
FROM generations WHERE id = :active RETURNING id
"""
COPY_CHUNKS = """
INSERT INTO chunks (collection_id, generation_id, id, document_id, ordinal, start_char, end_char, tokens, text)
SELECT collection_id, :new, id, document_id, ordinal, start_char, end_char, tokens, text
FROM chunks WHERE generation_id = :active
"""


async def _build_another(parts: Parts, collection_id: str, name: str, *, is_made: bool) -> None:
    """A second generation with the same chunks and points, as a rebuild makes it; or only its row."""
    query = "SELECT id, name, dimension FROM generations WHERE collection_id = :id AND state = 'active'"
    async with parts.database.begin() as connection:
        active = (await connection.execute(text(query), {"id": collection_id})).one()
        new = await connection.scalar(text(COPY_GENERATION), {"name": name, "active": active.id})
        if not is_made:
            return
        await connection.execute(text(COPY_CHUNKS), {"active": active.id, "new": new})
    await parts.store.create_collection(name, dimension=active.dimension)
    async for page in parts.store.stream_points(active.name, dimension=active.dimension, page=100):
        ids = [point for point in page.ids if isinstance(point, UUID)]
        texts = ["copied"] * len(ids)
        points = PointBatch(ids=ids, vectors=page.vectors, texts=texts, payloads=list(page.payloads))
        await parts.store.upsert(name, points)


async def test_asking_twice_is_one_removal(api: Api, folder: Path) -> None:
    """While it has not ended, the same operation is given."""
    await api.create("notes", folder)

    first = await remove_source(api, "notes", folder)
    second = await remove_source(api, "notes", folder)

    assert first["operation_id"] == second["operation_id"]


async def test_unknown_source_is_not_found(api: Api, folder: Path) -> None:
    """Nothing is queued."""
    await api.create("notes", folder)

    answer = await api.client.delete("/api/v1/collections/notes/sources/7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33")

    assert (answer.status_code, answer.json()["code"]) == (404, "source_unknown")


# --- collections --------------------------------------------------------------------------------


async def test_deleted_collection_leaves_nothing_but_its_history(
    api: Api, parts: Parts, folder: Path, worker: None
) -> None:
    """All is gone from both stores; the operations stay readable under its name, and its name is free."""
    created = await api.wait(await api.create("notes", folder))
    await add_source(api, "notes", folder / "guides")

    ended = await api.wait(await delete(api, "notes"))

    assert ended["state"] == "completed", ended
    assert ended["result"] == {"points": 3, "chunks": 3, "documents": 3, "generations": 1}
    assert await count_left(parts, created["collection_id"]) == {}
    listed = (await api.client.get("/api/v1/operations")).json()["operations"]
    assert [(operation["kind"], operation["collection"]) for operation in listed] == [
        ("DELETE", "notes"),
        ("APPEND", "notes"),
        ("INDEX", "notes"),
    ]
    assert {operation["collection_id"] for operation in listed} == {None}
    again = await api.wait(await api.create("notes", folder))
    assert (again["state"], again["result"]["documents_added"]) == ("completed", 3)


async def test_deleted_collection_is_out_of_sight_at_once(api: Api, folder: Path, parts: Parts) -> None:
    """Before any worker has begun: no list, no search, no new operation, and its name can be used again."""
    async with running_worker(parts):
        created = await api.wait(await api.create("notes", folder))

    operation = await delete(api, "notes")

    base = "/api/v1/collections/notes"
    body = {"kind": "VERIFY"}
    answers = [
        await api.client.get(base),
        await api.client.post(f"{base}/search", json={"query": "whales"}),
        await api.client.get(f"{base}/documents"),
        await api.client.get(f"{base}/sources"),
        await api.client.post(f"{base}/operations", json=body),
        await api.client.post(f"{base}/pause"),
        await api.client.delete(base),
        await api.client.post(f"/api/v1/collections/{created['collection_id']}/operations", json=body),
        await api.client.post(f"/api/v1/operations/{created['operation_id']}/retry"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers[:-1]] == [
        (404, "collection_not_found")
    ] * (len(answers) - 1)
    assert answers[-1].status_code == 404
    assert (await api.client.get("/api/v1/collections")).json()["collections"] == []
    assert (await api.create("notes", folder))["collection_id"] != operation["collection_id"]


async def test_waiting_operations_are_cancelled_and_the_running_one_stops(
    api: Api, parts: Parts, tmp_path: Path, worker: None
) -> None:
    """DELETE gets its turn because the others end, and not by taking anything from them."""
    root = tmp_path / "corpus"
    write_corpus(root, 3000, seed=3)
    running = await api.create("notes", root)
    await api.wait(running, states=["running"])
    await wait_until(lambda: _has_chunks(parts))
    waiting = await api.append("notes")

    operation = await delete(api, "notes")

    assert (await api.get(waiting))["state"] == "cancelled"
    assert (await api.wait(running))["state"] == "cancelled"
    ended = await api.wait(operation)
    assert ended["state"] == "completed", ended
    assert ended["result"]["chunks"] > 0
    assert await count_left(parts, running["collection_id"]) == {}


async def _has_chunks(parts: Parts) -> bool:
    async with parts.database.begin() as connection:
        return bool(await connection.scalar(text("SELECT EXISTS (SELECT 1 FROM chunks)")))


async def test_paused_collection_can_be_deleted(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """A pause holds up what fills a collection, not what takes it away."""
    created = await api.wait(await api.create("notes", folder))
    await api.client.post("/api/v1/collections/notes/pause")

    ended = await api.wait(await delete(api, "notes"))

    assert ended["state"] == "completed"
    assert await count_left(parts, created["collection_id"]) == {}


async def test_deletion_cannot_be_cancelled(api: Api, folder: Path) -> None:
    """What is gone for everybody does not come back by halves; asking says so."""
    await api.create("notes", folder)
    operation = await delete(api, "notes")

    answer = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "deletion_not_cancellable")
    assert (await api.get(operation))["state"] == "pending"


async def test_same_key_deletes_once(api: Api, folder: Path, worker: None) -> None:
    """A repeated request gives the operation of the first, also after a new collection has taken the name."""
    await api.wait(await api.create("notes", folder))
    first = await delete(api, "notes", **{"Idempotency-Key": "k"})
    await api.wait(first)
    await api.wait(await api.create("notes", folder))

    second = await delete(api, "notes", **{"Idempotency-Key": "k"})

    assert second["operation_id"] == first["operation_id"]
    assert (await api.client.get("/api/v1/collections/notes")).status_code == 200


async def test_operations_that_come_while_it_is_deleted_are_refused(api: Api, folder: Path) -> None:
    """Whoever is faster: no operation is left that waits for a collection that is gone."""
    await api.create("notes", folder)

    async with asyncio.TaskGroup() as group:
        body = {"kind": "VERIFY"}
        path = "/api/v1/collections/notes/operations"
        asked = [group.create_task(api.client.post(path, json=body)) for _ in range(20)]
        group.create_task(delete(api, "notes"))
        asked += [group.create_task(api.client.post(path, json=body)) for _ in range(20)]

    assert {task.result().status_code for task in asked} <= {202, 404}
    listed = (await api.client.get("/api/v1/operations", params={"limit": 100})).json()["operations"]
    assert [operation["kind"] for operation in listed if operation["state"] == "pending"] == ["DELETE"]

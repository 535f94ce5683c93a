"""VERIFY finds every way in which manifest and vector store can disagree, and mends it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from app.domain.points import PointBatch, StoredPoints
from app.pipeline.vector_check import CHECK, take_checks
from app.progress.reporter import replay
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until

NOTHING: dict[str, list[str]] = {"missing": [], "extra": [], "wrong": []}


@dataclass
class Sabotage:
    """An indexed collection of a dozen points, and the means to damage it."""

    api: Api
    parts: Parts
    generation: str
    dimension: int
    collection_id: UUID
    points: StoredPoints

    @property
    def ids(self) -> list[UUID]:
        """All points, in the order of their ids."""
        return [point for point in self.points.ids if isinstance(point, UUID)]

    async def sql(self, statement: str, **values: Any) -> None:
        """Change the manifest behind everybody's back."""
        async with self.parts.database.begin() as connection:
            await connection.execute(text(statement), values)

    async def call(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Change the store behind everybody's back."""
        settings = self.parts.settings
        assert settings.qdrant_url is not None
        key = settings.qdrant_api_key
        headers = {"api-key": key.get_secret_value() if key else ""}
        async with httpx.AsyncClient(base_url=settings.qdrant_url, headers=headers) as client:
            url = f"/collections/{self.generation}/{path}"
            (await client.request(method, url, params={"wait": "true"}, json=body)).raise_for_status()

    async def put(self, number: int, *, vector: Any = None, payload: dict[str, Any] | None = None) -> None:
        """Write one of the points again with another vector or payload."""
        batch = PointBatch(
            ids=[self.ids[number]],
            vectors=np.array([self.points.vectors[number] if vector is None else vector], dtype=np.float32),
            texts=["some text"],
            payloads=[self.points.payloads[number] if payload is None else payload],
        )
        await self.parts.store.upsert(self.generation, batch)

    async def verify(self, **config: Any) -> dict[str, Any]:
        """The result of a VERIFY that completed."""
        ended = await self.api.wait(await verify(self.api, "notes", **config))
        assert ended["state"] == "completed", ended["error_message"]
        result: dict[str, Any] = ended["result"]
        return result


async def verify(api: Api, name: str, **config: Any) -> dict[str, Any]:
    """Ask for a VERIFY; gives the operation."""
    body = {"kind": "VERIFY", "config": config}
    response = await api.client.post(f"/api/v1/collections/{name}/operations", json=body)
    assert response.status_code == 202, response.text
    operation: dict[str, Any] = response.json()
    return operation


@pytest.fixture
async def notes(api: Api, parts: Parts, worker: None, tmp_path: Path) -> Sabotage:
    """Documents of one chunk each, and one whose chunks repeat."""
    root = tmp_path / "notes"
    (root / "deep" / "sea").mkdir(parents=True)
    for number, subject in enumerate(("whales", "rockets", "bread", "glaciers", "bees", "violins", "volcanoes")):
        (root / "deep" / "sea" / f"{number}.md").write_text(f"# About {subject}\n\nAll that is known of {subject}.\n")
    (root / "again.txt").write_text("The same line again and again, eight words long.\n\n" * 12)
    ended = await api.wait(await api.create("notes", root, chunk_size=20, chunk_overlap=0))
    assert ended["state"] == "completed"
    async with parts.database.begin() as connection:
        row = (await connection.execute(text("SELECT name, dimension, collection_id FROM generations"))).one()
    pages = [page async for page in parts.store.stream_points(row.name, dimension=row.dimension, page=1000)]
    return Sabotage(api, parts, row.name, row.dimension, row.collection_id, pages[0])


def lists(result: dict[str, Any]) -> dict[str, list[str]]:
    """What a result lists, in order."""
    return {name: sorted(result[name]) for name in ("missing", "extra", "wrong")}


async def test_a_healthy_collection_is_ok(notes: Sabotage) -> None:
    """Everything was compared, every text was embedded again, and nothing was found."""
    result = await notes.verify()

    assert result["ok"] is True
    assert lists(result) == NOTHING
    assert result["compared"] == result["reembedded"] == len(notes.ids) > 12
    assert result["documents"] == 8
    assert result["in_flux"] == 0
    assert result["seconds"] > 0


async def delete_points(notes: Sabotage) -> dict[str, list[str]]:
    """Points are lost."""
    await notes.parts.store.delete_points(notes.generation, notes.ids[2:5])
    return {**NOTHING, "missing": [str(point) for point in notes.ids[2:5]]}


async def add_points(notes: Sabotage) -> dict[str, list[str]]:
    """Points come from somewhere: of nobody, of a document that has no such chunk, and with a number for an id."""
    strangers = [uuid4(), uuid4()]
    payloads = [{}, notes.points.payloads[0]]
    vectors = notes.points.vectors[:2]
    batch = PointBatch(ids=strangers, vectors=vectors, texts=["a", "b"], payloads=payloads)
    await notes.parts.store.upsert(notes.generation, batch)
    await notes.call("PUT", "points", {"points": [{"id": 7, "vector": {}}]})
    return {**NOTHING, "extra": sorted([*map(str, strangers), "7"])}


async def overwrite_payloads(notes: Sabotage) -> dict[str, list[str]]:
    """Payloads say something else: another document, other folders, nothing at all."""
    payload = notes.points.payloads[0]
    await notes.put(0, payload={**payload, "document_id": str(uuid4())})
    await notes.put(1, payload={**notes.points.payloads[1], "folders": ["elsewhere"]})
    await notes.put(2, payload={})
    return {**NOTHING, "wrong": [str(point) for point in notes.ids[:3]]}


async def zero_vectors(notes: Sabotage) -> dict[str, list[str]]:
    """A vector is all zeros, and another one is not there."""
    await notes.put(3, vector=np.zeros(notes.dimension))
    point = {"id": str(notes.ids[4]), "vector": {}, "payload": notes.points.payloads[4]}
    await notes.call("PUT", "points", {"points": [point]})
    return {**NOTHING, "wrong": [str(point) for point in notes.ids[3:5]]}


def two_texts(notes: Sabotage) -> tuple[int, int]:
    """Two points with unlike vectors."""
    similar = notes.points.vectors @ notes.points.vectors[0]
    return 0, int(similar.argmin())


async def swap_vectors(notes: Sabotage) -> dict[str, list[str]]:
    """Two points have each other's vector."""
    one, other = two_texts(notes)
    await notes.put(one, vector=notes.points.vectors[other])
    await notes.put(other, vector=notes.points.vectors[one])
    return {**NOTHING, "wrong": sorted(str(notes.ids[number]) for number in (one, other))}


async def swap_vectors_of_old_points(notes: Sabotage) -> dict[str, list[str]]:
    """Two points of an older version, without a check in their payload, have each other's vector."""
    one, other = two_texts(notes)
    for here, there in ((one, other), (other, one)):
        old = {key: value for key, value in notes.points.payloads[here].items() if key != CHECK}
        await notes.put(here, vector=notes.points.vectors[there], payload=old)
    return {**NOTHING, "wrong": sorted(str(notes.ids[number]) for number in (one, other))}


async def drop_the_physical_collection(notes: Sabotage) -> dict[str, list[str]]:
    """The vector store was emptied."""
    await notes.parts.store.drop_collection(notes.generation)
    return {**NOTHING, "missing": [str(point) for point in notes.ids]}


async def keep_points_of_a_removed_document(notes: Sabotage) -> dict[str, list[str]]:
    """A document is removed, rows and all, and its points are still there."""
    document = notes.points.payloads[0]["document_id"]
    await notes.sql("UPDATE documents SET state = 'removed', chunk_count = 0 WHERE id = :id", id=UUID(document))
    await notes.sql("DELETE FROM chunks WHERE document_id = :id", id=UUID(document))
    owned = zip(notes.ids, notes.points.payloads, strict=True)
    return {**NOTHING, "extra": [str(point) for point, payload in owned if payload["document_id"] == document]}


DAMAGES: list[Callable[[Sabotage], Awaitable[dict[str, list[str]]]]] = [
    delete_points,
    add_points,
    overwrite_payloads,
    zero_vectors,
    swap_vectors,
    swap_vectors_of_old_points,
    drop_the_physical_collection,
    keep_points_of_a_removed_document,
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_to_the_store_is_found_and_repaired(
    notes: Sabotage, damage: Callable[[Sabotage], Awaitable[dict[str, list[str]]]]
) -> None:
    """Each damage is in the right list, and only there; after a repair both sides agree again."""
    expected = await damage(notes)

    found = await notes.verify()
    repaired = await notes.verify(repair=True)
    after = await notes.verify()

    count = sum(map(len, expected.values()))
    assert found["ok"] is False
    assert lists(found) == lists(repaired) == expected
    assert found["missing_count"] + found["extra_count"] + found["wrong_count"] == count
    assert repaired["ok"] is True
    assert repaired["repaired"] == count
    assert after["ok"] is True
    assert lists(after) == NOTHING
    await notes.api.assert_consistent("notes")


async def test_a_repaired_point_is_the_one_that_was_there(notes: Sabotage) -> None:
    """What is embedded again from the stored text has the vector, the payload and the words of before."""
    await notes.parts.store.delete_points(notes.generation, notes.ids)

    await notes.verify(repair=True)
    found = await notes.parts.store.retrieve_points(notes.generation, notes.ids, dimension=notes.dimension)
    hits = await notes.api.search("notes", "violins", mode="bm25")

    again = dict(zip(found.ids, zip(found.vectors, found.payloads, strict=True), strict=True))
    assert len(again) == len(notes.ids)
    for point, vector, payload in zip(notes.ids, notes.points.vectors, notes.points.payloads, strict=True):
        assert np.allclose(again[point][0], vector, atol=1e-5)
        assert {**again[point][1], CHECK: None} == {**payload, CHECK: None}
    assert "violins" in hits[0]["text"]


@pytest.mark.parametrize("with_point", [True, False])
async def test_a_damaged_text_is_read_again(notes: Sabotage, *, with_point: bool) -> None:
    """A chunk whose text is not its id's is wrong; a repair never embeds it, and the next APPEND brings the text."""
    victim = notes.ids[0]
    await notes.sql("UPDATE chunks SET text = 'somebody was here' WHERE id = :id", id=victim)
    if not with_point:
        await notes.parts.store.delete_points(notes.generation, [victim])

    found = await notes.verify()
    repaired = await notes.verify(repair=True)
    meanwhile = await notes.verify()
    appended = await notes.api.wait(await notes.api.append("notes"))
    after = await notes.verify()

    assert lists(found) == {**NOTHING, ("wrong" if with_point else "missing"): [str(victim)]}
    assert repaired["ok"] is True
    assert repaired["documents_to_read"] == 1
    assert meanwhile["ok"] is True
    assert appended["result"]["documents_changed"] + appended["result"]["unchanged"] == 8
    assert after["ok"] is True
    assert after["compared"] == len(notes.ids)
    assert not await notes.api.search("notes", "somebody was here", mode="bm25")
    assert await notes.api.assert_consistent("notes") == len(notes.ids)


async def test_a_document_without_all_its_chunks_is_read_again(notes: Sabotage) -> None:
    """Rows that are gone with their points are seen by the document's own count."""
    victims = notes.ids[:2]
    await notes.sql("DELETE FROM chunks WHERE id = ANY(:ids)", ids=victims)
    await notes.parts.store.delete_points(notes.generation, victims)

    found = await notes.verify()
    repaired = await notes.verify(repair=True)
    await notes.api.wait(await notes.api.append("notes"))
    after = await notes.verify()

    owners = {payload["document_id"] for payload in notes.points.payloads[:2]}
    assert found["ok"] is False
    assert lists(found) == NOTHING
    assert {item["document_id"] for item in found["wrong_documents"]} == owners
    assert repaired["ok"] is True
    assert repaired["documents_to_read"] == len(owners)
    assert after["ok"] is True
    assert after["compared"] == len(notes.ids)


async def test_a_wrong_count_is_corrected_without_embedding(notes: Sabotage) -> None:
    """A document that only miscounts its chunks is read again and keeps its points."""
    await notes.sql("UPDATE documents SET chunk_count = chunk_count + 1 WHERE path = 'again.txt'")

    found = await notes.verify()
    repaired = await notes.verify(repair=True)
    appended = await notes.api.wait(await notes.api.append("notes"))
    after = await notes.verify()

    assert found["ok"] is False
    assert found["wrong_documents_count"] == 1
    assert repaired["documents_to_read"] == 1
    assert appended["result"]["tokens"] == 0
    assert after["ok"] is True


async def test_points_without_a_check_are_not_wrong(notes: Sabotage) -> None:
    """Points of an older version, whose payload has no check, are compared by their vectors alone."""
    for number, payload in enumerate(notes.points.payloads):
        await notes.put(number, payload={key: value for key, value in payload.items() if key != CHECK})

    result = await notes.verify()

    assert result["ok"] is True
    assert result["reembedded"] == len(notes.ids)


async def test_what_is_being_written_is_left_out(notes: Sabotage) -> None:
    """While an operation has begun to write, points of documents in its hands are in flux, not wrong."""
    await notes.sql("UPDATE operations SET state = 'pending', paused_at = now()")
    documents = [UUID(payload["document_id"]) for payload in notes.points.payloads]
    await notes.sql("UPDATE documents SET state = 'processing' WHERE id = :id", id=documents[0])
    await notes.sql("UPDATE documents SET points_dirty = true WHERE id = :id", id=documents[1])
    await notes.parts.store.delete_points(notes.generation, notes.ids[:1])
    stray = {**notes.points.payloads[1]}
    batch = PointBatch(ids=[uuid4()], vectors=notes.points.vectors[:1], texts=["x"], payloads=[stray])
    await notes.parts.store.upsert(notes.generation, batch)

    result = await notes.verify()

    assert result["ok"] is True
    assert lists(result) == NOTHING
    assert result["in_flux"] == 2


async def test_leftovers_of_nobody_are_too_many(notes: Sabotage) -> None:
    """When nobody writes and nothing is pending, a point without a row is extra, also of a document marked as dirty."""
    document = UUID(notes.points.payloads[0]["document_id"])
    await notes.sql("UPDATE documents SET points_dirty = true WHERE id = :id", id=document)
    stray = uuid4()
    batch = PointBatch(
        ids=[stray], vectors=notes.points.vectors[:1], texts=["x"], payloads=[dict(notes.points.payloads[0])]
    )
    await notes.parts.store.upsert(notes.generation, batch)

    found = await notes.verify()

    assert (found["ok"], found["in_flux"]) == (False, 0)
    assert lists(found) == {**NOTHING, "extra": [str(stray)]}


async def test_a_repair_also_clears_what_a_dead_attempt_left(notes: Sabotage) -> None:
    """While nobody writes, points without rows are too many, whatever state their document is in."""
    document = UUID(notes.points.payloads[0]["document_id"])
    await notes.sql("UPDATE documents SET state = 'processing' WHERE id = :id", id=document)
    stray = uuid4()
    batch = PointBatch(
        ids=[stray], vectors=notes.points.vectors[:1], texts=["x"], payloads=[dict(notes.points.payloads[0])]
    )
    await notes.parts.store.upsert(notes.generation, batch)

    found = await notes.verify()
    repaired = await notes.verify(repair=True)
    await notes.api.wait(await notes.api.append("notes"))

    assert (found["ok"], found["in_flux"]) == (True, 1)
    assert lists(repaired) == {**NOTHING, "extra": [str(stray)]}
    assert await notes.api.assert_consistent("notes") == len(notes.ids)


async def test_every_text_is_embedded_again_if_asked(notes: Sabotage) -> None:
    """A deep verification finds a vector of another text though its check was taken of it."""
    one, other = two_texts(notes)
    (check,) = take_checks([notes.ids[one]], notes.points.vectors[other : other + 1])
    await notes.put(one, vector=notes.points.vectors[other], payload={**notes.points.payloads[one], CHECK: check})

    result = await notes.verify(deep=True)

    assert lists(result) == {**NOTHING, "wrong": [str(notes.ids[one])]}
    assert result["reembedded"] == len(notes.ids)


async def test_a_collection_that_was_never_indexed_is_ok(api: Api, parts: Parts, folder: Path) -> None:
    """Without a generation there is nothing to compare, and nothing wrong."""
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    async with running_worker(parts):
        ended = await api.wait(await verify(api, "notes"))

    assert ended["state"] == "completed"
    assert ended["result"]["ok"] is True
    assert ended["result"]["compared"] == 0


async def test_a_collection_that_is_written_to_is_ok(api: Api, parts: Parts, worker: None, tmp_path: Path) -> None:
    """Verifications beside an APPEND that adds, changes and removes documents never give a false alarm."""
    root = tmp_path / "corpus"
    corpus = write_corpus(root, 300)
    await api.wait(await api.create("corpus", root))
    for number, path in enumerate(corpus.paths[:200]):
        if number % 3 == 0:
            (root / path).unlink()
        else:
            (root / path).write_text(f"Document {number} is new now. " * 400)
    appending = await api.append("corpus")
    results = []
    while (await api.get(appending))["state"] in ("pending", "running"):
        results.append((await api.wait(await verify(api, "corpus")))["result"])
    results.append((await api.wait(await verify(api, "corpus")))["result"])

    assert (await api.get(appending))["state"] == "completed"
    assert len(results) > 1
    assert [(lists(result), result["wrong_documents"]) for result in results] == [(NOTHING, [])] * len(results)
    assert results[-1]["in_flux"] == 0
    assert results[-1]["compared"] == await api.assert_consistent("corpus")


async def test_only_a_repair_waits_for_its_turn(api: Api, parts: Parts, folder: Path) -> None:
    """Behind a pending writer a verification is dispatched, and one with repair says for whom it waits."""
    first = await api.create("notes", folder)

    looking = await verify(api, "notes")
    repairing = await verify(api, "notes", repair=True)

    assert "no worker" in (await api.get(looking))["why_waiting"]
    assert first["operation_id"] in (await api.get(repairing))["why_waiting"]


async def test_a_verification_can_be_watched_and_cancelled(
    api: Api, parts: Parts, worker: None, tmp_path: Path
) -> None:
    """It tells how far it is; cancelled, it ends as that."""
    root = tmp_path / "corpus"
    write_corpus(root, 300)
    await api.wait(await api.create("corpus", root))
    whole = await verify(api, "corpus")
    await api.wait(whole)
    operation = await verify(api, "corpus", deep=True)
    await api.wait(operation, states=("running", "completed"))

    answer = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    ended = await api.wait(operation)

    async def told() -> list[str] | None:
        namespace = parts.settings.redis_namespace
        events = await replay(parts.redis, UUID(whole["operation_id"]), None, namespace=namespace)
        types = [event.type for event in events]
        return types if "operation_completed" in types else None

    types = await wait_until(told)
    assert {"verify_progress", "verify_completed"} <= set(types)
    assert answer.status_code == 202
    assert ended["state"] == "cancelled"


async def test_points_of_others_do_not_break_search(notes: Sabotage) -> None:
    """Points that somebody else has put into the collection are passed over, whatever they are."""
    vector = [float(value) for value in notes.points.vectors[0]]
    points = [{"id": 7, "vector": {"dense": vector}}, {"id": str(uuid4()), "vector": {"dense": vector}}]
    await notes.call("PUT", "points", {"points": points})

    found = {mode: await notes.api.search("notes", "whales", mode=mode) for mode in ("dense", "bm25", "hybrid")}

    assert all("whales" in hits[0]["text"] for hits in found.values())


@pytest.mark.parametrize("damage", ["another vector", "no vector"])
async def test_a_damaged_vector_does_not_spread_to_copies(notes: Sabotage, tmp_path: Path, damage: str) -> None:
    """A copy of its document gets the vector of its text; only the damaged point is wrong."""
    root = tmp_path / "notes" / "deep" / "sea"
    victim = next(
        number for number, payload in enumerate(notes.points.payloads) if "deep/sea" in (payload.get("folders") or [])
    )
    if damage == "another vector":
        await notes.put(victim, vector=np.roll(notes.points.vectors[victim], 1))
    else:
        bare = {"id": str(notes.ids[victim]), "vector": {}, "payload": notes.points.payloads[victim]}
        await notes.call("PUT", "points", {"points": [bare]})
    for number in range(7):
        (root / f"copy-{number}.md").write_text((root / f"{number}.md").read_text())

    appended = await notes.api.wait(await notes.api.append("notes"))
    found = await notes.verify()

    assert (appended["state"], appended["result"]["documents_added"]) == ("completed", 7)
    assert appended["result"]["tokens"] > 0
    assert found["wrong"] == [str(notes.ids[victim])]


@pytest.mark.parametrize("deep", [True, False])
async def test_another_model_than_before_is_not_ok(notes: Sabotage, *, deep: bool) -> None:
    """Where it was asked for embedding every text again, the operation fails; a sample says why it is not ok."""
    async with notes.parts.database.begin() as connection:
        canaries = (await connection.execute(text("SELECT canaries FROM generations"))).scalar_one()
    others = -np.frombuffer(canaries, dtype="<f4")
    await notes.sql("UPDATE generations SET canaries = :others", others=others.tobytes())

    ended = await notes.api.wait(await verify(notes.api, "notes", deep=deep))

    if deep:
        assert (ended["state"], ended["error_code"]) == ("failed", "embedder_changed")
    else:
        assert ended["state"] == "completed"
        assert (ended["result"]["ok"], ended["result"]["sample_error"]) == (False, "embedder_changed")

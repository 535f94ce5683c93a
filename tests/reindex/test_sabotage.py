"""A rebuild that is broken in any way is refused by the check that is there for it, and by no others by accident."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import numpy as np
import orjson
import pytest
import qdrant_edge as edge

from app.db.validation import TextDocument
from app.domain.collections import Generation
from app.domain.documents import Chunking
from app.domain.identity import chunk_ids
from app.domain.points import PointBatch
from app.embedders.http import HttpEmbedder
from app.evaluation.report import Report
from app.pipeline.validation.recut import join_pieces
from app.pipeline.validation.sides import Sizes
from app.stores.qdrant import QdrantStore
from tests.contract.vector_server import KEY, VectorServer
from tests.reindex.generations import (
    DOCUMENTS,
    Build,
    ProjectedServer,
    Shelf,
    by_document,
    first_numbers,
    percent,
    pick,
    turned,
)

SIZES = Sizes(texts=200, words=40, neighbours=20, filters=10, recut=20, documents=25)
SEARCHES = frozenset({"search_overlap", "search_quality"})
"""What may be worse when points are wrong."""


def assert_caught(report: Report, by: str, *, besides: frozenset[str] = frozenset()) -> None:
    """The report refuses, because of one check; only those named besides may have failed with it."""
    assert not report.passed
    failed = set(report.failed)
    assert by in failed, {check.name: check.summary for check in report.checks}
    assert failed <= {by} | besides, {name: report.check(name).summary for name in failed}


async def refuse(shelf: Shelf, spoil: Callable[[Build], None]) -> Report:
    """The report about a generation whose build was spoiled before it was written."""
    build = await shelf.build()
    spoil(build)
    return await shelf.validate(await shelf.write(build, await shelf.begin()), sizes=SIZES)


async def test_an_honest_copy_passes_every_check(shelf: Shelf) -> None:
    """What the others are measured against: nothing fails, and every check was made."""
    report = await shelf.validate(await shelf.rebuild(), sizes=SIZES)

    assert report.passed
    assert report.failed == []
    assert all(check.is_made for check in report.checks)


async def test_missing_points(shelf: Shelf) -> None:
    """One point in a hundred is not in the store."""
    lost: list[UUID] = []

    def spoil(build: Build) -> None:
        lost.extend(chunk.id for chunk in build.chunks[: percent(len(build.chunks))])
        build.without = set(lost)

    report = await refuse(shelf, spoil)

    assert_caught(report, "completeness", besides=SEARCHES)
    assert report.check("completeness").detail["missing"]["count"] == len(lost) > 1
    assert report.check("completeness").detail["missing"]["first"] == [str(point) for point in sorted(lost)]


async def test_duplicates(shelf: Shelf) -> None:
    """Points of the same texts are there once more, under other ids."""

    def spoil(build: Build) -> None:
        some = pick(build.batch(), range(20))
        build.extra = [replace(some, ids=[uuid4() for _ in some.ids])]

    report = await refuse(shelf, spoil)

    assert_caught(report, "completeness", besides=SEARCHES)
    assert report.check("completeness").value == 20


async def test_duplicates_that_the_manifest_knows(shelf: Shelf) -> None:
    """Rows and points are there once more, with the ids that a repeated text would have."""

    def spoil(build: Build) -> None:
        again = [
            replace(chunk, id=chunk_ids(chunk.document_id, [chunk.embedded] * 2)[1], ordinal=1000 + number)
            for number, chunk in enumerate(build.chunks[:20])
        ]
        build.chunks += again
        build.vectors = np.concatenate([build.vectors, build.vectors[:20]])
        build.payloads += build.payloads[:20]

    report = await refuse(shelf, spoil)

    assert_caught(report, "texts", besides=SEARCHES)
    assert report.check("texts").value == 20


async def test_vectors_of_another_model(shelf: Shelf) -> None:
    """The model that embedded has the right size and is not the one that the generation says."""

    def spoil(build: Build) -> None:
        build.vectors = turned(7)(build.vectors)

    report = await refuse(shelf, spoil)

    assert_caught(report, "vectors", besides=SEARCHES)
    assert report.check("vectors").value == 200


async def test_zero_vectors(shelf: Shelf) -> None:
    """One vector in a hundred is nothing but zeros."""

    def spoil(build: Build) -> None:
        build.vectors[: percent(len(build.chunks))] = 0

    report = await refuse(shelf, spoil)

    assert_caught(report, "uniformity", besides=SEARCHES)
    assert report.check("uniformity").value == report.check("uniformity").detail["zero"]["count"] > 1


async def test_shuffled_vectors(shelf: Shelf) -> None:
    """A batch was put together in another order than its texts, checks of vectors and all."""

    def spoil(build: Build) -> None:
        build.vectors = build.vectors[np.random.default_rng(0).permutation(len(build.vectors))]

    assert_caught(await refuse(shelf, spoil), "vectors", besides=SEARCHES)


async def test_vectors_that_changed_places_in_the_store(shelf: Shelf) -> None:
    """Two points have each other's vectors: of so many points only a look at each of them shows it."""

    def spoil(build: Build) -> None:
        points = build.batch()
        pair = pick(points, [3, len(points) // 2])
        build.extra = [replace(pair, vectors=pair.vectors[::-1].copy())]

    report = await refuse(shelf, spoil)

    assert_caught(report, "vectors", besides=SEARCHES)
    assert report.check("vectors").detail["unbound"]["count"] == 2


async def test_truncated_text(shelf: Shelf) -> None:
    """One document in ten ends in its middle; ids, vectors and points are right for what is left of it."""

    def read(document: TextDocument) -> str:
        text = join_pieces(document)
        return text[: len(text) // 2] if document.id.int % 10 == 0 else text

    build = await shelf.build(read=read)
    report = await shelf.validate(await shelf.write(build, await shelf.begin()), sizes=SIZES)

    # half a document has other chunks, and by chance more of those are looked at than may be others
    assert_caught(report, "documents", besides=SEARCHES | {"chunking"})
    smallest = report.check("documents").value
    assert smallest is not None
    assert 0.3 < smallest < 0.7


async def test_a_lost_document(shelf: Shelf) -> None:
    """One document is not there at all."""

    def spoil(build: Build) -> None:
        gone = by_document(build.chunks)[5]
        keep = [number for number in range(len(build.chunks)) if number not in gone]
        build.chunks = [build.chunks[number] for number in keep]
        build.vectors = build.vectors[keep]
        build.payloads = [build.payloads[number] for number in keep]

    report = await refuse(shelf, spoil)

    assert_caught(report, "documents", besides=SEARCHES)
    assert report.check("documents").detail["lost"]["count"] == 1


async def test_texts_that_are_not_those_of_their_ids(shelf: Shelf) -> None:
    """Some rows have another text than their chunk, and so another one than their vector."""

    def spoil(build: Build) -> None:
        build.chunks[:5] = [replace(chunk, text=f"{chunk.text[:-1]}#") for chunk in build.chunks[:5]]

    report = await refuse(shelf, spoil)

    assert_caught(report, "texts", besides=frozenset({"vectors"}))
    assert report.check("texts").detail["wrong"]["count"] == 5


@pytest.mark.parametrize("asked", [Chunking(size=200, overlap=20), Chunking(size=100, overlap=0)])
async def test_the_old_chunking(shelf: Shelf, asked: Chunking) -> None:
    """The chunks are those of before, though others were asked for."""
    build = await shelf.build()
    report = await shelf.validate(await shelf.write(build, await shelf.begin(chunking=asked)), sizes=SIZES)

    assert_caught(report, "chunking")


async def test_chunks_that_are_too_large(shelf: Shelf) -> None:
    """The old chunks are larger than what was asked for, each of them."""
    build = await shelf.build()
    generation = await shelf.begin(chunking=Chunking(size=50, overlap=5))
    report = await shelf.validate(await shelf.write(build, generation), sizes=SIZES)

    assert_caught(report, "chunking")
    assert report.check("chunking").detail["too_large"]["count"] > 100


async def test_two_chunkings_in_one_generation(shelf: Shelf) -> None:
    """Half of the documents are cut as was asked for, the others as before."""
    asked = Chunking(size=200, overlap=20)
    old, new = await shelf.build(), await shelf.build(chunking=asked)
    mixed = _every_second(old, first=True), _every_second(new, first=False)
    build = Build(
        chunks=[chunk for half in mixed for chunk in half.chunks],
        vectors=np.concatenate([half.vectors for half in mixed]),
        payloads=[payload for half in mixed for payload in half.payloads],
    )
    report = await shelf.validate(await shelf.write(build, await shelf.begin(chunking=asked)), sizes=SIZES)

    assert_caught(report, "chunking")


def _every_second(build: Build, *, first: bool) -> Build:
    groups = by_document(build.chunks)[0 if first else 1 :: 2]
    keep = [number for group in groups for number in group]
    return Build(
        chunks=[build.chunks[number] for number in keep],
        vectors=build.vectors[keep],
        payloads=[build.payloads[number] for number in keep],
    )


async def test_points_that_filters_do_not_find(shelf: Shelf) -> None:
    """Some points do not say any more of which document they are."""

    def spoil(build: Build) -> None:
        for payload in build.payloads[:20]:
            del payload["document_id"]

    report = await refuse(shelf, spoil)

    assert_caught(report, "payloads", besides=SEARCHES | {"sparse"})
    assert report.check("payloads").value == 20


async def test_no_index_of_words(shelf: Shelf) -> None:
    """The physical collection was made without its sparse vectors."""
    build, generation = await shelf.build(), await shelf.begin()
    await shelf.write(build, generation, points=False)
    await put_dense_only(shelf, generation, build.batch())
    report = await shelf.validate(generation, sizes=SIZES)

    assert_caught(report, "sparse", besides=SEARCHES | {"latency"})
    assert report.check("search_quality").detail["error_code"] == "vector_store_rejected"


async def put_dense_only(shelf: Shelf, generation: Generation, points: PointBatch) -> None:
    """Make a collection without sparse vectors, and write points into it."""
    endpoints = shelf.parts.endpoints
    headers = {"api-key": endpoints.qdrant_api_key or "", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=endpoints.qdrant_url, headers=headers) as client:
        path = f"/collections/{generation.name}"
        vectors = {"dense": {"size": generation.dimension, "distance": "Cosine"}}
        (await client.put(path, json={"vectors": vectors})).raise_for_status()
        for field in ("document_id", "source_id", "file_type", "folders"):
            body = {"field_name": field, "field_schema": "keyword"}
            (await client.put(f"{path}/index", json=body)).raise_for_status()
        rows = [
            {"id": str(point), "vector": {"dense": vector}, "payload": payload}
            for point, vector, payload in zip(points.ids, points.vectors, points.payloads, strict=True)
        ]
        content = orjson.dumps({"points": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
        (await client.put(f"{path}/points?wait=true", content=content)).raise_for_status()


async def test_words_of_other_texts(shelf: Shelf) -> None:
    """Points are found by the words of other texts."""

    def spoil(build: Build) -> None:
        texts = [chunk.embedded for chunk in build.chunks]
        build.words = [*texts[50:], *texts[:50]]

    assert_caught(await refuse(shelf, spoil), "sparse", besides=SEARCHES)


@asynccontextmanager
async def badly_indexed(shelf: Shelf, generation: Generation, folder: Path) -> AsyncIterator[QdrantStore]:
    """A vector server with both generations, of which one has a real but useless approximate index.

    Its graph has two links a point, and was built by looking at four neighbours.
    """
    server = VectorServer(folder)
    server.start()
    try:
        store = QdrantStore(server.url, api_key=KEY)
        points = (await shelf.build()).batch()
        for each in (shelf.generation, generation):
            await store.create_collection(each.name, dimension=each.dimension)
            await store.upsert(each.name, points)
        await store.aclose()
        server.stop()
        build_useless_index(server.data / "collections" / generation.name / "shard")
        server.start()
        store = QdrantStore(server.url, api_key=KEY)
        yield store
        await store.aclose()
    finally:
        server.kill()


def build_useless_index(shard: Path) -> None:
    """Have the engine build it from settings that nobody would choose."""
    path = shard / "edge_config.json"
    hnsw = {"m": 2, "ef_construct": 4, "full_scan_threshold": 1, "max_indexing_threads": 1}
    config = {**json.loads(path.read_text()), "hnsw_config": hnsw}
    config["optimizers"] = {**(config.get("optimizers") or {}), "indexing_threshold": 1, "default_segment_number": 1}
    path.write_text(json.dumps(config))
    engine = edge.EdgeShard.load(str(shard))
    assert engine.optimize()
    engine.flush()
    engine.close()


async def test_an_index_that_finds_the_wrong_neighbours(shelf: Shelf, tmp_path: Path) -> None:
    """All points are there and right, and the approximate index does not lead to them."""
    generation = await shelf.begin()
    await shelf.write(await shelf.build(), generation, points=False)
    async with badly_indexed(shelf, generation, tmp_path) as store:
        report = await shelf.validate(generation, store=store, sizes=SIZES)

    assert_caught(report, "index_health", besides=SEARCHES)
    recall = report.check("index_health").value
    assert recall is not None
    assert recall < 0.9


async def test_a_worse_model(shelf: Shelf) -> None:
    """A quarter of the numbers of the old one: everything is in order, and searches find less."""
    with ProjectedServer("small", first_numbers(32), dimension=32).running() as server:
        embedder = HttpEmbedder(server.url, model=server.model)
        generation = await shelf.rebuild(embedder=embedder)
        report = await shelf.validate(generation, embedder=embedder, sizes=replace(SIZES, documents=50))
        await embedder.aclose()

    assert_caught(report, "search_quality")


async def test_a_model_that_changed_during_the_build(shelf: Shelf) -> None:
    """The server has another model under the same name now, so that searches would compare what cannot be compared."""
    server = ProjectedServer("moving", turned(1), dimension=256)
    with server.running():
        embedder = HttpEmbedder(server.url, model=server.model)
        generation = await shelf.rebuild(embedder=embedder)
        server.project = turned(2)
        report = await shelf.validate(generation, embedder=embedder, sizes=SIZES)
        await embedder.aclose()

    assert_caught(report, "uniformity", besides=SEARCHES | {"vectors"})


async def test_a_generation_that_is_not_there(shelf: Shelf) -> None:
    """Postgres has all rows and the store has no such collection: every check that looks there fails."""
    generation = await shelf.begin()
    await shelf.write(await shelf.build(), generation, points=False)
    report = await shelf.validate(generation, sizes=SIZES)

    assert not report.passed
    assert report.check("completeness").detail["error_code"] == "generation_missing"
    assert report.check("documents").passed


async def test_a_generation_that_holds_nothing(shelf: Shelf) -> None:
    """Postgres and the store agree that there is nothing, and nothing is what was made of a whole collection."""
    generation = await shelf.begin()
    await shelf.parts.store.create_collection(generation.name, dimension=generation.dimension)
    report = await shelf.validate(generation, sizes=SIZES)

    assert not report.passed
    assert {"vector_count", "documents", "vectors", "search_quality"} <= set(report.failed)
    assert report.check("documents").detail["lost"]["count"] == DOCUMENTS
    assert not report.check("index_health").passed


async def test_all_points_lost(shelf: Shelf) -> None:
    """The manifest is whole and the store is empty: nothing that looks at points passes for want of them."""
    build, generation = await shelf.build(), await shelf.begin()
    build.without = {chunk.id for chunk in build.chunks}
    report = await shelf.validate(await shelf.write(build, generation), sizes=SIZES)

    assert {"completeness", "vectors", "index_health", "search_quality"} <= set(report.failed)
    assert report.check("documents").passed


async def test_all_vectors_are_zeros(shelf: Shelf) -> None:
    """None is left to be embedded again, which is no reason to pass."""

    def spoil(build: Build) -> None:
        build.vectors[:] = 0

    report = await refuse(shelf, spoil)

    assert {"uniformity", "vectors"} <= set(report.failed)
    assert report.check("completeness").passed

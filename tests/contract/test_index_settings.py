"""How a vector store indexes: settings at creation and in place, and what searches find then."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from app.domain.errors import GenerationMissingError, VectorStoreRejectedError
from app.domain.index_settings import IndexSettings, Quantization
from app.domain.points import PointBatch, PointQuery, SearchMode, Vectors
from app.stores.qdrant import QdrantStore
from tests.contract.conftest import Address
from tests.contract.vector_server import DEADLINE_SECONDS, DIMENSION, KEY, VectorServer, make_points

WIDE = 1024
POINTS = 3000
"""As many as any store indexes: more than 10 MB of vectors."""
QUESTIONS = 40
NEIGHBOURS = 10
ALL = IndexSettings(
    hnsw_m=8,
    ef_construct=64,
    quantization=Quantization.SCALAR,
    hnsw_on_disk=True,
    vectors_on_disk=True,
    payload_on_disk=False,
)


@pytest.fixture
async def wide(store: QdrantStore) -> AsyncIterator[str]:
    """The name of a collection that goes after the test."""
    name = f"contract-{uuid4().hex}"
    yield name
    await store.drop_collection(name)


def make_clusters(seed: int, count: int = POINTS) -> Vectors:
    """Vectors as texts have them: many near each other, none the same."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(60, WIDE))
    vectors = centres[random.integers(0, len(centres), count)] + random.normal(size=(count, WIDE))
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def make_batch(vectors: Vectors) -> PointBatch:
    """Points with these vectors."""
    return replace(make_points(["whales sing"] * len(vectors)), vectors=vectors)


async def wait_until_optimised(store: QdrantStore, name: str) -> None:
    """Poll until the store says so; fails after a deadline."""
    deadline = time.monotonic() + 4 * DEADLINE_SECONDS
    while not await store.is_optimised(name):
        assert time.monotonic() < deadline, "the store is never done"
        await asyncio.sleep(0.1)


async def count_indexed(store: QdrantStore, raw: httpx.AsyncClient, name: str) -> int:
    """How many vectors the store says it has indexed."""
    assert await store.find_collection(name)
    return int((await raw.get(f"/collections/{name}")).json()["result"]["indexed_vectors_count"])


async def measure_recall(store: QdrantStore, name: str, points: PointBatch, index: IndexSettings) -> float:
    """Which part of the nearest points is found, as computed from all vectors."""
    found = 0
    for question in make_clusters(1, QUESTIONS):
        best = np.argsort(points.vectors @ question)[-NEIGHBOURS:]
        query = PointQuery(
            mode=SearchMode.DENSE,
            vector=question,
            limit=NEIGHBOURS,
            hnsw_ef=index.ef_search,
            oversampling=index.oversampling,
        )
        answer = {point.id for point in await store.search(name, query)}
        found += len(answer & {points.ids[row] for row in best})
    return found / (QUESTIONS * NEIGHBOURS)


# --- what it says -------------------------------------------------------------------------------


async def test_settings_are_given_back(store: QdrantStore, wide: str) -> None:
    """A collection says of itself what was asked for, and nothing else."""
    await store.create_collection(wide, dimension=DIMENSION, index=replace(ALL, ef_search=64))

    found = await store.find_collection(wide)

    assert found is not None
    assert found.index == ALL
    assert replace(ALL, ef_search=64).is_met_by(found.index)


async def test_a_collection_without_settings_has_none(store: QdrantStore, name: str) -> None:
    """What was left to the store is not said to be a setting, and there is nothing left to do for it."""
    found = await store.find_collection(name)

    assert found is not None
    assert IndexSettings().is_met_by(found.index)
    assert not ALL.is_met_by(found.index)
    assert await store.is_optimised(name)


@pytest.mark.parametrize(
    "index",
    [
        ALL,
        replace(ALL, quantization=Quantization.BINARY),
        replace(ALL, ef_construct=None, hnsw_on_disk=None),
        replace(ALL, hnsw_m=None, quantization=Quantization.NONE),
        IndexSettings(vectors_on_disk=False),
    ],
)
async def test_settings_change_in_place(store: QdrantStore, wide: str, index: IndexSettings) -> None:
    """Whatever was set before, after an update it is as asked for, with every point; saying it again is harmless."""
    points = make_points(["whales sing"] * 20)
    await store.create_collection(wide, dimension=DIMENSION, index=IndexSettings(hnsw_m=32, ef_construct=200))
    await store.upsert(wide, points)

    await store.update_index(wide, index)
    await store.update_index(wide, index)
    await wait_until_optimised(store, wide)

    found = await store.find_collection(wide)
    assert found is not None
    assert index.is_met_by(found.index), found.index
    assert found.points == len(points)


async def test_settings_go_back_to_what_the_store_does(store: QdrantStore, wide: str) -> None:
    """Without a setting for the graph or for quantising, there is none left."""
    await store.create_collection(wide, dimension=DIMENSION, index=ALL)

    await store.update_index(wide, IndexSettings())
    await wait_until_optimised(store, wide)

    found = await store.find_collection(wide)
    assert found is not None
    assert found.index == IndexSettings(vectors_on_disk=True, payload_on_disk=False)


async def test_a_missing_collection_has_no_index(store: QdrantStore) -> None:
    """Neither can it be changed nor waited for."""
    with pytest.raises(GenerationMissingError):
        await store.update_index("contract-missing", ALL)
    with pytest.raises(GenerationMissingError):
        await store.is_optimised("contract-missing")


# --- what is found ------------------------------------------------------------------------------


RECALLS: Sequence[tuple[IndexSettings, float]] = [
    (IndexSettings(hnsw_m=16, ef_construct=100, ef_search=128), 0.9),
    (IndexSettings(quantization=Quantization.SCALAR), 0.95),
    (IndexSettings(quantization=Quantization.BINARY), 0.9),
    (IndexSettings(hnsw_m=16, ef_search=128, quantization=Quantization.SCALAR, vectors_on_disk=True), 0.9),
]


@pytest.mark.parametrize(("index", "least"), RECALLS)
async def test_nearest_points_are_found_in_what_was_built(
    store: QdrantStore, wide: str, index: IndexSettings, least: float
) -> None:
    """Built from points that came before the update, compared with all vectors; exact searches are exact."""
    points = make_batch(make_clusters(0))
    await store.create_collection(wide, dimension=WIDE)
    await store.upsert(wide, points)

    await store.update_index(wide, index)
    await wait_until_optimised(store, wide)

    question = make_clusters(1, 1)[0]
    query = PointQuery(mode=SearchMode.DENSE, vector=question, limit=NEIGHBOURS, exact=True)
    exact = [point.id for point in await store.search(wide, query)]
    assert exact == [points.ids[row] for row in np.argsort(points.vectors @ question)[: -NEIGHBOURS - 1 : -1]]
    assert await measure_recall(store, wide, points, index) >= least
    assert await store.count(wide) == POINTS


async def test_whole_vectors_have_the_last_word(store: QdrantStore, address: Address, wide: str) -> None:
    """A bit for each number finds less by itself than when the best of it are compared again."""
    points, index = make_batch(make_clusters(0)), IndexSettings(quantization=Quantization.BINARY)
    await store.create_collection(wide, dimension=WIDE, index=index)
    await store.upsert(wide, points)
    await wait_until_optimised(store, wide)

    found = 0
    async with address.open_raw() as raw:
        for question in make_clusters(1, QUESTIONS):
            body = {"query": question.tolist(), "using": "dense", "limit": NEIGHBOURS}
            params = {"quantization": {"rescore": False}}
            answer = await raw.post(f"/collections/{wide}/points/query", json={**body, "params": params})
            best = {str(points.ids[row]) for row in np.argsort(points.vectors @ question)[-NEIGHBOURS:]}
            found += len(best & {point["id"] for point in answer.json()["result"]["points"]})

    assert found / (QUESTIONS * NEIGHBOURS) < await measure_recall(store, wide, points, index) - 0.1


# --- a Qdrant server that was started anew ------------------------------------------------------


class RestartedServer(ThreadingHTTPServer):
    """Says as a Qdrant server does that work waits for the next update, until there is one.

    Attributes:
        updates: bodies of the updates there were.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), RestartedHandler)
        self.described = described
        self.updates: list[object] = []


class RestartedHandler(BaseHTTPRequestHandler):
    """Answers for one collection."""

    server: RestartedServer

    def do_GET(self) -> None:
        """Describe it."""
        self._answer({**self.server.described, "status": "green" if self.server.updates else "grey"})

    def do_PATCH(self) -> None:
        """Take an update."""
        self.server.updates.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(True)  # noqa: FBT003 — what Qdrant answers

    def _answer(self, result: object) -> None:
        content = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def test_work_that_waits_for_an_update_is_set_going(store: QdrantStore, name: str, address: Address) -> None:
    """Who waits sends an update that changes nothing, for nobody else may send one."""
    async with address.open_raw() as raw:
        described = (await raw.get(f"/collections/{name}")).json()["result"]
    with RestartedServer(described) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        waiting = QdrantStore(f"http://127.0.0.1:{server.server_port}", api_key=None)

        answers = [await waiting.is_optimised(name), await waiting.is_optimised(name)]

        await waiting.aclose()
        server.shutdown()
        thread.join()
    assert answers == [False, True]
    assert server.updates == [{"optimizers_config": {}}]


# --- the embedded server alone ------------------------------------------------------------------


@pytest.fixture
async def own(server: VectorServer) -> AsyncIterator[QdrantStore]:
    """The adapter on a server of this case's own."""
    store = QdrantStore(server.url, api_key=KEY)
    yield store
    await store.aclose()


def open_raw(server: VectorServer) -> httpx.AsyncClient:
    """Requests without the adapter."""
    return httpx.AsyncClient(base_url=server.url, headers={"api-key": KEY}, timeout=30)


async def test_indexing_begins_by_itself(server: VectorServer, own: QdrantStore) -> None:
    """A collection that was created with settings is indexed once its points are in, without being told."""
    points = make_batch(make_clusters(0))
    await own.create_collection("a", dimension=WIDE, index=IndexSettings(quantization=Quantization.SCALAR))
    await own.upsert("a", points)

    is_done_at_once = await own.is_optimised("a")
    await wait_until_optimised(own, "a")

    async with open_raw(server) as raw:
        indexed = await count_indexed(own, raw, "a")
    assert not is_done_at_once
    assert indexed == 2 * POINTS  # the sparse vectors always are
    assert list(server.data.rglob("quantized.data"))


async def wait_until_rebuilding(folder: Path) -> Path:
    """Poll until another shard is being made in a collection's folder; fails after a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := find_others(folder)):
        assert time.monotonic() < deadline, "no rebuild begins"
        await asyncio.sleep(0.01)
    return found[0]


def find_others(folder: Path) -> list[Path]:
    """Shards of a collection that are not its first."""
    return list(folder.glob("shard-*"))


async def test_writes_during_a_rebuild_are_kept(server: VectorServer, own: QdrantStore) -> None:
    """Points that come and go while the index is built are so in the new one, and searches answer all the while."""
    points, late = make_batch(make_clusters(0)), make_batch(make_clusters(2, 50))
    await own.create_collection("a", dimension=WIDE)
    await own.upsert("a", points)
    await own.update_index("a", IndexSettings(hnsw_m=16, ef_construct=200))
    first = await wait_until_rebuilding(server.data / "collections" / "a")

    await own.upsert("a", late)
    await own.delete_points("a", points.ids[:50])
    found = await own.search("a", PointQuery(mode=SearchMode.DENSE, vector=late.vectors[0]))
    is_under_way = not await own.is_optimised("a")
    await wait_until_optimised(own, "a")

    kept = await own.retrieve_points("a", late.ids, dimension=WIDE)
    gone = await own.retrieve_points("a", points.ids[:50], dimension=WIDE)
    assert is_under_way
    assert first.exists()  # this one has taken over
    assert found[0].id == late.ids[0]
    assert (len(kept), len(gone), await own.count("a")) == (50, 0, POINTS)


async def test_an_index_survives_a_restart(server: VectorServer, own: QdrantStore) -> None:
    """After kill -9 the settings, the index and the points are there; nothing is built again."""
    points, index = make_batch(make_clusters(0)), replace(ALL, ef_search=128)
    await own.create_collection("a", dimension=WIDE, index=index)
    await own.upsert("a", points)
    await wait_until_optimised(own, "a")
    server.kill()
    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    is_done = await store.is_optimised("a")
    found = await store.find_collection("a")
    recall = await measure_recall(store, "a", points, index)
    await store.aclose()
    assert is_done
    assert found is not None
    assert (found.points, found.index) == (POINTS, ALL)
    assert recall >= 0.9


async def test_a_rebuild_that_was_killed_begins_again(server: VectorServer, own: QdrantStore) -> None:
    """Half of a new shard is thrown away at the next start; every point is there, and in the end the index."""
    await own.create_collection("a", dimension=WIDE)
    await own.upsert("a", make_batch(make_clusters(0)))
    await own.update_index("a", IndexSettings(hnsw_m=32, ef_construct=400))
    folder = server.data / "collections" / "a"
    half = await wait_until_rebuilding(folder)
    server.kill()
    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    is_done_at_once = await store.is_optimised("a")
    await wait_until_optimised(store, "a")
    count = await store.count("a")
    await store.aclose()
    assert not is_done_at_once
    assert count == POINTS
    assert not half.exists()
    assert len(list(folder.glob("shard*"))) == 1


async def test_a_stop_does_not_wait_for_a_rebuild(server: VectorServer, own: QdrantStore) -> None:
    """SIGTERM during one ends the server in order, and a collection can be dropped during one."""
    await own.create_collection("a", dimension=WIDE)
    await own.create_collection("b", dimension=WIDE)
    for name in ("a", "b"):
        await own.upsert(name, make_batch(make_clusters(0)))
    folder = server.data / "collections"

    for name in ("a", "b"):
        await own.update_index(name, IndexSettings(hnsw_m=64, ef_construct=2000))
        await wait_until_rebuilding(folder / name)
        if name == "a":
            await own.drop_collection("a")

    assert server.stop() == 0
    assert [path.name for path in folder.iterdir()] == ["b"]
    server.start()
    store = QdrantStore(server.url, api_key=KEY)
    count = await store.count("b")
    await store.aclose()
    assert count == POINTS


async def test_an_index_that_cannot_be_built_is_said_to_be(server: VectorServer, own: QdrantStore) -> None:
    """Whoever waits is told; the points can be searched as before."""
    await own.create_collection("a", dimension=DIMENSION)
    await own.upsert("a", make_points(["whales"] * 5))
    config = server.data / "collections" / "a" / "shard" / "edge_config.json"
    config.write_text("{")

    await own.update_index("a", ALL)
    with pytest.raises(VectorStoreRejectedError, match="could not be built"):
        await wait_until_optimised(own, "a")

    assert await own.count("a") == 5
    assert not list(config.parents[1].glob("shard-*"))


async def test_a_collection_of_an_earlier_version_opens_and_changes(server: VectorServer, own: QdrantStore) -> None:
    """Its description knows nothing of indexes, nor of shards that take each other's place."""
    await own.create_collection("a", dimension=DIMENSION)
    await own.upsert("a", make_points(["whales"] * 5))
    server.stop()
    earlier = '{"vectors":{"dense":{"size":8,"distance":"Cosine"}},"sparse_vectors":{"bm25":{"modifier":"idf"}}}'
    (server.data / "collections" / "a" / "collection.json").write_text(earlier)
    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    before = await store.find_collection("a")
    await store.update_index("a", ALL)
    await wait_until_optimised(store, "a")
    after = await store.find_collection("a")
    await store.aclose()
    assert before is not None
    assert after is not None
    assert IndexSettings().is_met_by(before.index)
    assert (before.points, after.points, after.index) == (5, 5, ALL)


GRAPH, QUANTISED = "hnsw_config", "quantization_config"
REFUSED = {
    "product quantisation": {"vectors": {"dense": {QUANTISED: {"product": {"compression": "x16"}}}}},
    "two kinds": {"vectors": {"dense": {QUANTISED: {"scalar": {"type": "int8"}, "binary": {}}}}},
    "a quantile": {"vectors": {"dense": {QUANTISED: {"scalar": {"type": "int8", "quantile": 0.9}}}}},
    "links of payload": {"vectors": {"dense": {GRAPH: {"payload_m": 8}}}},
    "too many links": {"vectors": {"dense": {GRAPH: {"m": 100_000}}}},
    "too few candidates": {"vectors": {"dense": {GRAPH: {"ef_construct": 1}}}},
    "a word for a number": {"vectors": {"dense": {GRAPH: {"m": "16"}}}},
    "a number for a flag": {"vectors": {"dense": {"on_disk": 1}}},
    "an unknown vector": {"vectors": {"other": {"on_disk": True}}},
    "settings of the collection": {GRAPH: {"m": 16}},
    "optimisers": {"optimizers_config": {"indexing_threshold": 1}},
    "replicas": {"params": {"replication_factor": 2}},
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_it_cannot_do_is_refused(server: VectorServer, own: QdrantStore, case: str) -> None:
    """Never ignored: 400 with a reason, and the collection stays as it is."""
    await own.create_collection("a", dimension=DIMENSION)
    async with open_raw(server) as raw:
        before = (await raw.get("/collections/a")).json()["result"]["config"]
        response = await raw.patch("/collections/a", json=REFUSED[case])
        after = (await raw.get("/collections/a")).json()["result"]["config"]

    assert response.status_code == 400, response.text
    assert response.json()["status"]["error"]
    assert before == after

"""What only the embedded vector server promises: durability, one owner, refusals instead of guesses."""

import base64
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.domain.errors import VectorStoreRejectedError, VectorStoreUnavailableError
from app.domain.points import PointQuery, SearchMode
from app.stores.qdrant import QdrantStore
from tests.contract.vector_server import DEADLINE_SECONDS, DIMENSION, KEY, ROOT, VectorServer, make_points

NAME = "generation"


def wait_until(predicate: Callable[[], bool]) -> None:
    """Poll until it holds; fails after a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not predicate():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
async def raw(shared_server: VectorServer) -> AsyncIterator[httpx.AsyncClient]:
    """Requests without the adapter, with the key."""
    async with httpx.AsyncClient(base_url=shared_server.url, headers={"api-key": KEY}, timeout=30) as client:
        yield client


@pytest.fixture
async def collection(raw: httpx.AsyncClient) -> AsyncIterator[str]:
    """Path of a new collection with one dense and one sparse vector."""
    path = f"/collections/{uuid4().hex}"
    body = {
        "vectors": {"dense": {"size": DIMENSION, "distance": "Cosine"}},
        "sparse_vectors": {"bm25": {"modifier": "idf"}},
    }
    assert (await raw.put(path, json=body)).status_code == 200
    yield path
    await raw.delete(path)


# --- durability ---------------------------------------------------------------------------------


async def test_acknowledged_points_survive_a_kill(server: VectorServer) -> None:
    """After kill -9 and a restart there is every point, deletion, alias and index that was acknowledged."""
    store = QdrantStore(server.url, api_key=KEY)
    await store.create_collection(NAME, dimension=DIMENSION)
    await store.set_alias("stable", to=NAME)
    points = make_points(["Whales sing under water"] * 3000)
    await store.upsert(NAME, points)
    await store.delete_points(NAME, points.ids[:100])

    server.kill()
    await store.aclose()
    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    left = {point async for batch in store.stream_ids("stable") for point, _ in batch}
    found = await store.search(NAME, PointQuery(mode=SearchMode.BM25, text="whales", limit=5))
    await store.aclose()
    assert left == set(points.ids[100:])
    assert len(found) == 5


async def test_gentle_stop_flushes(server: VectorServer) -> None:
    """SIGTERM ends the server with code 0, everything in its place, and a short write-ahead log."""
    store = QdrantStore(server.url, api_key=KEY)
    await store.create_collection(NAME, dimension=DIMENSION)
    await store.upsert(NAME, make_points(["Whales sing under water " * 100] * 5000))
    await store.aclose()

    exit_code = server.stop()
    logs = list(server.data.glob("collections/*/shard/wal/*"))
    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    count = await store.count(NAME)
    await store.aclose()
    assert exit_code == 0
    assert sum(log.stat().st_size for log in logs) < 16 * 1024 * 1024
    assert count == 5000


async def test_half_created_collection_leaves_nothing(server: VectorServer) -> None:
    """What a crash in the middle of creating or deleting leaves behind is neither seen nor kept."""
    store = QdrantStore(server.url, api_key=KEY)
    await store.create_collection(NAME, dimension=DIMENSION)
    await store.aclose()
    server.kill()
    half = server.data / "collections" / ".half"
    (half / "shard" / "wal").mkdir(parents=True)

    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    names = await store.list_collections()
    await store.aclose()
    assert names == [NAME]
    assert not half.exists()


async def test_broken_collection_costs_only_itself(server: VectorServer) -> None:
    """A collection whose files are damaged fails with 500; the server starts and serves the others."""
    store = QdrantStore(server.url, api_key=KEY)
    await store.create_collection(NAME, dimension=DIMENSION)
    await store.create_collection("broken", dimension=DIMENSION)
    await store.aclose()
    server.kill()
    (server.data / "collections" / "broken" / "shard" / "edge_config.json").write_text("{")

    server.start()

    store = QdrantStore(server.url, api_key=KEY)
    count = await store.count(NAME)
    with pytest.raises(VectorStoreUnavailableError):
        await store.count("broken")
    await store.aclose()
    assert count == 0


# --- one owner ----------------------------------------------------------------------------------


def test_second_server_on_the_same_data_ends(server: VectorServer) -> None:
    """Two servers never have one folder open; the second says so and leaves the first alone."""
    port = server.port_file.read_text()

    second = server.spawn()
    _, errors = second.communicate(timeout=DEADLINE_SECONDS)

    assert second.returncode == 1
    assert "is in use by another vector server" in errors
    assert server.port_file.read_text() == port


def test_server_ends_with_its_parent(tmp_path: Path) -> None:
    """A server started with --die-with-parent does not outlive a parent that was killed."""
    server = VectorServer(tmp_path)
    command = [*server.command, "--die-with-parent"]
    code = f"import subprocess, time; print(subprocess.Popen({command!r}).pid, flush=True); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(server.port_file.exists)

    parent.kill()
    parent.communicate()

    wait_until(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    """Whether a process of this id runs; one that ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_server_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    """A parent that died before its server asked the kernel to watch it is noticed."""
    server = VectorServer(tmp_path)

    orphan = server.spawn("--die-with-parent", str(os.getpid() + 1))
    _, errors = orphan.communicate(timeout=DEADLINE_SECONDS)

    assert orphan.returncode == 1
    assert "is gone" in errors


def test_empty_key_is_no_key(tmp_path: Path) -> None:
    """A server without a key does not start open to everyone."""
    server = VectorServer(tmp_path)
    server.key_file.write_text("\n")

    process = server.spawn()
    process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 1
    assert not server.port_file.exists()


async def test_port_can_be_asked_for(server: VectorServer) -> None:
    """A server that is started again can have the port it had, at once."""
    port = server.port_file.read_text()
    async with httpx.AsyncClient(base_url=server.url, headers={"api-key": KEY}) as client:
        await client.get("/collections")
        server.kill()
    server.port_file.unlink()

    server.process = server.spawn("--port", port)
    wait_until(server.port_file.exists)

    assert server.port_file.read_text() == port
    assert server.process.poll() is None


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {b"api-key": b""}, {b"api-key": KEY.encode() + b"x"}, {b"api-key": b"\xe9"}])
async def test_wrong_key_is_refused(shared_server: VectorServer, headers: dict[bytes, bytes]) -> None:
    """Without the key there is no answer but 401, whatever the path."""
    async with httpx.AsyncClient(base_url=shared_server.url) as client:
        response = await client.get("/collections", headers=headers)

    assert response.status_code == 401
    assert response.json()["status"]["error"]


async def test_wrong_key_is_said_to_be_wrong(shared_server: VectorServer) -> None:
    """The adapter tells a wrong key from a server that is away."""
    store = QdrantStore(shared_server.url, api_key="wrong")

    with pytest.raises(VectorStoreRejectedError):
        await store.list_collections()

    await store.aclose()


@pytest.mark.parametrize("name", ["..%2F..%2Foutside", "%2e%2e", ".", "a%2Fb", "a%00b", "x" * 300])
async def test_no_name_leaves_the_folder(shared_server: VectorServer, raw: httpx.AsyncClient, name: str) -> None:
    """A collection's name is never a path."""
    before = {path.name for path in shared_server.data.parent.iterdir()}
    body = {"vectors": {"dense": {"size": 4, "distance": "Cosine"}}}

    request = raw.build_request("PUT", f"{shared_server.url}/collections/{name}", json=body)
    response = await raw.send(request)
    inside = [path.parent for path in shared_server.data.rglob("collection.json")]
    if response.status_code == 200:
        await raw.request("DELETE", f"{shared_server.url}/collections/{name}")

    assert response.status_code in {200, 400, 404, 405}
    assert {path.name for path in shared_server.data.parent.iterdir()} == before
    assert all(path.parent == shared_server.data / "collections" for path in inside)


POINT = {"id": 1, "vector": {"dense": [1.0] * DIMENSION}}
BAD: dict[str, tuple[str, str, Any]] = {
    "not JSON": ("PUT", "/points", b"{"),
    "NaN": ("PUT", "/points", b'{"points": [{"id": 1, "vector": {"dense": [NaN, 1, 1, 1, 1, 1, 1, 1]}}]}'),
    "null in a vector": ("PUT", "/points", {"points": [{"id": 1, "vector": {"dense": [None] * DIMENSION}}]}),
    "text in a vector": ("PUT", "/points", {"points": [{"id": 1, "vector": {"dense": ["1"] * DIMENSION}}]}),
    "too large for float32": ("PUT", "/points", {"points": [{"id": 1, "vector": {"dense": [1e39] * DIMENSION}}]}),
    "too short": ("PUT", "/points", {"points": [POINT, {"id": 2, "vector": {"dense": [1.0]}}]}),
    "no name": ("PUT", "/points", {"points": [{"id": 1, "vector": [1.0] * DIMENSION}]}),
    "negative id": ("PUT", "/points", {"points": [{**POINT, "id": -1}]}),
    "other model": ("PUT", "/points", {"points": [{"id": 1, "vector": {"bm25": {"text": "a", "model": "other"}}}]}),
    "uneven sparse": (
        "PUT",
        "/points",
        {"points": [{"id": 1, "vector": {"bm25": {"indices": [1, 2], "values": [1.0]}}}]},
    ),
    "conditional upsert": ("PUT", "/points", {"points": [POINT], "update_mode": "insert_only"}),
    "deletion of everything": ("POST", "/points/delete", {"filter": {}}),
    "unknown clause": ("POST", "/points/delete", {"filter": {"min_should": {"conditions": [], "min_count": 0}}}),
    "unknown condition": ("POST", "/points/count", {"filter": {"must": [{"key": "n", "range": {"gt": 1}}]}}),
    "nested unknown": ("POST", "/points/count", {"filter": {"must": [{"must": []}]}}),
    "negative limit": ("POST", "/points/scroll", {"limit": -1}),
    "unknown vector": ("POST", "/points/scroll", {"with_vector": ["other"]}),
    "order": ("POST", "/points/scroll", {"order_by": "n"}),
    "fusion of nothing": ("POST", "/points/query", {"query": {"rrf": {}}}),
    "recommendation": ("POST", "/points/query", {"query": {"recommend": {"positive": [1]}}, "using": "dense"}),
    "short query": ("POST", "/points/query", {"query": [1.0], "using": "dense"}),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_it_does_not_do_is_refused(raw: httpx.AsyncClient, collection: str, case: str) -> None:
    """Bad or unknown requests get 400 and change nothing: never 500, never half an answer."""
    method, path, body = BAD[case]
    assert (await raw.put(f"{collection}/points", json={"points": [{**POINT, "id": 7}]})).status_code == 200

    content = body if isinstance(body, bytes) else None
    response = await raw.request(method, f"{collection}{path}", content=content, json=None if content else body)
    left = await raw.post(f"{collection}/points/count", json={})

    assert response.status_code == 400, response.text
    assert left.json()["result"]["count"] == 1


async def test_large_bodies_are_refused(raw: httpx.AsyncClient, collection: str) -> None:
    """A body over the limit is refused before it fills the memory."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1024 * 1024

    try:
        response = await raw.put(f"{collection}/points", content=endless())
    except (httpx.WriteError, httpx.RemoteProtocolError):
        return  # it hung up on us in the middle, which is as good

    assert response.status_code == 413


@pytest.mark.parametrize("path", ["/nowhere", "/collections/a/points/nowhere"])
async def test_unknown_paths_answer_in_the_same_words(raw: httpx.AsyncClient, path: str) -> None:
    """A path this server does not have is 404 with an error object."""
    response = await raw.get(path)

    assert response.status_code == 404
    assert response.json()["status"]["error"]


# --- what the adapter does not use yet ----------------------------------------------------------


async def test_payload_is_merged(raw: httpx.AsyncClient, collection: str) -> None:
    """Set payload changes the named fields of the named points; an unknown point is 404 and changes nothing."""
    points = [{**POINT, "id": number, "payload": {"a": 1, "b": 1}} for number in (1, 2)]
    await raw.put(f"{collection}/points", json={"points": points})

    done = await raw.post(f"{collection}/points/payload", json={"payload": {"b": 2}, "points": [1]})
    missing = await raw.post(f"{collection}/points/payload", json={"payload": {"b": 3}, "points": [1, 9]})
    records = await raw.post(f"{collection}/points", json={"ids": [1, 2]})

    payloads = {record["id"]: record["payload"] for record in records.json()["result"]}
    assert (done.status_code, missing.status_code) == (200, 404)
    assert payloads == {1: {"a": 1, "b": 2}, 2: {"a": 1, "b": 1}}


async def test_aliases_are_listed_and_never_hide_a_collection(raw: httpx.AsyncClient, collection: str) -> None:
    """An alias is listed with its collection; a name that is taken is refused, both ways."""
    name, alias = collection.rpartition("/")[2], uuid4().hex
    create = {"create_alias": {"collection_name": name, "alias_name": alias}}
    hide = {"create_alias": {"collection_name": name, "alias_name": name}}

    made = await raw.post("/collections/aliases", json={"actions": [create]})
    hidden = await raw.post("/collections/aliases", json={"actions": [hide]})
    taken = await raw.put(f"/collections/{alias}", json={"vectors": {"v": {"size": 2, "distance": "Dot"}}})
    listed = (await raw.get("/aliases")).json()["result"]["aliases"]

    assert (made.status_code, hidden.status_code, taken.status_code) == (200, 409, 409)
    assert {"alias_name": alias, "collection_name": name} in listed


async def test_dense_vectors_can_come_packed(raw: httpx.AsyncClient, collection: str) -> None:
    """Base64 of float32 is stored as the same numbers as JSON, and the server says that it takes it."""
    numbers = [0.5, -0.25, 0.125, 0.0][:DIMENSION] + [0.75] * max(0, DIMENSION - 4)
    packed = base64.b64encode(struct.pack(f"<{DIMENSION}f", *numbers)).decode()
    points = [{"id": 1, "vector": {"dense": numbers}}, {"id": 2, "vector": {"dense": packed}}]

    written = await raw.put(f"{collection}/points?wait=true", json={"points": points})
    found = await raw.post(f"{collection}/points", json={"ids": [1, 2], "with_vector": True})

    plain, unpacked = (point["vector"]["dense"] for point in found.json()["result"])
    assert written.status_code == 200, written.text
    assert written.headers["vecloom-accepts"] == "packed-vectors"
    assert plain == unpacked


async def test_dense_vectors_are_given_packed_to_who_asks(raw: httpx.AsyncClient, collection: str) -> None:
    """By a header that a Qdrant server does not know; the numbers are the same, and sparse vectors stay as they are."""
    numbers = [index / 7 for index in range(DIMENSION)]
    vector = {"dense": numbers, "bm25": {"indices": [3], "values": [0.5]}}
    await raw.put(f"{collection}/points", params={"wait": "true"}, json={"points": [{"id": 1, "vector": vector}]})
    wants = {"vecloom-wants": "packed-vectors"}
    for path, body in (("points", {"ids": [1], "with_vector": True}), ("points/scroll", {"with_vector": True})):
        answers = [await raw.post(f"{collection}/{path}", json=body, headers=headers) for headers in ({}, wants)]
        results = [answer.json()["result"] for answer in answers]
        (plain,), (packed,) = (result["points"] if path.endswith("scroll") else result for result in results)
        unpacked = struct.unpack(f"<{DIMENSION}f", base64.b64decode(packed["vector"].pop("dense")))
        assert list(unpacked) == pytest.approx(plain["vector"].pop("dense"), abs=0)
        assert packed == plain


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4 * (DIMENSION + 1), struct.pack("<f", float("nan")) * DIMENSION, None]
)
async def test_a_broken_packed_vector_is_refused(
    raw: httpx.AsyncClient, collection: str, content: bytes | None
) -> None:
    """Of a wrong length, not finite, or no base64: 400, and nothing is written."""
    packed = "not base64!" if content is None else base64.b64encode(content).decode()

    written = await raw.put(f"{collection}/points", json={"points": [{"id": 1, "vector": {"dense": packed}}]})

    assert written.status_code == 400, written.text
    assert (await raw.post(f"{collection}/points/count", json={})).json()["result"]["count"] == 0


async def test_sparse_vectors_can_be_given_as_they_are(raw: httpx.AsyncClient, collection: str) -> None:
    """Indices and values instead of a text, in points and in questions; UUID ids come back as they went in."""
    point = str(UUID(int=5))
    vector = {"indices": [9, 4], "values": [1.0, 2.0]}
    await raw.put(f"{collection}/points", json={"points": [{"id": point, "vector": {"bm25": vector}}]})

    question = {"query": {"indices": [4], "values": [1.0]}, "using": "bm25", "with_vector": True}
    found = (await raw.post(f"{collection}/points/query", json=question)).json()["result"]["points"]

    assert found[0]["id"] == point
    assert found[0]["vector"]["bm25"] == {"indices": [4, 9], "values": [2.0, 1.0]}


def test_signals_before_it_serves_end_it(tmp_path: Path) -> None:
    """SIGTERM ends the server at whatever moment it comes."""
    server = VectorServer(tmp_path)
    process = server.spawn()
    wait_until((server.data / "lock").exists)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0

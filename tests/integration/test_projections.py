"""Projections as operations: what is drawn, what is kept of it, how they are stopped and taken away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import orjson
import psutil
import pyarrow.parquet
import pytest

from app.bootstrap.upkeep import open_periodic_jobs
from app.progress.events import stream_key
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until
from tests.integration.test_reindex import REPORT_ONLY, reindex

pytestmark = pytest.mark.timeout(240)

DOCUMENTS = 40
SECONDS = 180.0
"""The first one compiles."""
SERVED = {"map.html", "map.png", "points.parquet", "meta.json", "x.f32", "y.f32", "category.u8"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Some documents of several chunks."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    return root


@pytest.fixture
async def papers(api: Api, worker: None, corpus: Path) -> Path:
    """An indexed collection."""
    ended = await api.wait(await api.create("papers", corpus))
    assert ended["state"] == "completed", ended
    return corpus


async def ask(api: Api, name: str = "papers", **body: Any) -> dict[str, Any]:
    """Have a projection drawn; gives the operation."""
    answer = await api.client.post(f"/api/v1/collections/{name}/projections", json=body)
    assert answer.status_code == 202, answer.text
    operation: dict[str, Any] = answer.json()
    return operation


async def draw(api: Api, name: str = "papers", **body: Any) -> dict[str, Any]:
    """The same, to its end; gives what it ended with."""
    ended = await api.wait(await ask(api, name, **body), seconds=SECONDS)
    assert ended["state"] == "completed", (ended["error_code"], ended["error_message"])
    result: dict[str, Any] = ended["result"]
    return result


async def read(api: Api, path: str) -> Any:
    """The JSON of an answer."""
    answer = await api.client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def folder_of(api: Api, result: dict[str, Any]) -> Path:
    """Where the files of a projection lie."""
    (found,) = (api.parts.settings.data / "projections").rglob(UUID(result["projection_id"]).hex)
    return found


def list_folders(api: Api) -> list[Path]:
    """Everything that lies there for any projection."""
    return sorted((api.parts.settings.data / "projections").glob("*/*/*"))


@pytest.mark.parametrize(("method", "dimensions"), [("umap", 2), ("tsne", 2), ("pca", 3)])
async def test_a_map_shows_every_point(api: Api, papers: Path, method: str, dimensions: int) -> None:
    """Every point of the collection is in every file of it, with its document."""
    points = await api.assert_consistent("papers")

    result = await draw(api, method=method, dimensions=dimensions, colour_by="folder")

    assert (result["points"], result["sampled"], result["degraded"]) == (points, points, None)
    assert (result["method"], result["laid_out_by"], result["invalid"]) == (method, method, 0)
    shown = await read(api, f"/projections/{result['projection_id']}")
    assert (shown["state"], shown["stale"], shown["points"]) == ("completed", None, points)
    assert shown["quality"]["trustworthiness@15"] > 0.5
    assert shown["files"].keys() >= SERVED
    assert not shown["files"].keys() & {"vectors.npy", "initial.npy", "texts.jsonl", "previews.jsonl"}
    folder = folder_of(api, result)
    table = pyarrow.parquet.read_table(folder / "points.parquet")
    documents = {document["id"] for document in (await api.documents("papers")).values()}
    assert table.num_rows == points
    assert set(table["document_id"].to_pylist()) <= documents
    assert all(table["preview"].to_pylist())
    assert np.isfinite(np.fromfile(folder / "x.f32", dtype="<f4")).all()
    assert len(np.fromfile(folder / "category.u8", dtype=np.uint8)) == points
    assert (folder / "z.f32").exists() is (dimensions == 3)


async def test_its_events_tell_how_far_it_is(api: Api, papers: Path) -> None:
    """From the first point that is fetched to the end; the row of the operation has the last of them."""
    operation = await ask(api, method="umap")
    await api.wait(operation, seconds=SECONDS)

    stream = stream_key(api.parts.settings.redis_namespace, operation["operation_id"])
    told = [orjson.loads(next(iter(fields.values()))) for _, fields in await api.parts.redis.xrange(stream)]
    events = [(one["type"], one["data"]) for one in told]

    types = [type_ for type_, _ in events]
    order = ["projection_started", "projection_fetch_progress", "projection_map", "projection_completed"]
    assert [types.index(one) for one in order] == sorted(types.index(one) for one in order)
    assert [data["stage"] for type_, data in events if type_ == "projection_map"] == ["first", "layout", "labels"]
    fetched = [data for type_, data in events if type_ == "projection_fetch_progress"]
    assert fetched[-1]["fetched"] == fetched[-1]["total"] > 0
    layout = [data for type_, data in events if type_ == "projection_layout_progress"]
    assert layout
    assert all(0 <= data["done"] <= data["total"] and data["method"] == "umap" for data in layout)


async def test_the_same_map_is_not_drawn_again(api: Api, papers: Path) -> None:
    """Unless its data, or what is asked for, is another; a map of other data says that it is."""
    first = await draw(api, method="pca")
    same = await api.client.post("/api/v1/collections/papers/projections", json={"method": "pca"})
    other = await draw(api, method="pca", colour_by="document")
    (papers / "more.txt").write_text("Whales are large mammals of the ocean. " * 20)
    await api.wait(await api.append("papers"))
    stale = await read(api, f"/projections/{first['projection_id']}")
    again = await draw(api, method="pca")
    listed = (await read(api, "/collections/papers/projections"))["projections"]

    assert (same.status_code, same.json()["projection_id"]) == (200, first["projection_id"])
    assert other["projection_id"] != first["projection_id"]
    assert stale["stale"] == "documents_changed"
    assert again["points"] > first["points"]
    assert [one["stale"] for one in listed] == [None, "documents_changed", "documents_changed"]


async def test_the_same_map_is_drawn_once_for_all_who_ask_at_once(api: Api, papers: Path) -> None:
    """They get the operation that is under way; one that is to end is not taken for it."""
    body = {"method": "umap", "parameters": {"epochs": 2000}}
    path = "/api/v1/collections/papers/projections"
    answers = await asyncio.gather(*(api.client.post(path, json=body) for _ in range(5)))
    operations = {answer.json()["operation_id"] for answer in answers}
    other = (await api.client.post(path, json={"method": "pca"})).json()
    (operation,) = operations
    await api.client.post(f"/api/v1/operations/{operation}/cancel")
    anew = (await api.client.post(path, json=body)).json()
    wanted = [operation, other["operation_id"], anew["operation_id"]]
    for one in wanted:
        await api.client.post(f"/api/v1/operations/{one}/cancel")
        await api.wait({"operation_id": one}, seconds=SECONDS)

    assert {answer.status_code for answer in answers} == {202}
    assert len(set(wanted)) == 3


async def test_a_map_begins_from_the_one_before(api: Api, papers: Path) -> None:
    """So that people find again what they know."""
    first = await draw(api, method="umap")
    (papers / "more.txt").write_text("Whales are large mammals of the ocean. " * 20)
    await api.wait(await api.append("papers"))

    second = await draw(api, method="umap")

    assert (first["begun_from"], second["begun_from"]) == (0, first["points"])
    # one that is drawn anew lies more than a radius beside it
    assert second["displacement"]["median"] < 0.8
    moved = np.fromfile(folder_of(api, second) / "moved.f32", dtype="<f4")
    assert np.count_nonzero(np.isfinite(moved)) == first["points"]


def add_copy(root: Path) -> None:
    """A document that is nearly another one."""
    original = max(root.rglob("*.txt"), key=lambda path: path.stat().st_size)
    (root / "copy-of-one.txt").write_text(original.read_text() + "\nAnd a last line that is new.\n")


async def test_newer_documents_are_placed_on_a_map(api: Api, papers: Path) -> None:
    """Beside their nearest points; those that were there before are not placed again."""
    result = await draw(api, method="pca")
    before = await read(api, f"/projections/{result['projection_id']}/live")
    add_copy(papers)
    await api.wait(await api.append("papers"))

    live = await read(api, f"/projections/{result['projection_id']}/live")

    documents = await api.documents("papers")
    expected = documents["copy-of-one.txt"]["chunks"]
    assert before == {"stale": None, "left_out": False, "points": []}
    assert len(live["points"]) == expected > 0
    assert all(point["placed"] and point["uri"].endswith("copy-of-one.txt") for point in live["points"])
    x = np.fromfile(folder_of(api, result) / "x.f32", dtype="<f4")
    assert all(x.min() <= point["place"][0] <= x.max() for point in live["points"])


async def test_another_generation_makes_a_map_stale(api: Api, papers: Path) -> None:
    """Nothing is placed on it then, and the next one begins from what both have in common."""
    first = await draw(api, method="pca")
    rebuilt = await api.wait(await reindex(api, "papers", **REPORT_ONLY))
    assert rebuilt["state"] == "completed", rebuilt

    shown = await read(api, f"/projections/{first['projection_id']}")
    live = await read(api, f"/projections/{first['projection_id']}/live")
    second = await draw(api, method="pca")

    assert shown["stale"] == live["stale"] == "generation_changed"
    assert live["points"] == []
    assert second["begun_from"] == first["points"]


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"dimensions": 4}, "invalid_projection"),
    ({"sample": 1}, "invalid_projection"),
    ({"sample": 10**9}, "invalid_projection"),
    ({"parameters": {"n_neighbors": 1}}, "invalid_projection"),
    ({"parameters": {"min_dist": 1.5}}, "invalid_projection"),
    ({"parameters": {"perplexity": 30}}, "invalid_projection"),
    ({"method": "tsne", "parameters": {"perplexity": 0}}, "invalid_projection"),
    ({"method": "tsne", "parameters": {"iterations": 10}}, "invalid_projection"),
    ({"parameters": {"seed": -1}}, "invalid_projection"),
    ({"method": "force"}, "invalid_request"),
)


async def test_what_cannot_be_drawn_is_refused_before_it_is_queued(api: Api, worker: None, folder: Path) -> None:
    """With a stable code, and no operation."""
    await api.wait(await api.create("papers", folder))
    before = (await api.client.get("/api/v1/operations")).json()["operations"]

    answers = [await api.client.post("/api/v1/collections/papers/projections", json=body) for body, _ in REFUSED]

    assert [answer.json()["code"] for answer in answers] == [code for _, code in REFUSED]
    assert {answer.status_code for answer in answers} == {422}
    assert (await api.client.get("/api/v1/operations")).json()["operations"] == before


@pytest.mark.parametrize("count", [0, 1, 2, 3])
async def test_few_points_are_drawn_too(api: Api, worker: None, tmp_path: Path, count: int) -> None:
    """In a plainer way, which is said."""
    root = tmp_path / "few"
    root.mkdir()
    for number in range(count):
        (root / f"{number}.txt").write_text(f"Document {number} about {['whales', 'rockets', 'bread'][number]}.")
    ended = await api.wait(await api.create("few", root))
    assert ended["state"] == "completed", ended

    result = await draw(api, "few", method="umap")

    assert (result["points"], result["degraded"], result["laid_out_by"]) == (count, "too_few_points", "pca")
    found = await read(api, f"/projections/{result['projection_id']}")
    assert found["files"].keys() >= SERVED
    assert (await api.client.get(f"/api/v1/projections/{result['projection_id']}/files/map.html")).status_code == 200


async def test_points_are_found_by_lasso_by_id_and_by_their_neighbours(api: Api, papers: Path) -> None:
    """With the beginning of their text and their document."""
    result = await draw(api, method="pca")
    path = f"/api/v1/projections/{result['projection_id']}"
    folder = folder_of(api, result)
    x = np.fromfile(folder / "x.f32", dtype="<f4")
    middle = float(np.median(x))
    left = [[-1e6, -1e6], [middle, -1e6], [middle, 1e6], [-1e6, 1e6]]

    inside = (await api.client.post(f"{path}/points", json={"polygon": left, "limit": 5})).json()
    ids = [point["point_id"] for point in inside["points"]]
    by_id = (await api.client.post(f"{path}/points", json={"ids": [ids[3], str(uuid4()), ids[0]]})).json()
    neighbours = (await api.client.get(f"{path}/points/{ids[0]}/neighbours")).json()
    nobody = await api.client.get(f"{path}/points/{uuid4()}/neighbours")

    assert inside["total"] == np.count_nonzero(x < middle)
    assert all(point["place"][0] < middle and point["preview"] and point["uri"] for point in inside["points"])
    assert [point["point_id"] for point in by_id["points"]] == [ids[3], ids[0]]
    assert neighbours["total"] > 5
    assert ids[0] not in {point["point_id"] for point in neighbours["points"]}
    assert (nobody.status_code, nobody.json()["code"]) == (404, "projection_point_not_found")


async def test_files_are_served_once_and_in_parts(api: Api, papers: Path) -> None:
    """By tag and by range; those that are no files of it are not there."""
    result = await draw(api, method="pca")
    path = f"/api/v1/projections/{result['projection_id']}/files"
    folder = folder_of(api, result)

    page = await api.client.get(f"{path}/map.html")
    known = await api.client.get(f"{path}/map.html", headers={"If-None-Match": page.headers["etag"]})
    part = await api.client.get(f"{path}/x.f32", headers={"Range": "bytes=4-11"})
    others = [await api.client.get(f"{path}/{name}") for name in ("vectors.npy", "x.f32.gz", "progress.json", "nobody")]

    assert page.content == (folder / "map.html").read_bytes()
    assert page.headers["content-encoding"] == "gzip"
    assert (known.status_code, known.content) == (304, b"")
    assert (part.status_code, part.content) == (206, (folder / "x.f32").read_bytes()[4:12])
    assert {other.json()["code"] for other in others} == {"projection_file_not_found"}


async def test_a_projection_is_forgotten_with_its_files(api: Api, papers: Path) -> None:
    """So are all of a collection that is deleted, and what no row knows."""
    first, second = await draw(api, method="pca"), await draw(api, method="pca", dimensions=3)
    gone = await api.client.delete(f"/api/v1/projections/{first['projection_id']}")
    after = await api.client.get(f"/api/v1/projections/{first['projection_id']}")
    left = list_folders(api)
    deleted = await api.client.delete("/api/v1/collections/papers")
    await api.wait(deleted.json())

    assert (gone.status_code, after.status_code) == (204, 404)
    assert [folder.name for folder in left] == [UUID(second["projection_id"]).hex]
    assert list_folders(api) == []


async def test_folders_that_no_row_knows_are_removed(api: Api, papers: Path) -> None:
    """Once they are old; what is there of a projection stays."""
    result = await draw(api, method="pca")
    kept = folder_of(api, result)
    lost, left = kept.with_name(uuid4().hex), kept.with_name(f"{kept.name}.{uuid4().hex}")
    young = kept.with_name(uuid4().hex)
    long_ago = time.time() - 2 * api.parts.settings.orphan_grace
    for folder in (lost, left, young):
        folder.mkdir()
        (folder / "x.f32").write_bytes(b"1234")
    for folder in (kept, lost, left):
        os.utime(folder, (long_ago, long_ago))

    looked = await run_job(api, dry_run=True)
    there = list_folders(api)
    done = await run_job(api, dry_run=False)

    assert (looked, done) == ({"projections": 0, "folders": 2},) * 2
    assert len(there) == 4
    assert list_folders(api) == sorted([kept, young])


async def run_job(api: Api, *, dry_run: bool) -> Any:
    """One round of the upkeep."""
    jobs = open_periodic_jobs(api.parts, worker="test")
    try:
        return (await jobs.run("cleanup_projections", dry_run=dry_run, wait_seconds=30)).result
    finally:
        await jobs.aclose()


# --- stopping and going on -------------------------------------------------------------------------


def is_layout_process(process: psutil.Process) -> bool:
    """Whether it is one of those that projections are made in."""
    try:
        return "app.projection.meaning" in process.cmdline()
    except psutil.Error:
        return False


@asynccontextmanager
async def in_the_layout(api: Api, **body: Any) -> AsyncIterator[tuple[dict[str, Any], psutil.Process]]:
    """A projection in the middle of its layout, and the child that makes it."""
    operation = await ask(api, **body)

    async def laying_out() -> psutil.Process | None:
        progress = (await api.get(operation)).get("progress") or {}
        if not (list((api.parts.settings.data / "projections").glob("*/*/*/progress.json")) or "stage" in progress):
            return None
        children = [one for one in psutil.Process().children(recursive=True) if is_layout_process(one)]
        return children[0] if children else None

    yield operation, await wait_until(laying_out, seconds=SECONDS)


LONG: dict[str, Any] = {"method": "umap", "parameters": {"epochs": 2000}}


async def test_a_cancelled_projection_ends_at_once_and_leaves_nothing(api: Api, papers: Path) -> None:
    """Its child is killed in the middle of the layout, and its files are removed."""
    async with in_the_layout(api, **LONG) as (operation, child):
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        ended = await api.wait(operation, seconds=10)

    assert ended["state"] == "cancelled"
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert list_folders(api) == []
    (listed,) = (await read(api, "/collections/papers/projections"))["projections"]
    assert listed["state"] == "cancelled"
    answer = await api.client.post(
        f"/api/v1/projections/{listed['projection_id']}/points", json={"ids": [str(uuid4())]}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "projection_not_finished")


async def test_a_projection_whose_child_is_killed_is_made_again(api: Api, papers: Path) -> None:
    """From the beginning, in a fresh folder."""
    async with in_the_layout(api, **LONG) as (operation, child):
        child.send_signal(signal.SIGKILL)
        ended = await api.wait(operation, seconds=SECONDS)

    assert ended["state"] == "completed", ended
    assert ended["attempt"] == 2
    assert [folder.name for folder in list_folders(api)] == [UUID(ended["result"]["projection_id"]).hex]


async def test_a_first_map_can_be_had_before_the_layout_is_there(api: Api, papers: Path) -> None:
    """With the ids of its points."""
    async with in_the_layout(api, **LONG) as (operation, _):
        (running,) = (await read(api, "/collections/papers/projections"))["projections"]
        path = f"/api/v1/projections/{running['projection_id']}"
        first = await api.client.get(f"{path}/files/first.npy")
        ids = await api.client.get(f"{path}/files/ids.bin")
        refused = await api.client.delete(path)
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        await api.wait(operation)

    assert running["state"] == "running"
    assert (first.status_code, first.content[:6]) == (200, b"\x93NUMPY")
    assert len(ids.content) == 16 * await api.assert_consistent("papers")
    assert (refused.status_code, refused.json()["code"]) == (409, "projection_not_finished")

"""How projections end when something happens while they are made."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import orjson
import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.bootstrap import running_worker
from app.pipeline.projection import fetch
from app.progress.events import stream_key
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, wait_until
from tests.integration.disk import CAN_MOUNT, Disk, mounted_disk
from tests.integration.test_projections import ask, draw, folder_of, is_layout_process, list_folders, read
from tests.integration.test_reindex import REPORT_ONLY, reindex, roll_back
from tests.vector_proxy import VectorProxy

pytestmark = pytest.mark.timeout(300)

DOCUMENTS = 40
PAGE = 40
"""Points; a collection has several times as many."""
SECONDS = 200.0


@pytest.fixture
def settings(settings: Settings, proxy: VectorProxy) -> Settings:
    """Settings that reach the vector server through the proxy."""
    changes = {"qdrant_url": proxy.url, "default_max_retries": 1}
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
async def papers(api: Api, worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An indexed collection whose points come in several pages."""
    monkeypatch.setattr(fetch, "MOST_PER_PAGE", PAGE)
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    ended = await api.wait(await api.create("papers", root))
    assert ended["state"] == "completed", ended
    return root


@asynccontextmanager
async def held_fetch(api: Api, proxy: VectorProxy, **body: Any) -> AsyncIterator[dict[str, Any]]:
    """A projection that has got one page of points and waits for the second one; it goes on after the block."""
    proxy.hold_a_scroll(after=1)
    operation = await ask(api, **body)
    await wait_until(lambda: asyncio.to_thread(proxy.held.is_set))
    yield operation
    proxy.mend()


async def find_generations(api: Api) -> dict[str, str]:
    """States of generations by their names."""
    async with api.parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT name, state FROM generations"))
        return {row.name: row.state for row in rows}


# --- generations come and go -------------------------------------------------------------------------


async def test_a_switch_in_the_middle_of_the_fetch_mixes_nothing(api: Api, papers: Path, proxy: VectorProxy) -> None:
    """The map is of the generation that it was begun with, whole, and says that another one serves now."""
    (first,) = await find_generations(api)
    rebuilt = await api.wait(await reindex(api, "papers", chunk_size=120, **REPORT_ONLY), seconds=SECONDS)
    (old,) = (await find_generations(api)).keys() - {first}
    async with api.parts.database.begin() as connection:
        found = await connection.execute(
            text("SELECT c.id FROM chunks c JOIN generations g ON g.id = c.generation_id WHERE g.name = :name"),
            {"name": old},
        )
        chunks = set(found.scalars())
    async with held_fetch(api, proxy, method="pca") as operation:
        # a rebuild would take as long as the store is waited for
        back = await api.wait(await roll_back(api, "papers"), seconds=SECONDS)
    assert (rebuilt["state"], back["state"]) == ("completed", "completed"), (rebuilt, back)
    ended = await api.wait(operation, seconds=SECONDS)

    assert ended["state"] == "completed", ended
    assert (await find_generations(api))[old] == "retired"
    shown = await read(api, f"/projections/{ended['result']['projection_id']}")
    assert (shown["generation"], shown["stale"]) == (old, "generation_changed")
    ids = np.fromfile(folder_of(api, ended["result"]) / "ids.bin", dtype="S16")
    assert {UUID(bytes=bytes(one).ljust(16, b"\0")) for one in ids.tolist()} == chunks
    assert len(ids) == len(chunks) == ended["result"]["points"] > 2 * PAGE


async def test_a_generation_that_goes_in_the_middle_of_the_fetch_is_named(
    api: Api, papers: Path, proxy: VectorProxy
) -> None:
    """The operation fails with a code of its own, and leaves nothing."""
    (name,) = await find_generations(api)
    async with held_fetch(api, proxy, method="pca") as operation:
        await api.parts.store.drop_collection(name)
    ended = await api.wait(operation, seconds=SECONDS)

    assert (ended["state"], ended["error_code"]) == ("failed", "projection_generation_dropped")
    assert list_folders(api) == []
    (listed,) = (await read(api, "/collections/papers/projections"))["projections"]
    assert listed["state"] == "failed"


# --- points that are no good -------------------------------------------------------------------------


async def put_points(api: Api, generation: str, points: list[dict[str, Any]]) -> None:
    """Write points behind everybody's back."""
    settings = api.parts.settings
    assert settings.qdrant_url is not None
    key = settings.qdrant_api_key
    headers = {"api-key": key.get_secret_value() if key else ""}
    async with httpx.AsyncClient(base_url=settings.qdrant_url, headers=headers, timeout=30) as client:
        path, params = f"/collections/{generation}/points", {"wait": "true"}
        answer = await client.put(path, params=params, json={"points": points})
    assert answer.is_success, answer.text


@pytest.mark.parametrize("method", ["umap", "pca"])
async def test_a_point_without_a_usable_vector_is_counted_and_put_aside(api: Api, papers: Path, method: str) -> None:
    """It is in the middle, trusted by nobody and near nobody; all others are where they belong."""
    (generation,) = await find_generations(api)
    async with api.parts.database.begin() as connection:
        chunk = (await connection.execute(text("SELECT id, document_id FROM chunks ORDER BY id LIMIT 1"))).one()
    payload = {"document_id": str(chunk.document_id)}
    await put_points(api, generation, [{"id": str(chunk.id), "vector": {}, "payload": payload}])

    result = await draw(api, method=method)

    folder = folder_of(api, result)
    trust = np.fromfile(folder / "trust.f32", dtype="<f4")
    neighbours = np.load(folder / "neighbours.npy")
    x = np.fromfile(folder / "x.f32", dtype="<f4")
    (row,) = np.flatnonzero(np.fromfile(folder / "ids.bin", dtype="S16") == np.array([chunk.id.bytes], dtype="S16"))
    others = np.delete(np.arange(len(x)), row)
    assert (result["invalid"], result["degraded"]) == (1, None)
    assert trust[row] == 0
    assert x[row] == pytest.approx(x[others].mean(), abs=1e-4)
    assert not (neighbours[others] == row).any()
    assert np.isfinite(x).all()


async def test_equal_vectors_are_drawn_in_a_plainer_way(api: Api, worker: None, tmp_path: Path) -> None:
    """Which is said: there is nothing that a layout could tell apart."""
    root = tmp_path / "equal"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.txt").write_text("The same words in every document.")
    await api.wait(await api.create("equal", root))

    result = await draw(api, "equal", method="umap")

    assert (result["points"], result["degraded"], result["laid_out_by"]) == (30, "equal_vectors", "pca")


# --- disks ---------------------------------------------------------------------------------------------


@pytest.fixture
def disk(settings: Settings) -> Iterator[Disk]:
    """A small disk for the files of projections."""
    with mounted_disk(settings.data / "projections", mebibytes=8) as disk:
        yield disk


@pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount a tmpfs: run as root with CAP_SYS_ADMIN")
async def test_a_full_disk_is_named_and_a_retry_completes(api: Api, disk: Disk, papers: Path) -> None:
    """Nothing is left of what was written until then."""
    disk.fill()
    operation = await ask(api, method="pca")
    failed = await api.wait(operation, seconds=SECONDS)
    left = list_folders(api)
    disk.make_room()
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",), seconds=SECONDS)

    assert (failed["state"], failed["error_code"], failed["retryable"]) == ("failed", "disk_full", True)
    assert left == []
    assert ended["result"]["points"] > 0
    assert (await api.client.get(f"/api/v1/projections/{ended['result']['projection_id']}/files/x.f32")).is_success


# --- cancels -------------------------------------------------------------------------------------------


async def cancel(api: Api, operation: dict[str, Any], *, kept: Sequence[Path] = ()) -> None:
    """Ask for it, and see that it ended so and left nothing but what was there before."""
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    ended = await api.wait(operation, seconds=30)
    assert ended["state"] == "cancelled", ended
    assert list_folders(api) == list(kept)


async def test_a_projection_that_fetches_is_cancelled(api: Api, papers: Path, proxy: VectorProxy) -> None:
    """While the vector store says nothing."""
    async with held_fetch(api, proxy, method="pca") as operation:
        await cancel(api, operation)


@pytest.mark.parametrize("table", ["chunks", "documents"])
async def test_a_projection_that_reads_texts_is_cancelled(
    api: Api, papers: Path, proxy: VectorProxy, table: str
) -> None:
    """While Postgres says nothing, before labels are made of chunks and before documents are told in files."""
    async with api.parts.database.begin() as connection:
        async with held_fetch(api, proxy, method="pca") as operation:
            await connection.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        await wait_until(lambda: _is_waiting(connection, table), seconds=SECONDS)
        await cancel(api, operation)


async def _is_waiting(connection: AsyncConnection, table: str) -> bool:
    """Whether somebody waits for a table that this transaction has; asking keeps the transaction from timing out."""
    statement = text(
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE NOT l.granted AND c.relname = :table"
    )
    return bool(await connection.scalar(statement, {"table": table}))


async def test_a_worker_that_stops_leaves_no_layout_behind(api: Api, tmp_path: Path, settings: Settings) -> None:
    """Its child ends with it; the next worker begins anew and completes."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS, seed=5)
    async with running_worker(api.parts):
        await api.wait(await api.create("papers", root))
        operation = await ask(api, method="umap", parameters={"epochs": 2000})
        (child,) = await wait_until(_find_layouts, seconds=SECONDS)
    assert not child.is_running()
    async with running_worker(api.parts):
        ended = await api.wait(operation, seconds=SECONDS)
    assert ended["state"] == "completed", ended
    assert len(list_folders(api)) == 1


async def _find_layouts() -> list[Any]:
    return [one for one in psutil.Process().children(recursive=True) if is_layout_process(one)]


async def list_events(api: Api, operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What an operation has told, each with its type."""
    stream = stream_key(api.parts.settings.redis_namespace, operation["operation_id"])
    told = [orjson.loads(next(iter(fields.values()))) for _, fields in await api.parts.redis.xrange(stream)]
    return [(one["type"], one["data"]) for one in told]


@pytest.fixture
async def drawn(api: Api, papers: Path) -> list[Path]:
    """What lies there of a map that was drawn before, in a child that now waits for its next call."""
    await draw(api, method="pca", dimensions=3)
    return list_folders(api)


async def test_a_projection_is_cancelled_at_its_first_map(
    api: Api, papers: Path, proxy: VectorProxy, drawn: list[Path]
) -> None:
    """The child that was asked for it is killed."""
    async with held_fetch(api, proxy, method="pca") as operation:
        (child,) = await _find_layouts()
        child.suspend()

    async def is_fetched() -> bool:
        told = [data for type_, data in await list_events(api, operation) if type_ == "projection_fetch_progress"]
        return bool(told) and told[-1]["fetched"] == told[-1]["total"]

    await wait_until(is_fetched, seconds=SECONDS)
    await cancel(api, operation, kept=drawn)
    assert not child.is_running()
    assert "projection_map" not in [type_ for type_, _ in await list_events(api, operation)]


async def test_a_projection_is_cancelled_while_it_is_explained(api: Api, papers: Path, drawn: list[Path]) -> None:
    """The child stands still from the layout's end on, so that it is in the middle of the next step."""
    operation = await ask(api, method="umap", parameters={"epochs": 2000})

    async def find_spans() -> Path | None:
        found = [folder / "spans.i32" for folder in set(list_folders(api)) - set(drawn)]
        return found[0] if found and found[0].exists() else None

    spans = await wait_until(find_spans, seconds=SECONDS)
    async with api.parts.database.begin() as connection:
        # chunks are read next when the layout is there
        await connection.execute(text("LOCK TABLE chunks IN ACCESS EXCLUSIVE MODE"))
        await wait_until(lambda: _is_waiting(connection, "chunks"), seconds=SECONDS)
        (child,) = await _find_layouts()
        child.suspend()
    sizes = [-1]

    async def is_written() -> bool:
        texts = spans.with_name("texts.jsonl")
        sizes.append(texts.stat().st_size if texts.exists() else 0)
        return sizes[-1] == sizes[-2] > 0

    await wait_until(is_written, seconds=SECONDS)
    await cancel(api, operation, kept=drawn)
    assert not child.is_running()
    stages = [data["stage"] for type_, data in await list_events(api, operation) if type_ == "projection_map"]
    assert stages[-1] == "layout"

"""Vectors that are made once, whoever asks for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.embedding_cache import EmbeddingCacheRepository, trim_embedding_cache
from app.domain.periodic import Round
from app.jobs.upkeep.embedding_cache import OldVectors
from app.pipeline.cache import EmbeddingCache
from app.settings import Settings
from tests.harness import Api
from tests.model_server import FakeModelServer

DIMENSION = 64
DOCUMENTS = 24


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server."""
    with FakeModelServer(dimension=DIMENSION).running() as running:
        yield running


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer, request: pytest.FixtureRequest) -> Settings:
    """Settings that use it; a test may set the size of the cache."""
    marker = request.node.get_closest_marker("parametrize")
    changes = {"embedding_url": server.url, "embedding_model": server.model}
    if marker is not None:
        changes |= {"embedding_cache_bytes": request.getfixturevalue("cache_bytes")}
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of short documents."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(DOCUMENTS):
        (root / f"{number:02}.txt").write_text(f"Entry {number} of the list of comets.")
    return root


def cache_of(parts: Parts, **changes: str) -> EmbeddingCache:
    """A cache of a model that nobody else has."""
    given = {"fingerprint": "ours", "prefix": "", **changes}
    return EmbeddingCache(parts.database, dimension=DIMENSION, **given)


def some_vectors(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Vectors of norm 1."""
    vectors = np.random.default_rng(7).normal(size=(count, DIMENSION)).astype(np.float32)
    units: np.ndarray[tuple[int, int], np.dtype[np.float32]] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


@pytest.mark.usefixtures("worker")
async def test_a_second_collection_costs_no_work_of_the_model(api: Api, many: Path, server: FakeModelServer) -> None:
    """The same texts in another collection come from the cache; the results say so, and verify finds nothing wrong."""
    first = await api.wait(await api.create("first", many))
    server.texts.clear()
    second = await api.wait(await api.create("second", many))
    sent = [sent for sent in server.texts if sent.startswith("Entry")]
    hits = await api.search("second", "Entry 7 of the list of comets.", mode="dense", limit=1)
    verify = {"kind": "VERIFY", "config": {"deep": True}}
    verified = await api.wait((await api.client.post("/api/v1/collections/second/operations", json=verify)).json())

    assert first["result"]["cache"] == {"hits": 0, "misses": DOCUMENTS, "hit_rate": 0.0}
    assert second["result"]["cache"] == {"hits": DOCUMENTS, "misses": 0, "hit_rate": 1.0}
    assert (second["result"]["tokens"], second["result"]["reused_chunks"]) == (0, DOCUMENTS)
    assert sent == []
    assert hits[0]["path"] == "07.txt"
    assert (verified["result"]["ok"], verified["result"]["wrong_count"]) == (True, 0), verified
    assert verified["result"]["reembedded"] == DOCUMENTS


@pytest.mark.usefixtures("worker")
async def test_a_damaged_row_does_not_spread(api: Api, many: Path, server: FakeModelServer) -> None:
    """A row with a flipped bit, a cut one and one under a wrong key are made anew and replaced."""
    await api.wait(await api.create("first", many))
    async with api.parts.database.begin() as connection:
        rows = (await connection.execute(text("SELECT key, vector FROM embedding_cache ORDER BY key LIMIT 3"))).all()
        flipped = bytes([rows[0].vector[0] ^ 64]) + rows[0].vector[1:]
        for key, vector in ((rows[0].key, flipped), (rows[1].key, rows[0].vector), (rows[2].key, b"short")):
            await connection.execute(
                text("UPDATE embedding_cache SET vector = :vector WHERE key = :key"), {"key": key, "vector": vector}
            )
    second = await api.wait(await api.create("second", many))
    async with api.parts.database.begin() as connection:
        rows_after = (await connection.execute(text("SELECT key, vector FROM embedding_cache"))).all()
    after: dict[bytes, bytes] = {row.key: row.vector for row in rows_after}
    verify = {"kind": "VERIFY", "config": {"deep": True}}
    verified = await api.wait((await api.client.post("/api/v1/collections/second/operations", json=verify)).json())

    assert second["result"]["cache"] == {"hits": DOCUMENTS - 3, "misses": 3, "hit_rate": 0.875}
    assert [after[row.key] for row in rows] == [row.vector for row in rows]
    assert (verified["result"]["ok"], verified["result"]["wrong_count"]) == (True, 0), verified


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("cache_bytes", [0])
async def test_a_size_of_zero_keeps_nothing(api: Api, many: Path, cache_bytes: int) -> None:
    """Nothing is looked up and nothing is written."""
    ended = await api.wait(await api.create("first", many))
    async with api.parts.database.begin() as connection:
        size = await EmbeddingCacheRepository(connection).size()

    assert ended["result"]["cache"] == {"hits": 0, "misses": 0, "hit_rate": 0.0}
    assert size == cache_bytes


@pytest.mark.usefixtures("worker")
async def test_the_built_in_model_is_not_cached(api: Api, many: Path) -> None:
    """Its vectors cost less than a look-up."""
    ended = await api.wait(await api.create("first", many, model="wordllama"))
    async with api.parts.database.begin() as connection:
        size = await EmbeddingCacheRepository(connection).size()

    assert ended["result"]["cache"] == {"hits": 0, "misses": 0, "hit_rate": 0.0}
    assert size == 0


async def test_what_is_kept_is_found_as_good_as_it_was(parts: Parts) -> None:
    """Half precision and norm 1, in the place of each text; texts that are no UTF-8 and equal ones are no trouble."""
    cache = cache_of(parts)
    texts = ["one", "two", "a \udcff b", "two"]
    vectors = some_vectors(4)
    vectors[3] = vectors[1]
    await cache.keep(texts, vectors)

    found = await cache.find(["none", *texts, "three"])

    assert found.keys() == {1, 2, 3, 4}
    for index, vector in enumerate(vectors, start=1):
        assert float(found[index] @ vector) > 0.999999
        assert abs(float(np.linalg.norm(found[index])) - 1) < 1e-6


async def test_another_model_or_prefix_finds_nothing(parts: Parts) -> None:
    """A vector belongs to a model as it is, to its prefix and to the exact text."""
    await cache_of(parts).keep(["one"], some_vectors(1))

    found = [
        await cache_of(parts, fingerprint="theirs").find(["one"]),
        await cache_of(parts, prefix="passage: ").find(["one"]),
        await cache_of(parts).find(["One", "one "]),
    ]

    assert found == [{}, {}, {}]


async def test_a_vector_that_is_not_of_norm_one_is_not_used(parts: Parts) -> None:
    """Also if its checksum is right."""
    cache = cache_of(parts)
    vectors = some_vectors(3)
    vectors[0] *= 3
    vectors[1] = 0
    await cache.keep(["long", "zero", "fine"], vectors)

    found = await cache.find(["long", "zero", "fine"])

    assert found.keys() == {2}


async def test_use_is_marked_once_a_day(parts: Parts) -> None:
    """A row that was not used today is marked, one that was is only read."""
    cache = cache_of(parts)
    await cache.keep(["one", "two"], some_vectors(2))
    await _age(parts, cache.key_of("one"), days=3)
    await cache.find(["one", "two"])
    async with parts.database.begin() as connection:
        marked = await connection.scalar(text("SELECT count(*) FROM embedding_cache WHERE used_on = current_date"))
        before = (await connection.execute(text("SELECT xmin::text FROM embedding_cache ORDER BY key"))).all()
    await cache.find(["one", "two"])
    async with parts.database.begin() as connection:
        after = (await connection.execute(text("SELECT xmin::text FROM embedding_cache ORDER BY key"))).all()

    assert marked == 2
    assert after == before


async def test_the_oldest_go_first_until_the_rest_fits(parts: Parts) -> None:
    """What was used lately stays; the size is that of rows, not of the file."""
    cache = cache_of(parts)
    texts = [f"text {number}" for number in range(100)]
    await cache.keep(texts, some_vectors(100))
    for number in range(50):
        await _age(parts, cache.key_of(f"text {number}"), days=2 + number)
    async with parts.database.begin() as connection:
        size = await EmbeddingCacheRepository(connection).size()

    dropped = await trim_embedding_cache(parts.database, max_bytes=size * 3 // 4)
    again = await trim_embedding_cache(parts.database, max_bytes=size * 3 // 4)
    found = await cache.find(texts)

    assert (dropped, again) == (25, 0)
    assert set(range(100)) - found.keys() == set(range(25, 50))


async def test_the_daily_job_trims(parts: Parts) -> None:
    """A dry run says by how much it is too large and drops nothing; a size of zero leaves nothing."""
    cache = cache_of(parts)
    await cache.keep(["one"], some_vectors(1))
    job = OldVectors(parts.database, max_bytes=0)
    would = await job.clean(Round(dry_run=True))
    before = await cache.find(["one"])
    did = await job.clean(Round())
    after = await cache.find(["one"])

    assert would["excess_bytes"] > 0
    assert before.keys() == {0}
    assert did["vectors"] == 1
    assert after == {}


async def _age(parts: Parts, key: bytes, *, days: int) -> None:
    async with parts.database.begin() as connection:
        await connection.execute(
            text("UPDATE embedding_cache SET used_on = current_date - CAST(:days AS int) WHERE key = :key"),
            {"key": key, "days": days},
        )

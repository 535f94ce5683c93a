"""Searches are remembered without being kept waiting: counted always, written down where a collection wants that."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import RowMapping, text

from app.bootstrap import EmbedderRegistry, Parts
from app.bootstrap.upkeep import list_periodic_jobs
from app.db.collections import CollectionRepository
from app.db.search_logs import FEWEST_PER_CALLER, SearchLogRepository
from app.domain.collections import GenerationState
from app.domain.errors import CollectionNotFoundError, DomainError
from app.domain.periodic import PeriodicJob, Round
from app.domain.points import SearchFilter, SearchMode
from app.domain.search_settings import SearchSettings
from app.domain.searches import ENTRIES_PER_DAY, SearchEntry
from app.embedders.http import HttpEmbedder
from app.operations.collections import IdentityService
from app.search.recorder import MANY, SearchRecorder, recording
from app.search.service import SearchService
from app.stores.qdrant import QdrantStore
from tests.harness import Api, wait_until

NOWHERE = "http://127.0.0.1:9"
ENTRIES = "SELECT * FROM search_log_entries ORDER BY id"
END_WAITING = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""
HEALTH = """SELECT coalesce(sum(searches), 0) AS searches, coalesce(sum(empty), 0) AS empty,
    coalesce(sum(failed), 0) AS failed, coalesce(sum(of_store), 0) AS of_store, coalesce(sum(of_model), 0) AS of_model
    FROM search_health"""


async def select(parts: Parts, sql: str, **values: object) -> Sequence[RowMapping]:
    """Rows from Postgres."""
    async with parts.database.begin() as connection:
        result = await connection.execute(text(sql), values)
        return result.mappings().all() if result.returns_rows else []


async def health_of(parts: Parts) -> dict[str, int]:
    """What became of all searches that are counted."""
    (row,) = await select(parts, HEALTH)
    return {name: int(value) for name, value in row.items()}


async def wait_for_rows(parts: Parts, count: int, *, sql: str = ENTRIES) -> Sequence[RowMapping]:
    """The rows, once there are so many."""

    async def there() -> Sequence[RowMapping] | None:
        rows = await select(parts, sql)
        return rows if len(rows) >= count else None

    rows: Sequence[RowMapping] = await wait_until(there)
    return rows


async def wait_for_searches(parts: Parts, count: int) -> dict[str, int]:
    """The counts, once so many searches are in them."""

    async def there() -> dict[str, int] | None:
        health = await health_of(parts)
        return health if health["searches"] >= count else None

    health: dict[str, int] = await wait_until(there)
    return health


async def put(api: Api, name: str, **body: object) -> dict[str, Any]:
    """Set the log of a collection; how it stands then."""
    answer = await api.client.put(f"/api/v1/collections/{name}/search-log", json=body)
    assert answer.status_code == 200, answer.text
    status: dict[str, Any] = answer.json()
    return status


async def get(api: Api, name: str) -> dict[str, Any]:
    """How it stands with the log of a collection."""
    status: dict[str, Any] = (await api.client.get(f"/api/v1/collections/{name}/search-log")).json()
    return status


def searches_of(parts: Parts, recorder: SearchRecorder, *, store: QdrantStore | None = None) -> SearchService:
    """Searches with the built-in model, remembered by a recorder."""
    registry = EmbedderRegistry(parts.settings, None)
    return SearchService(parts.database, store or parts.store, registry.find, recorder)


async def ask(service: SearchService, api: Api, query: str, *, mode: SearchMode = SearchMode.BM25) -> int:
    """Search the collection ``notes``; how many hits that gave."""
    answer = await service.search(
        api.user_id, "notes", query=query, settings=SearchSettings(mode=mode), limit=10, filter=SearchFilter(folders=())
    )
    return len(answer.hits)


def counted(outcome: str) -> float:
    """The metric."""
    return REGISTRY.get_sample_value("vecloom_searches_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def notes(api: Api, worker: None, folder: Path) -> str:
    """A small collection, indexed; gives its id."""
    await api.wait(await api.create("notes", folder))
    found: str = (await api.client.get("/api/v1/collections/notes")).json()["id"]
    return found


# --- over HTTP ----------------------------------------------------------------------------------


async def test_nothing_is_written_down_unless_it_is_wanted(api: Api, parts: Parts, notes: str) -> None:
    """A new collection has no log; that there were searches is counted all the same."""
    await api.search("notes", "whales")
    health = await wait_for_searches(parts, 1)
    status = await get(api, "notes")

    assert health == {"searches": 1, "empty": 0, "failed": 0, "of_store": 0, "of_model": 0}
    assert await select(parts, ENTRIES) == []
    assert (status["enabled"], status["share"], status["keep_days"], status["since"]) == (False, None, None, None)
    assert (status["collection"], status["collection_id"], status["entries"]) == ("notes", notes, 0)


async def test_a_log_says_what_was_asked(api: Api, parts: Parts, notes: str) -> None:
    """Query, mode, limit, hits, time and generation; the user as a hash that tells nobody who it is."""
    begun = await put(api, "notes")
    hits = await api.search("notes", "whales", mode="bm25", limit=3)
    await api.search("notes", "mail jo@example.com, password=hunter2hunter2", mode="hybrid")
    first, second = await wait_for_rows(parts, 2)
    (generation,) = await select(parts, "SELECT id, now() AS now FROM generations")
    status = await get(api, "notes")

    assert (begun["enabled"], begun["share"], begun["keep_days"], begun["entries"]) == (True, 1.0, 30, 0)
    assert (first["query"], first["mode"], first["most_hits"], first["hits"]) == ("whales", "bm25", 3, len(hits))
    assert first["generation_id"] == generation["id"]
    assert first["took_ms"] > 0
    assert 0 <= (generation["now"] - first["at"]).total_seconds() < 60
    assert second["query"] == "mail <email>, password=<secret>"
    assert first["caller"] == second["caller"]
    assert api.user_id.bytes not in first["caller"]
    assert len(first["caller"]) == 16
    assert {name: status[name] for name in ("entries", "queries", "callers")} == {
        "entries": 2,
        "queries": 2,
        "callers": 1,
    }
    assert status["newest"] >= status["oldest"]


@pytest.mark.usefixtures("notes")
async def test_logs_do_not_tell_that_two_users_are_the_same(api: Api, parts: Parts, folder: Path) -> None:
    """Each log hashes with a key of its own, also one that was ended and begun again; a change keeps it."""
    await api.wait(await api.create("more", folder))
    await put(api, "notes")
    await put(api, "more")
    await api.search("notes", "whales")
    await api.search("more", "whales")
    of_two = await wait_for_rows(parts, 2)
    await put(api, "notes", keep_days=7)
    await api.search("notes", "rockets")
    of_three = await wait_for_rows(parts, 3)
    await api.client.delete("/api/v1/collections/notes/search-log")
    await put(api, "notes")
    await api.search("notes", "bread")
    again = await wait_for_rows(parts, 2)

    first, other, changed, anew = of_two[0], of_two[1], of_three[2], again[1]
    assert first["caller"] == changed["caller"]
    assert len({first["caller"], other["caller"], anew["caller"]}) == 3


@pytest.mark.usefixtures("notes")
async def test_a_share_of_nothing_writes_nothing(api: Api, parts: Parts) -> None:
    """The share is that of the searches; chance chooses them."""
    await put(api, "notes", share=0)
    for _ in range(5):
        await api.search("notes", "whales")
    await wait_for_searches(parts, 5)
    none = await select(parts, ENTRIES)
    await put(api, "notes", share=0.5)
    for _ in range(60):
        await api.search("notes", "whales", mode="bm25")
    await wait_for_searches(parts, 65)
    half = len(await select(parts, ENTRIES))

    assert none == []
    # outside of this by chance once in 10 million times
    assert 9 <= half <= 51


@pytest.mark.parametrize(
    "body",
    [{"share": -0.1}, {"share": 1.1}, {"share": "NaN"}, {"keep_days": 0}, {"keep_days": 91}, {"days": 3}],
)
async def test_a_wrong_log_is_refused(api: Api, folder: Path, body: dict[str, object]) -> None:
    """What is asked for is checked; nothing is changed."""
    await api.create("notes", folder)

    answer = await api.client.put("/api/v1/collections/notes/search-log", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert not (await get(api, "notes"))["enabled"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_log_is_its_owners_alone(api: Api, folder: Path, method: str) -> None:
    """Somebody else does not learn that there is such a collection."""
    await api.create("notes", folder)
    key = await IdentityService(api.parts.database).issue_key("somebody else", name="test")

    answer = await api.client.request(
        method, "/api/v1/collections/notes/search-log", headers={"Authorization": f"Bearer {key}"}, json={}
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_found")


@pytest.mark.usefixtures("notes")
async def test_a_log_that_is_ended_is_deleted(api: Api, parts: Parts) -> None:
    """With its key; that it was begun and ended stays in the audit log."""
    await put(api, "notes", share=1, keep_days=3)
    await api.search("notes", "whales")
    await wait_for_rows(parts, 1)
    ended = await api.client.delete("/api/v1/collections/notes/search-log")
    twice = await api.client.delete("/api/v1/collections/notes/search-log")
    await api.search("notes", "whales")
    await wait_for_searches(parts, 2)
    audit = (await api.client.get("/api/v1/audit", params={"collection": "notes"})).json()["entries"]

    assert (ended.status_code, ended.json()["enabled"], ended.json()["entries"]) == (200, False, 0)
    assert twice.json() == ended.json()
    assert await select(parts, ENTRIES) == await select(parts, "SELECT * FROM search_logs") == []
    changes = [(entry["action"], entry["after"]) for entry in audit if entry["action"].startswith("search_log")]
    assert changes == [
        ("search_log.unset", None),
        ("search_log.unset", None),
        ("search_log.set", {"share": 1.0, "keep_days": 3}),
    ]


@pytest.mark.usefixtures("notes")
async def test_a_deleted_collection_takes_its_log_along(api: Api, parts: Parts) -> None:
    """What was asked, and what became of it."""
    await put(api, "notes")
    await api.search("notes", "whales")
    await wait_for_rows(parts, 1)
    deleted = (await api.client.delete("/api/v1/collections/notes")).json()
    await api.wait(deleted)

    assert await select(parts, ENTRIES) == await select(parts, "SELECT * FROM search_logs") == []
    assert await health_of(parts) == dict.fromkeys(["searches", "empty", "failed", "of_store", "of_model"], 0)


async def test_statistics_say_what_became_of_searches(api: Api, parts: Parts, notes: str) -> None:
    """Those of the last week, of all generations."""
    for query in ("whales", "rockets", "zzzz"):
        await api.search("notes", query, mode="bm25")
    await wait_for_searches(parts, 3)
    await select(
        parts,
        """INSERT INTO search_health SELECT generation_id, minute - make_interval(days => n), 10, 0, 0, 0, 0, 100
           FROM search_health, unnest(ARRAY[2, 8]) n""",
    )
    stats = (await api.client.get("/api/v1/collections/notes/stats")).json()["searches"]

    assert {name: stats[name] for name in ("days", "searches", "empty", "failed")} == {
        "days": 7,
        "searches": 13,
        "empty": 1,
        "failed": 0,
    }
    assert stats["average_ms"] > 0


# --- what became of them ------------------------------------------------------------------------


@pytest.mark.usefixtures("notes")
async def test_every_search_is_counted_by_what_became_of_it(api: Api, parts: Parts) -> None:
    """Hits, none, a store or a model that is away, what is broken; what the caller has done wrong is no failure."""
    recorder = SearchRecorder(parts.database)
    well = searches_of(parts, recorder)
    away = QdrantStore(NOWHERE, api_key=None)
    model = HttpEmbedder(NOWHERE, model="wordllama", api_key=None, timeout_seconds=1)
    before = {outcome: counted(outcome) for outcome in ("hits", "empty", "failed")}
    found = await ask(well, api, "whales")
    nothing = await ask(well, api, "zzzz")
    with pytest.raises(CollectionNotFoundError):
        await well.search(
            api.user_id,
            "other",
            query="x",
            settings=SearchSettings(mode=SearchMode.BM25),
            limit=1,
            filter=SearchFilter(folders=()),
        )
    codes = []
    for service in (
        searches_of(parts, recorder, store=away),
        SearchService(parts.database, parts.store, lambda _: model, recorder),
    ):
        with pytest.raises(DomainError) as caught:
            await ask(service, api, "whales", mode=SearchMode.DENSE)
        codes.append(caught.value.code)
    (generation,) = await select(parts, "SELECT name FROM generations")
    await parts.store.drop_collection(generation["name"])
    with pytest.raises(DomainError) as caught:
        await ask(well, api, "whales")
    codes.append(caught.value.code)
    uncounted = await health_of(parts)
    await recorder.flush()
    health = await health_of(parts)
    await recorder.flush()
    await away.aclose()
    await model.aclose()

    assert (found, nothing) == (1, 0)
    assert codes == ["vector_store_unavailable", "embedder_unavailable", "generation_missing"]
    assert uncounted["searches"] == 0
    assert health == {"searches": 5, "empty": 1, "failed": 3, "of_store": 1, "of_model": 1}
    assert await health_of(parts) == health
    assert {outcome: counted(outcome) - before[outcome] for outcome in before} == {"hits": 1, "empty": 1, "failed": 3}


@pytest.mark.usefixtures("worker")
async def test_a_collection_without_documents_has_no_empty_answers(api: Api, parts: Parts, tmp_path: Path) -> None:
    """There is nothing to find in it."""
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    await api.wait(await api.create("notes", nothing))
    await api.search("notes", "whales")

    assert await wait_for_searches(parts, 1) == {"searches": 1, "empty": 0, "failed": 0, "of_store": 0, "of_model": 0}


@pytest.mark.usefixtures("notes")
async def test_processes_add_up(api: Api, parts: Parts) -> None:
    """Several recorders at once, over several collections: no search is lost, and none waits for the other."""
    recorders = [SearchRecorder(parts.database) for _ in range(4)]
    for recorder in recorders:
        service = searches_of(parts, recorder)
        for _ in range(5):
            await ask(service, api, "whales")
    async with asyncio.TaskGroup() as group:
        for recorder in recorders:
            group.create_task(recorder.flush())

    assert (await health_of(parts))["searches"] == 20
    assert len(await select(parts, "SELECT * FROM search_health")) <= 2


# --- searches do not wait -----------------------------------------------------------------------


@pytest.mark.usefixtures("notes")
async def test_a_search_does_not_wait_for_its_log(api: Api, parts: Parts) -> None:
    """While Postgres does not take entries, searches are answered; the oldest entries give way, and are counted."""
    await put(api, "notes")
    recorder = SearchRecorder(parts.database, most_waiting=3)
    service = searches_of(parts, recorder)
    dropped = REGISTRY.get_sample_value("vecloom_search_log_dropped_total") or 0.0
    async with parts.database.begin() as connection:
        await connection.execute(text("LOCK TABLE search_log_entries IN ACCESS EXCLUSIVE MODE"))
        await ask(service, api, "first")
        flushing = asyncio.create_task(recorder.flush())
        hits = [await ask(service, api, f"whales {number}") for number in range(5)]
        was_waiting = not flushing.done()
    await flushing
    await recorder.flush()

    rows = await select(parts, ENTRIES)
    assert was_waiting
    assert hits == [1] * 5
    assert [row["query"] for row in rows] == ["first", "whales 2", "whales 3", "whales 4"]
    assert (REGISTRY.get_sample_value("vecloom_search_log_dropped_total") or 0.0) - dropped == 2
    assert (await health_of(parts))["searches"] == 6


@pytest.mark.usefixtures("notes")
async def test_what_postgres_does_not_take_waits(api: Api, parts: Parts) -> None:
    """A session that ends while entries are written loses none of them, and counts none twice."""
    await put(api, "notes")
    recorder = SearchRecorder(parts.database)
    service = searches_of(parts, recorder)
    await ask(service, api, "whales")
    async with parts.database.begin() as connection:
        await connection.execute(text("LOCK TABLE search_log_entries IN ACCESS EXCLUSIVE MODE"))
        flushing = asyncio.create_task(recorder.flush())
        ended = await wait_for_rows(parts, 1, sql=END_WAITING)
        await flushing
    lost = await health_of(parts)
    await ask(service, api, "rockets")
    await recorder.flush()

    assert (len(ended), lost["searches"]) == (1, 0)
    assert [row["query"] for row in await select(parts, ENTRIES)] == ["whales", "rockets"]
    assert (await health_of(parts))["searches"] == 2


@pytest.mark.usefixtures("notes")
async def test_what_waits_is_written_at_the_end(api: Api, parts: Parts) -> None:
    """A process that ends writes what it has; many entries are written before their second is over."""
    await put(api, "notes")
    async with recording(parts.database) as recorder:
        service = searches_of(parts, recorder)
        for number in range(MANY):
            await ask(service, api, f"whales {number}")
        many = await wait_for_rows(parts, MANY)
        await ask(service, api, "the last one")
    rows = await select(parts, ENTRIES)

    assert len(many) == MANY
    assert rows[-1]["query"] == "the last one"


@pytest.mark.usefixtures("notes")
async def test_a_process_does_not_wait_for_its_log_to_end(api: Api, parts: Parts) -> None:
    """What Postgres does not take in time is lost then, and nothing of it is left half written."""
    await put(api, "notes")
    async with parts.database.begin() as connection:
        await connection.execute(text("LOCK TABLE search_log_entries IN ACCESS EXCLUSIVE MODE"))
        async with recording(parts.database, close_seconds=0.2) as recorder:
            await ask(searches_of(parts, recorder), api, "whales")

    assert await select(parts, ENTRIES) == []
    assert (await health_of(parts))["searches"] == 0


@pytest.mark.usefixtures("notes")
async def test_a_log_that_is_ended_meanwhile_takes_nothing(api: Api, parts: Parts) -> None:
    """Entries that wait for whoever ends the log are not written after it; the counts are."""
    await put(api, "notes")
    recorder = SearchRecorder(parts.database)
    await ask(searches_of(parts, recorder), api, "whales")
    async with parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM search_logs"))
        flushing = asyncio.create_task(recorder.flush())
        (_, waiting) = await asyncio.wait({flushing}, timeout=0.3)
    await flushing

    assert waiting
    assert await select(parts, ENTRIES) == []
    assert (await health_of(parts))["searches"] == 1


@pytest.mark.usefixtures("notes")
async def test_long_queries_are_cut_at_a_word(api: Api, parts: Parts) -> None:
    """Half a word might be half a secret; one that is nothing but a long word is left out."""
    await put(api, "notes")
    recorder = SearchRecorder(parts.database)
    service = searches_of(parts, recorder)
    await ask(service, api, f"{'whales ' * 142}jo@example.com {'x' * 500}")
    await ask(service, api, "x" * 2000)
    await ask(service, api, "y" * 1000)
    await recorder.flush()

    queries = [row["query"] for row in await select(parts, ENTRIES)]
    assert queries == [("whales " * 142).strip(), "y" * 1000]


@pytest.mark.usefixtures("notes")
async def test_a_log_has_an_end(api: Api, parts: Parts) -> None:
    """A day has so many entries at most; tomorrow there is room again."""
    await put(api, "notes")
    recorder = SearchRecorder(parts.database)
    service = searches_of(parts, recorder)
    await select(parts, "UPDATE search_logs SET day = current_date, today = :today", today=ENTRIES_PER_DAY - 1)
    await ask(service, api, "the last one")
    await recorder.flush()
    full = await get(api, "notes")
    await ask(service, api, "one too many")
    await recorder.flush()
    await select(parts, "UPDATE search_logs SET day = current_date - 1")
    room = await get(api, "notes")
    await ask(service, api, "tomorrow")
    await recorder.flush()

    assert (full["full_today"], room["full_today"]) == (True, False)
    assert [row["query"] for row in await select(parts, ENTRIES)] == ["the last one", "tomorrow"]
    assert [row["today"] for row in await select(parts, "SELECT today FROM search_logs")] == [1]


# --- what is made of them -----------------------------------------------------------------------


async def write(parts: Parts, collection_id: str, *asked: tuple[str, str]) -> None:
    """Write searches down, oldest first: who asked, and what."""
    async with parts.database.begin() as connection:
        generation = await CollectionRepository(connection).find_generation(UUID(collection_id), GenerationState.ACTIVE)
        now = time.monotonic()
        entries = [
            SearchEntry(
                collection_id=UUID(collection_id),
                generation_id=generation.id if generation else uuid4(),
                caller=caller.encode(),
                query=query,
                mode=SearchMode.HYBRID,
                limit=10,
                hits=1,
                took_ms=1.0,
                at=now - (len(asked) - number) * 1e-5,
            )
            for number, (caller, query) in enumerate(asked)
        ]
        await SearchLogRepository(connection).add(entries, now=now)


async def recent(parts: Parts, collection_id: str, limit: int) -> list[str]:
    """The queries that a rebuild is tried with."""
    async with parts.database.begin() as connection:
        return await SearchLogRepository(connection).list_recent_queries(UUID(collection_id), limit)


async def test_recent_queries_are_different_ones_newest_first(api: Api, parts: Parts, notes: str) -> None:
    """A query that was asked again stands where it was asked last; one user may fill them alone."""
    await put(api, "notes")
    await write(parts, notes, ("a", "one"), ("a", "two"), ("b", "one"), ("a", "three"))
    few = await recent(parts, notes, 2)
    all_of_them = await recent(parts, notes, 50)
    await write(parts, notes, *[("a", f"more {number}") for number in range(50)])
    full = await recent(parts, notes, 40)

    assert few == ["three", "one"]
    assert all_of_them == ["three", "one", "two"]
    assert len(full) == 21
    assert full[:20] == [f"more {number}" for number in range(49, 29, -1)]
    assert await recent(parts, str(uuid4()), 10) == []


async def test_nobody_fills_the_queries_while_others_ask(api: Api, parts: Parts, notes: str) -> None:
    """Each user has an equal part at most; of a small number some all the same."""
    await put(api, "notes")
    await write(parts, notes, *[(user, f"{user}{number}") for user in "bcd" for number in range(4)])
    await write(parts, notes, *[("a", f"a{number}") for number in range(100)])
    of_forty, of_eight = await recent(parts, notes, 40), await recent(parts, notes, 8)
    await select(parts, "DELETE FROM search_log_entries WHERE caller <> 'a'")
    alone = await recent(parts, notes, 40)

    assert [query[0] for query in of_forty] == ["a"] * 10 + ["d"] * 4 + ["c"] * 4 + ["b"] * 4
    assert [query[0] for query in of_eight] == ["a"] * FEWEST_PER_CALLER + ["d"] * 3
    assert alone == [f"a{number}" for number in range(99, 59, -1)]


def cleanup(parts: Parts) -> PeriodicJob:
    """The periodic job."""
    return next(job for job in list_periodic_jobs(parts) if job.name == "cleanup_search_log")


async def test_old_entries_go_as_each_log_says(api: Api, parts: Parts, notes: str, folder: Path) -> None:
    """And minutes of more than a week ago; a dry run only counts them. What waits to go is no recent query."""
    await api.create("more", folder)
    other = (await api.client.get("/api/v1/collections/more")).json()["id"]
    await put(api, "notes", keep_days=3)
    await put(api, "more", keep_days=30)
    for collection in (notes, other):
        await write(parts, collection, ("a", "new"), ("a", "old"))
    await select(parts, "UPDATE search_log_entries SET at = at - interval '5 days' WHERE query = 'old'")
    await api.search("notes", "whales")
    await wait_for_searches(parts, 1)
    await wait_for_rows(parts, 5)
    await select(
        parts,
        """INSERT INTO search_health SELECT generation_id, minute - make_interval(days => n), 1, 0, 0, 0, 0, 1
           FROM search_health, unnest(ARRAY[6, 8, 9]) n""",
    )
    queries = await recent(parts, notes, 10)
    would = await cleanup(parts).work(Round(dry_run=True))
    untouched = len(await select(parts, ENTRIES))
    did = await cleanup(parts).work(Round())
    again = await cleanup(parts).work(Round())

    left = [(str(row["collection_id"]), row["query"]) for row in await select(parts, ENTRIES)]
    assert queries == ["whales", "new"]
    assert would == did == {"entries": 1, "minutes": 2}
    assert untouched == 5
    assert again == {"entries": 0, "minutes": 0}
    assert sorted(left) == sorted([(notes, "new"), (notes, "whales"), (other, "new"), (other, "old")])
    assert (await health_of(parts))["searches"] == 2

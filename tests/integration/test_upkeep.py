"""What crashes and time leave behind is cleaned up: real orphans in the real Postgres, Valkey and vector server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.collections import CollectionRepository
from app.db.leftovers import DropRules, generation_name, read_marker
from app.domain.errors import GenerationDroppedError
from app.domain.periodic import Round
from app.domain.points import PointBatch
from app.jobs.upkeep.generations import OldGenerations
from app.jobs.upkeep.operations import OldOperations
from app.jobs.upkeep.orphans import OrphanChunks
from app.jobs.upkeep.progress import ProgressKeeper
from app.progress.events import stream_key
from app.progress.keys import ProgressKeys
from tests.harness import Api

DAY = 86_400.0
RULES = DropRules(window=DAY, delay_base=300, delay_per_10k=60, delay_most=1800, grace=DAY)
DRY = Round(dry_run=True)


async def change(parts: Parts, sql: str, **values: object) -> None:
    """Let time go by, or lose what a crash loses."""
    async with parts.database.begin() as connection:
        await connection.execute(text(sql), values)


async def count(parts: Parts, sql: str, **values: object) -> int:
    """A number from Postgres."""
    async with parts.database.begin() as connection:
        return int(await connection.scalar(text(sql), values) or 0)


async def marker_of(parts: Parts) -> str:
    """The marker of this test's database."""
    async with parts.database.begin() as connection:
        return await read_marker(connection)


@asynccontextmanager
async def made(parts: Parts, *names: str) -> AsyncIterator[None]:
    """Physical collections with a point each, gone at the end."""
    try:
        for name in names:
            await parts.store.create_collection(name, dimension=2)
            vectors = np.ones((1, 2), dtype=np.float32)
            point = {"document_id": str(uuid4()), "source_id": "", "file_type": "", "folders": []}
            await parts.store.upsert(
                name, PointBatch(ids=[uuid4()], vectors=vectors, texts=["a whale"], payloads=[point])
            )
        yield
    finally:
        for name in names:
            await parts.store.drop_collection(name)


async def listed(parts: Parts, *names: str) -> set[str]:
    """Those of these that the vector store has."""
    return set(await parts.store.list_collections()).intersection(names)


async def generation_of(parts: Parts, name: str) -> str:
    """Name of the generation of a collection."""
    async with parts.database.begin() as connection:
        found = await connection.scalar(
            text("SELECT g.name FROM generations g JOIN collections c ON c.id = g.collection_id WHERE c.name = :name"),
            {"name": name},
        )
    return str(found)


# --- generations --------------------------------------------------------------------------------


@pytest.mark.usefixtures("worker")
async def test_what_no_row_knows_goes_after_a_day(api: Api, parts: Parts, folder: Path) -> None:
    """First it is only noted; a dry run neither notes nor drops. What a row knows stays, whatever its age."""
    await api.wait(await api.create("notes", folder))
    known = await generation_of(parts, "notes")
    orphan = generation_name(await marker_of(parts), uuid4(), uuid4())
    job = OldGenerations(parts.database, parts.store, RULES)
    async with made(parts, orphan):
        would_note = await job.clean(DRY)
        noted_by_dry_run = await count(parts, "SELECT count(*) FROM unknown_collections")
        at_first = await job.clean(Round())
        await change(parts, "UPDATE unknown_collections SET first_seen_at = now() - interval '25 hours'")
        would = await job.clean(DRY)
        before = await listed(parts, orphan, known)
        did = await job.clean(Round())
        after = await listed(parts, orphan, known)

    assert (would_note["waiting"], noted_by_dry_run) == (1, 0)
    assert (at_first["waiting"], at_first["unknown"]) == (1, 0)
    assert (would["unknown"], would["names"]) == (1, [orphan])
    assert before == {orphan, known}
    assert (did["unknown"], did["names"]) == (1, [orphan])
    assert after == {known}
    assert await count(parts, "SELECT count(*) FROM unknown_collections") == 0
    assert await api.search("notes", "whales")


async def test_what_belongs_to_others_is_never_touched(parts: Parts) -> None:
    """Similar names, names of another installation, names from before the marker, and what an alias protects."""
    marker, collection, generation = await marker_of(parts), uuid4(), uuid4()
    name = generation_name(marker, collection, generation)
    others = [
        generation_name("f" * 10 if marker != "f" * 10 else "0" * 10, collection, generation),
        f"vecloom_{collection.hex}_{generation.hex[:12]}",
        f"{name}_copy",
        f"my_{name}",
        name.upper(),
        f"vecloom_{marker}_{collection.hex}",
        f"vecloom_{marker}_notes",
        f"vecloom_diagnosis_{generation.hex[:12]}",
    ]
    others = [other[:80] for other in others]
    protected, alias = generation_name(marker, uuid4(), uuid4()), f"mine_{uuid4().hex[:12]}"
    job = OldGenerations(parts.database, parts.store, RULES)
    async with made(parts, *others, protected):
        await parts.store.set_alias(alias, to=protected)
        await job.clean(Round())
        await change(parts, "UPDATE unknown_collections SET first_seen_at = now() - interval '1 year'")
        did = await job.clean(Round())
        left = await listed(parts, *others, protected)

    assert left == {*others, protected}
    assert (did["names"], did["protected"]) == ([], 1)
    assert did["of_others"] >= 5


async def test_a_copy_of_the_database_owns_nothing_of_the_original(parts: Parts) -> None:
    """Restored elsewhere it has the original's rows, and another marker."""
    original = await marker_of(parts)
    await change(parts, "UPDATE installations SET place = 'elsewhere'")
    orphan = generation_name(original, uuid4(), uuid4())
    job = OldGenerations(parts.database, parts.store, RULES)
    async with made(parts, orphan):
        await job.clean(Round())
        await change(parts, "UPDATE unknown_collections SET first_seen_at = now() - interval '1 year'")
        await job.clean(Round())
        left = await listed(parts, orphan)

    assert await marker_of(parts) != original
    assert left == {orphan}


@pytest.mark.usefixtures("worker")
async def test_a_replaced_generation_goes_after_its_time(api: Api, parts: Parts, folder: Path) -> None:
    """Its window to roll back counts from when it was replaced; its chunks go too, and nothing of the active one."""
    await api.wait(await api.create("notes", folder))
    active = await generation_of(parts, "notes")
    old = generation_name(await marker_of(parts), uuid4(), uuid4())
    await change(
        parts,
        """INSERT INTO generations (id, collection_id, name, state, model, dimension, fingerprint, canaries, chunking,
               retired_at)
           SELECT gen_random_uuid(), collection_id, :old, 'retired', model, dimension, fingerprint, canaries, chunking,
               now() - interval '23 hours' FROM generations""",
        old=old,
    )
    await change(
        parts,
        """INSERT INTO chunks SELECT c.collection_id, g.id, gen_random_uuid(), c.document_id, c.ordinal, c.start_char,
               c.end_char, c.tokens, c.text FROM chunks c, generations g, generate_series(1, 10) WHERE g.name = :old""",
        old=old,
    )
    job, orphans = OldGenerations(parts.database, parts.store, RULES), OrphanChunks(parts.database, chunks_per_batch=7)
    chunks = await count(parts, "SELECT count(*) FROM chunks")
    async with made(parts, old):
        too_early = await job.clean(Round())
        keeps_chunks = await orphans.clean(Round())
        drop_after = await count(
            parts, "SELECT round(extract(epoch FROM drop_after - retired_at)) FROM generations WHERE name = :n", n=old
        )
        await change(parts, "UPDATE generations SET drop_after = now() - interval '1 minute' WHERE name = :n", n=old)
        would = await job.clean(DRY)
        did = await job.clean(Round())
        left = await listed(parts, old, active)
    would_delete = await orphans.clean(DRY)
    deleted = await orphans.clean(Round())

    assert (too_early["retired"], keeps_chunks["chunks"], drop_after) == (0, 0, DAY)
    assert (would["retired"], did["retired"], did["names"]) == (1, 1, [old])
    assert left == {active}
    assert would_delete["chunks"] == deleted["chunks"] == chunks * 10 // 11
    assert await api.assert_consistent("notes") == chunks // 11


@pytest.mark.usefixtures("worker")
async def test_a_crash_between_row_and_store_leaves_nothing(api: Api, parts: Parts, folder: Path) -> None:
    """A generation that is dropped in Postgres and still in the vector store goes at once, as often as it takes."""
    await api.wait(await api.create("notes", folder))
    dropped = generation_name(await marker_of(parts), uuid4(), uuid4())
    await change(
        parts,
        """INSERT INTO generations (id, collection_id, name, state, model, dimension, fingerprint, canaries, chunking)
           SELECT gen_random_uuid(), collection_id, :name, 'dropped', model, dimension, fingerprint, canaries, chunking
           FROM generations""",
        name=dropped,
    )
    job = OldGenerations(parts.database, parts.store, RULES)
    async with made(parts, dropped):
        did = await job.clean(Round())
        left = await listed(parts, dropped)
    again = await job.clean(Round())

    assert (did["leftover"], left) == (1, set())
    assert again["leftover"] == 0


async def test_a_generation_that_nobody_builds_is_given_up(api: Api, parts: Parts, folder: Path) -> None:
    """Not while an operation of its collection waits or has ended within a day; after that nobody can activate it."""
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(api.user_id, "notes")
        building = await collections.add_generation(collection, dimension=2, fingerprint="f", canaries=b"")
    await change(parts, "UPDATE generations SET created_at = now() - interval '2 days'")
    job = OldGenerations(parts.database, parts.store, RULES)
    async with made(parts, building.name):
        while_it_waits = await job.clean(Round())
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
        just_ended = await job.clean(Round())
        await change(parts, "UPDATE operations SET finished_at = now() - interval '2 days'")
        long_ended = await job.clean(Round())
        left = await listed(parts, building.name)

    assert [while_it_waits["given_up"], just_ended["given_up"], long_ended["given_up"]] == [0, 0, 1]
    assert left == set()
    with pytest.raises(GenerationDroppedError):
        async with parts.database.begin() as connection:
            await CollectionRepository(connection).activate(building)


async def test_chunks_without_a_collection_go(parts: Parts) -> None:
    """Also many of them, in small transactions; a round that has done enough leaves the rest to the next."""
    await change(
        parts,
        """INSERT INTO chunks (collection_id, generation_id, id, document_id, ordinal, start_char, end_char, tokens,
               text)
           SELECT c, c, gen_random_uuid(), gen_random_uuid(), 0, 0, 1, 1, 'x'
           FROM (SELECT gen_random_uuid() AS c FROM generate_series(1, 250)) of, generate_series(1, 4)""",
    )
    would = await OrphanChunks(parts.database).clean(DRY)
    first = await OrphanChunks(parts.database, chunks_per_batch=3, most_batches=100).clean(Round())
    second = await OrphanChunks(parts.database).clean(Round())

    assert (would["generations"], would["chunks"]) == (250, 1000)
    assert (first["complete"], first["chunks"]) == (False, 200)
    assert (second["complete"], second["chunks"]) == (True, 800)
    assert await count(parts, "SELECT count(*) FROM chunks") == 0


# --- operations and their events ----------------------------------------------------------------


@pytest.mark.usefixtures("worker")
async def test_operations_of_last_month_go(api: Api, parts: Parts, folder: Path) -> None:
    """With their sums and their events; what finished yesterday stays, and so does what it brought in."""
    old, new = await api.wait(await api.create("notes", folder)), await api.wait(await api.append("notes"))
    await change(
        parts, "UPDATE operations SET finished_at = now() - interval '31 days' WHERE id = :id", id=old["operation_id"]
    )
    keys = [stream_key(parts.settings.redis_namespace, each["operation_id"]) for each in (old, new)]
    job = OldOperations(parts.database, parts.events, days=30)
    would = await job.clean(DRY)
    before = [await parts.redis.exists(key) for key in keys]
    did = await job.clean(Round())
    after = [await parts.redis.exists(key) for key in keys]

    assert (would["operations"], did["operations"]) == (1, 1)
    assert (before, after) == ([1, 1], [0, 1])
    assert (await api.get(old))["code"] == "operation_not_found"
    assert (await api.get(new))["state"] == "completed"
    assert (
        await count(parts, "SELECT count(*) FROM operation_totals WHERE operation_id = :id", id=old["operation_id"])
        == 0
    )
    assert await api.assert_consistent("notes") > 0


async def test_many_old_operations_go_in_small_transactions(api: Api, parts: Parts) -> None:
    """Unfinished ones stay, however old."""
    await change(
        parts,
        """INSERT INTO operations (id, user_id, kind, state, writes, config, created_at, finished_at)
           SELECT gen_random_uuid(), :user, 'PLAN', CASE WHEN n % 4 = 0 THEN 'pending' ELSE 'failed' END, false, '{}',
               now() - interval '1 year', CASE WHEN n % 4 > 0 THEN now() - interval '1 year' END
           FROM generate_series(1, 1600) n""",
        user=api.user_id,
    )
    did = await OldOperations(parts.database, parts.events, days=30).clean(Round())

    assert did["operations"] == 1200
    assert await count(parts, "SELECT count(*) FROM operations WHERE state = 'pending'") == 400


async def test_no_stream_stays_for_ever(api: Api, parts: Parts, folder: Path) -> None:
    """One without an expiry gets one, one whose operation is deleted goes, and keys of others are not touched."""
    operation = await api.create("notes", folder)
    namespace = parts.settings.redis_namespace
    kept, orphan, strange = (
        stream_key(namespace, name) for name in (operation["operation_id"], str(uuid4()), "no-operation")
    )
    foreign = stream_key(f"{namespace}x", str(uuid4()))
    for key in (kept, orphan, strange, foreign):
        await parts.redis.xadd(key, {"event": "{}"})
        await parts.redis.persist(key)
    job = ProgressKeeper(parts.database, ProgressKeys(parts.redis, namespace=namespace))
    would = await job.keep(DRY)
    before = [await parts.redis.ttl(key) for key in (kept, orphan, strange, foreign)]
    did = await job.keep(Round())
    after = [await parts.redis.ttl(key) for key in (kept, orphan, strange, foreign)]
    await parts.redis.delete(foreign)

    assert (would["given_expiry"], would["dropped"]) == (did["given_expiry"], did["dropped"]) == (2, 1)
    assert before == [-1, -1, -1, -1]
    assert after[1] == -2
    assert after[3] == -1
    assert all(DAY - 60 < after[number] <= DAY for number in (0, 2))


async def test_a_round_over_many_keys_goes_on_where_it_was(parts: Parts) -> None:
    """However many keys Redis holds, a round looks at so many, and all have their turn."""
    namespace = parts.settings.redis_namespace
    async with parts.redis.pipeline() as pipe:
        for _ in range(3000):
            pipe.xadd(stream_key(namespace, str(uuid4())), {"event": "{}"})
        await pipe.execute()
    job = ProgressKeeper(parts.database, ProgressKeys(parts.redis, namespace=namespace), most_scans=2)
    rounds = 0
    before: dict[str, Any] = {}
    while rounds == 0 or before["cursor"]:
        before = dict(await job.keep(Round(before=before)))
        rounds += 1

    left = [key async for key in parts.redis.scan_iter(match=f"{namespace}:operation-progress:*")]
    assert rounds > 1
    assert left == []


def test_names_fit_the_vector_store() -> None:
    """The embedded server takes 80 characters."""
    assert len(generation_name("f" * 10, UUID(int=1), UUID(int=2))) <= 80


# --- crashes of the cleaning itself -------------------------------------------------------------


@pytest.mark.usefixtures("worker")
async def test_a_round_that_is_stopped_anywhere_is_made_up_for(api: Api, parts: Parts, folder: Path) -> None:
    """Cut off ever later, at whatever it waits for; a whole round then leaves nothing, and of the active one all."""
    await api.wait(await api.create("notes", folder))
    marker, active = await marker_of(parts), await generation_of(parts, "notes")
    jobs = [OldGenerations(parts.database, parts.store, RULES).clean, OrphanChunks(parts.database).clean]
    cut_off = 0
    for turns in (0, 1, 3, 6, 10, 15, 25, 40, 60, 90, 130, 200):
        retired, unknown = (generation_name(marker, uuid4(), uuid4()) for _ in range(2))
        async with made(parts, retired, unknown):
            await _retire(parts, retired, active)
            await change(
                parts,
                "INSERT INTO unknown_collections (name, first_seen_at) VALUES (:name, now() - interval '2 days')",
                name=unknown,
            )
            for job in jobs:
                cut_off += await _cut_off(job, turns)
            for job in jobs:
                await job(Round())
            left = await listed(parts, retired, unknown, active)
            rows = await count(parts, "SELECT count(*) FROM unknown_collections")
            orphans = await count(
                parts,
                """SELECT count(*) FROM chunks c LEFT JOIN generations g ON g.id = c.generation_id
                   WHERE g.state IS DISTINCT FROM 'active'""",
            )
            assert (left, rows, orphans) == ({active}, 0, 0), turns

    assert cut_off > len(jobs)
    assert await api.assert_consistent("notes") > 0


async def _retire(parts: Parts, name: str, active: str) -> None:
    """A generation of its own past its time, with the chunks of the active one."""
    await change(
        parts,
        """INSERT INTO generations (id, collection_id, name, state, model, dimension, fingerprint, canaries, chunking,
               retired_at)
           SELECT gen_random_uuid(), collection_id, :name, 'retired', model, dimension, fingerprint, canaries, chunking,
               now() - interval '2 days' FROM generations WHERE name = :active""",
        name=name,
        active=active,
    )
    await change(
        parts,
        """INSERT INTO chunks SELECT c.collection_id, g.id, gen_random_uuid(), c.document_id, c.ordinal, c.start_char,
               c.end_char, c.tokens, c.text
           FROM chunks c JOIN generations a ON a.id = c.generation_id AND a.name = :active, generations g
           WHERE g.name = :name""",
        name=name,
        active=active,
    )


async def _cut_off(work: Callable[[Round], Coroutine[Any, Any, object]], turns: int) -> bool:
    """Begin a round and stop it after so many turns of the event loop; False if it was faster."""
    task = asyncio.create_task(work(Round()))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled()

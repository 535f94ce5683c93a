"""What collections hold and how they grow, and the health of the partitions that their chunks lie in."""

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.domain.partitions import PartitionFigures, judge_partitions
from app.domain.periodic import Round
from app.domain.users import ADMIN
from app.jobs.upkeep.partitions import PartitionKeeper
from app.jobs.upkeep.statistics import StatisticsKeeper
from app.operations.collections import IdentityService
from tests.harness import Api, wait_until

HOUR = 3600.0


async def change(parts: Parts, sql: str, **values: object) -> None:
    """Let time go by, or make many rows."""
    async with parts.database.begin() as connection:
        await connection.execute(text(sql), values)


async def count(parts: Parts, sql: str) -> int:
    """A number from Postgres."""
    async with parts.database.begin() as connection:
        return int(await connection.scalar(text(sql)) or 0)


# --- statistics ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("worker")
async def test_statistics_are_those_of_the_documents(api: Api, folder: Path) -> None:
    """Totals, states, types and sources add up, and are those that the collection itself tells."""
    (folder / "Makefile").write_text("all: rockets and whales\n")
    (folder / "CAPITALS.MD").write_text("# Capitals\n\nAn ending in capitals.\n")
    (folder / "broken.pdf").write_bytes(b"no pdf at all")
    await api.wait(await api.create("notes", folder))
    (folder / "bread.html").unlink()
    await api.wait(await api.append("notes"))
    documents = (await api.documents("notes")).values()
    collection = (await api.client.get("/api/v1/collections/notes")).json()

    stats = (await api.client.get("/api/v1/collections/notes/stats")).json()

    there = [document for document in documents if document["state"] != "removed"]
    totals = {name: stats[name] for name in ("documents", "chunks", "tokens", "bytes")}
    assert stats["collection"] == "notes"
    assert stats["documents"] == len(there) == 5
    assert stats["bytes"] == sum(document["size"] for document in there)
    assert (stats["chunks"], stats["tokens"]) == (collection["chunks"], collection["tokens"])
    assert stats["by_state"] == collection["documents"] == {"completed": 4, "failed": 1, "removed": 1}
    types = {name: each["documents"] for name, each in stats["by_file_type"].items()}
    assert types == {"md": 2, "txt": 1, "": 1, "pdf": 1}
    (source,) = stats["by_source"]
    assert {name: source[name] for name in totals} == totals
    assert source["url"] == folder.as_uri()
    assert stats["average_chunk_tokens"] == pytest.approx(stats["tokens"] / stats["chunks"], abs=0.051)
    assert stats["growth"] == []


async def test_an_empty_collection_has_statistics(api: Api, tmp_path: Path) -> None:
    """All of them nothing; and those of a collection that is not the caller's are not there."""
    await api.create("empty", tmp_path)
    empty = await api.client.get("/api/v1/collections/empty/stats")
    missing = await api.client.get("/api/v1/collections/other/stats")
    wrong = await api.client.get("/api/v1/collections/empty/stats", params={"days": 0})

    assert empty.status_code == 200
    assert (empty.json()["documents"], empty.json()["average_chunk_tokens"], empty.json()["changed_at"]) == (0, 0, None)
    assert (missing.status_code, missing.json()["code"]) == (404, "collection_not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


@pytest.mark.usefixtures("worker")
async def test_the_growth_is_kept_hour_by_hour(api: Api, parts: Parts, folder: Path) -> None:
    """Once in a period, however often the job is done; old snapshots become one a day, very old ones go."""
    await api.wait(await api.create("notes", folder))
    job = StatisticsKeeper(parts.database, every_seconds=HOUR)
    would = await job.keep(Round(dry_run=True))
    none_yet = await count(parts, "SELECT count(*) FROM collection_stats")
    first = await job.keep(Round())
    again = await job.keep(Round())
    await change(
        parts,
        """INSERT INTO collection_stats (collection_id, taken_at, documents, chunks, tokens, bytes, details)
           SELECT collection_id, date_trunc('day', now()) - make_interval(hours => n), 1, 2, 3, 4, '{}'::jsonb
           FROM collection_stats, generate_series(1, 24 * 20) n
           UNION SELECT collection_id, now() - interval '500 days', 1, 2, 3, 4, '{}'::jsonb FROM collection_stats""",
    )
    await change(parts, "UPDATE collection_stats SET taken_at = now() - interval '50 minutes' WHERE documents > 1")
    later = await job.keep(Round())
    kept = await count(parts, "SELECT count(*) FROM collection_stats")
    old = await count(parts, "SELECT count(*) FROM collection_stats WHERE taken_at < now() - interval '8 days'")
    growth = (await api.client.get("/api/v1/collections/notes/stats", params={"days": 365})).json()["growth"]

    assert (would["collections"], none_yet) == (1, 0)
    assert [each["collections"] for each in (first, again, later)] == [1, 0, 1]
    assert 24 * 6 < kept < 24 * 8 + 20
    assert 11 <= old <= 13
    assert [point["at"] for point in growth] == sorted(point["at"] for point in growth)
    assert (growth[0]["documents"], growth[-1]["documents"]) == (1, 3)
    assert len(growth) <= 201


async def test_many_collections_are_gone_through(api: Api, parts: Parts) -> None:
    """Those that waited longest first; a collection that cannot be read does not stop the others."""
    await change(
        parts,
        """INSERT INTO collections (id, user_id, name, model, chunking)
           SELECT gen_random_uuid(), :user, 'c' || n, 'm', '{}' FROM generate_series(1, 250) n""",
        user=api.user_id,
    )
    await change(parts, "CREATE TABLE bad AS SELECT id FROM collections WHERE name = 'c17'")
    await change(
        parts,
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NEW.collection_id IN (SELECT id FROM bad) THEN RAISE EXCEPTION USING ERRCODE = '53100'; END IF;
               RETURN NEW; END $$""",
    )
    await change(
        parts, "CREATE TRIGGER refuse BEFORE INSERT ON collection_stats FOR EACH ROW EXECUTE FUNCTION refuse()"
    )

    did = await StatisticsKeeper(parts.database, every_seconds=HOUR).keep(Round())

    assert (did["collections"], did["failed"], did["complete"]) == (249, {"disk_full": 1}, True)
    assert await count(parts, "SELECT count(*) FROM collection_stats") == 249


# --- partitions ---------------------------------------------------------------------------------


def partition(rows: int, **changes: int) -> PartitionFigures:
    """A partition of so many rows."""
    figures = {"rows": rows, "dead_rows": 0, "changed_rows": 0, "bytes": rows * 1000, **changes}
    return PartitionFigures(name="p", last_vacuum_at=None, last_analyze_at=None, **figures)


@pytest.mark.parametrize(
    ("rows", "statuses"),
    [
        ([50_000] * 4, ["healthy"] * 4),
        ([50_000, 50_000, 50_000, 90_000], ["healthy", "healthy", "healthy", "warning"]),
        ([10_000, 10_000, 10_000, 90_000], ["healthy", "healthy", "healthy", "unbalanced"]),
        ([1_000, 1_000, 1_000, 9_000], ["healthy"] * 4),
        ([0, 0, 0, 0], ["healthy"] * 4),
    ],
)
def test_only_large_uneven_partitions_are_worth_a_word(rows: list[int], statuses: list[str]) -> None:
    """Thresholds are 0.3 and 0.5 above the average, and count from 100 000 rows of all."""
    judged = judge_partitions([partition(each) for each in rows])

    assert [each.status for each in judged] == statuses
    assert sum(each.share for each in judged) == pytest.approx(1 if sum(rows) else 0)
    assert all(0 <= each.skew <= 1 for each in judged)


@pytest.mark.parametrize(
    ("figures", "needs"),
    [
        (partition(40_000, dead_rows=10_000), "vacuum"),
        (partition(60_000, dead_rows=10_000), None),
        (partition(100, dead_rows=9_999), None),
        (partition(40_000, changed_rows=10_000), "analyze"),
        (partition(60_000, changed_rows=10_000), None),
        (partition(40_000, changed_rows=20_000, dead_rows=20_000), "vacuum"),
    ],
)
def test_what_helps_a_partition(figures: PartitionFigures, needs: str | None) -> None:
    """A fifth of its rows, and at least 10 000."""
    (judged,) = judge_partitions([figures])

    assert judged.needs == needs


async def make_dead_rows(parts: Parts) -> str:
    """Name of a partition with many dead rows, which Postgres leaves alone by itself."""
    collection = uuid4()
    async with parts.database.begin() as connection:
        tables = await connection.execute(
            text("SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'chunks'::regclass")
        )
        for row in tables.all():
            await connection.execute(text(f"ALTER TABLE {row.name} SET (autovacuum_enabled = false)"))
    await change(
        parts,
        """INSERT INTO chunks (collection_id, generation_id, id, document_id, ordinal, start_char, end_char, tokens,
               text)
           SELECT :collection, :collection, gen_random_uuid(), :collection, n, 0, 1, 1, 'x'
           FROM generate_series(1, 40000) n""",
        collection=collection,
    )
    await change(parts, "DELETE FROM chunks WHERE collection_id = :c AND ordinal <= 15000", c=collection)
    async with parts.database.begin() as connection:
        name = await connection.scalar(
            text("SELECT tableoid::regclass::text FROM chunks WHERE collection_id = :c LIMIT 1"), {"c": collection}
        )

    async def is_known() -> bool:
        # the sessions that wrote and deleted tell Postgres of it one after the other
        return "vacuum" in (await PartitionKeeper(parts.database).keep(Round(dry_run=True)))["would"].values()

    await wait_until(is_known)
    return str(name)


async def test_partitions_are_helped_for_real(api: Api, parts: Parts) -> None:
    """Postgres vacuums what needs it; a dry run only says which; what was found and done is kept."""
    name, job = await make_dead_rows(parts), PartitionKeeper(parts.database)
    would = await job.keep(Round(dry_run=True))
    looked_by_dry_run = await count(parts, "SELECT count(*) FROM partition_health")
    did = await job.keep(Round())

    async def is_clean() -> bool:
        return not (await job.keep(Round(dry_run=True)))["would"]

    await wait_until(is_clean)
    admin = await IdentityService(parts.database).issue_key("tester", name="admin", scopes=(ADMIN,))
    answer = await api.client.get("/api/v1/admin/partitions", headers={"Authorization": f"Bearer {admin}"})
    refused = await api.client.get("/api/v1/admin/partitions")

    body = answer.json()
    (helped,) = [each for each in body["partitions"] if each["name"] == name]
    assert would["would"] == did["done"] == {name: "vacuum"}
    assert looked_by_dry_run == 0
    assert (did["failed"], did["left"]) == ({}, 0)
    assert len(body["partitions"]) == 32
    assert (helped["dead_rows"], helped["rows"], helped["needs"]) == (0, 25_000, None)
    assert helped["last_vacuum_at"] is not None
    assert [look["helped"] for look in body["history"]] == [1]
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


async def test_a_partition_that_cannot_be_helped_is_reported(parts: Parts) -> None:
    """One that somebody has locked is left for the next round, and no connection keeps the settings of a VACUUM."""
    name, job = await make_dead_rows(parts), PartitionKeeper(parts.database)
    settings = "SELECT current_setting('statement_timeout') || current_setting('lock_timeout')"
    async with parts.database.begin() as connection:
        before = await connection.scalar(text(settings))
    async with parts.database.begin() as connection:
        await connection.execute(text(f"LOCK TABLE {name} IN SHARE UPDATE EXCLUSIVE MODE"))
        refused = await job.keep(Round())
    did = await job.keep(Round())
    seen = set()
    for _ in range(10):
        async with parts.database.begin() as connection:
            seen.add(await connection.scalar(text(settings)))

    assert (refused["failed"], refused["done"], refused["left"]) == ({name: "database_conflict"}, {}, 1)
    assert (did["failed"], did["done"]) == ({}, {name: "vacuum"})
    assert seen == {before}

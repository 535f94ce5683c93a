"""Continuous sync: who is due when, and what comes of it."""

import asyncio
import shutil
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from app.bootstrap import Parts
from app.bootstrap.upkeep import list_periodic_jobs, open_periodic_jobs
from app.db.periodic import PeriodicRepository
from tests.harness import Api, wait_until
from tests.integration.syncs import (
    INTERVAL,
    add_source,
    count_appends,
    pass_interval,
    pass_time,
    run_sql,
    runs_of,
    scheduler,
    set_sync,
    status_of,
    work_off,
)


@pytest.fixture(autouse=True)
async def only_ours(parts: Parts) -> None:
    """Its periodic jobs have been done for the next hour: no worker begins or ends a run before the test does."""
    async with parts.database.begin() as connection:
        await PeriodicRepository(connection).register(list_periodic_jobs(parts))
    await run_sql(
        parts,
        """UPDATE periodic_jobs SET next_run_at = now() + interval '1 hour'
           WHERE name IN ('dispatch_due_syncs', 'settle_sync_runs')""",
    )


@pytest.fixture
async def synced(api: Api, folder: Path, worker: None) -> str:
    """An indexed collection of one source with continuous sync."""
    await api.wait(await api.create("notes", folder))
    await set_sync(api, "notes")
    return "notes"


async def test_a_change_comes_in_by_itself(api: Api, parts: Parts, folder: Path, synced: str) -> None:
    """Nothing happens before it is due; then one run brings the source up to date and says what it did."""
    (folder / "tea.txt").write_text("Green tea is steeped at eighty degrees.")

    early = await work_off(parts, [scheduler(parts)])
    await pass_interval(parts)
    begun = await work_off(parts, [scheduler(parts)])
    status = await status_of(api, synced)
    [operation] = await run_sql(parts, "SELECT config, priority FROM operations WHERE kind = 'APPEND'")

    run = status["last_run"]
    assert (early, begun) == (0, 1)
    assert (run["state"], run["trigger"], run["mode"]) == ("completed", "schedule", "full")
    assert run["finished_at"] > run["started_at"]
    assert [(s["state"], s["result"]["documents_added"], s["result"]["unchanged"]) for s in run["sources"]] == [
        ("completed", 1, 3)
    ]
    assert (operation.config["trigger"], operation.config["sync_run_id"]) == ("schedule", run["sync_run_id"])
    assert operation.priority == 2
    assert (await api.search("notes", "steeped tea"))[0]["path"] == "tea.txt"


async def test_the_next_time_is_an_interval_away_with_jitter(api: Api, parts: Parts, synced: str) -> None:
    """Never sooner than the interval, at most a tenth later, and not the same for all."""
    rows = []
    for _ in range(20):
        await pass_interval(parts)
        await work_off(parts, [scheduler(parts)])
        rows += await run_sql(
            parts,
            """SELECT extract(epoch FROM s.next_due - r.started_at) FROM collection_syncs s
               JOIN sync_runs r USING (collection_id) ORDER BY r.seq DESC LIMIT 1""",
        )

    waits = [float(row[0]) for row in rows]
    assert all(INTERVAL <= wait <= INTERVAL * 1.1 for wait in waits)
    assert len(set(waits)) > 1


async def test_what_was_due_while_nothing_ran_begins_once(api: Api, parts: Parts, synced: str) -> None:
    """After a long downtime there is one run, and the next one is an interval from now."""
    await pass_time(parts, 100 * INTERVAL)

    begun = [await work_off(parts, [scheduler(parts)]) for _ in range(3)]
    [row] = await run_sql(parts, "SELECT next_due > now() + make_interval(secs => 50) FROM collection_syncs")

    assert begun == [1, 0, 0]
    assert row[0]
    assert list((await count_appends(parts)).values()) == [1]


async def test_a_paused_sync_begins_nothing_and_catches_up_once(api: Api, parts: Parts, synced: str) -> None:
    """Paused, it says so; resumed, what was due meanwhile begins once."""
    paused = (await api.client.post("/api/v1/collections/notes/sync/pause")).json()
    await pass_time(parts, 10 * INTERVAL)
    held = await work_off(parts, [scheduler(parts)])
    # what is set anew stays paused
    again = await set_sync(api, synced)
    resumed = (await api.client.post("/api/v1/collections/notes/sync/resume")).json()
    begun = [await work_off(parts, [scheduler(parts)]) for _ in range(2)]

    assert paused["paused_at"]
    assert paused["why_waiting"] == "paused"
    assert again["paused_at"] == paused["paused_at"]
    assert (resumed["paused_at"], held, begun) == (None, 0, [1, 0])


async def test_a_paused_collection_is_left_alone(api: Api, parts: Parts, synced: str) -> None:
    """Nothing piles up in a collection that is paused; it is brought up to date once it goes on."""
    await api.client.post("/api/v1/collections/notes/pause")
    await pass_interval(parts)
    held = await work_off(parts, [scheduler(parts)])
    why = (await status_of(api, synced))["why_waiting"]
    await api.client.post("/api/v1/collections/notes/resume")

    assert (held, why) == (0, "its collection is paused")
    assert await work_off(parts, [scheduler(parts)]) == 1


async def test_a_busy_collection_is_not_given_more(api: Api, parts: Parts, folder: Path) -> None:
    """While an operation is under way no run begins, and the status says behind which; what is for later holds none."""
    operation = await api.create("notes", folder)
    await set_sync(api, "notes")
    await pass_interval(parts)
    busy = await scheduler(parts).dispatch_due()
    why = (await status_of(api, "notes"))["why_waiting"]
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    await run_sql(
        parts,
        """INSERT INTO operations (id, user_id, collection_id, kind, state, writes, config, run_after)
           SELECT gen_random_uuid(), user_id, collection_id, kind, 'pending', true, '{}', now() + interval '1 day'
           FROM operations""",
    )
    free = await scheduler(parts).dispatch_due()
    # the APPEND of this run is waiting: no second run begins behind it
    await pass_interval(parts)
    again = await scheduler(parts).dispatch_due()

    assert operation["operation_id"] in why
    assert (busy["begun"], free["begun"], again["begun"]) == (0, 1, 0)


async def test_one_broken_collection_does_not_stop_the_others(api: Api, parts: Parts, folder: Path) -> None:
    """Its error is its own: the others begin in the same round, and it is tried again an interval later."""
    for name in ("a", "b", "c"):
        await api.client.post("/api/v1/collections", json={"name": name, "sources": [{"url": folder.as_uri()}]})
        await set_sync(api, name)
    await run_sql(parts, "UPDATE operations SET state = 'cancelled', finished_at = now()")
    [broken] = await run_sql(parts, "SELECT id FROM collections WHERE name = 'a'")
    await run_sql(
        parts,
        f"""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.collection_id = '{broken.id}' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$""",
    )
    await run_sql(parts, "CREATE TRIGGER refuse BEFORE INSERT ON sync_runs FOR EACH ROW EXECUTE FUNCTION refuse()")
    await pass_interval(parts)
    await run_sql(
        parts,
        "UPDATE collection_syncs SET next_due = next_due - interval '1 hour' WHERE collection_id = :id",
        id=broken.id,
    )

    first = await scheduler(parts).dispatch_due()
    second = await scheduler(parts).dispatch_due()
    with pytest.raises(DBAPIError, match="refused"):
        await scheduler(parts).run(api.user_id, "a", confirm_removals=False)

    assert (first["begun"], first["failed"], first["operations"]) == (2, 1, 2)
    assert (second["begun"], second["failed"]) == (0, 0)


async def test_a_round_is_bounded(api: Api, parts: Parts, folder: Path) -> None:
    """No more collections than a round may take; those that have waited longest go first."""
    for name in ("a", "b", "c"):
        await api.client.post("/api/v1/collections", json={"name": name, "sources": [{"url": folder.as_uri()}]})
        await set_sync(api, name)
        await pass_time(parts, 2 * INTERVAL)
    await run_sql(parts, "UPDATE operations SET state = 'cancelled', finished_at = now()")

    begun = [(await scheduler(parts, per_round=2).dispatch_due())["begun"] for _ in range(3)]
    rows = await run_sql(parts, "SELECT name FROM sync_runs JOIN collections c ON c.id = collection_id ORDER BY seq")

    assert begun == [2, 1, 0]
    assert [row.name for row in rows] == ["a", "b", "c"]


async def test_a_source_that_fails_is_tried_less_and_less(api: Api, parts: Parts, tmp_path: Path, synced: str) -> None:
    """Its neighbour is brought up to date each time; the status says why and when it is tried next."""
    await add_source(api, synced, tmp_path / "missing")
    tried = []
    for step in range(16):
        await pass_interval(parts)
        await work_off(parts, [scheduler(parts)])
        source = (await runs_of(api, synced))[0]["sources"][1]
        if source["state"] != "skipped":
            tried.append(step)
        assert source["error_code"] == "source_not_found"
    status = await status_of(api, synced)
    good, bad = status["sources"]
    [ahead] = await run_sql(parts, "SELECT next_try > now() + interval '900 seconds' FROM source_syncs")

    assert tried == [0, 1, 3, 7, 15]
    assert status["last_run"]["state"] == "failed"
    assert (good["failures"], good["next_try"]) == (0, None)
    assert (bad["failures"], bad["error_code"]) == (5, "source_not_found")
    assert bad["next_try"]
    assert ahead[0]
    assert sorted((await count_appends(parts)).values()) == [5, 16]


async def test_the_wait_of_a_failing_source_is_bounded(api: Api, parts: Parts, tmp_path: Path, worker: None) -> None:
    """A collection with no other source has no run at all while its only one waits."""
    await api.wait(await api.create("notes", tmp_path / "missing"))
    await set_sync(api, "notes")
    begun = []
    for _ in range(8):
        await pass_interval(parts)
        begun.append(await work_off(parts, [scheduler(parts, longest_backoff_seconds=2 * INTERVAL)]))
        await scheduler(parts, longest_backoff_seconds=2 * INTERVAL).settle()

    assert sum((await count_appends(parts)).values()) == 5
    assert len(await runs_of(api, "notes")) == 5


async def test_a_source_that_is_back_is_forgiven(api: Api, parts: Parts, folder: Path, synced: str) -> None:
    """An APPEND that completes, whoever asked for it, ends the waiting."""
    away = folder.with_name("away")
    shutil.move(folder, away)
    for _ in range(2):
        await pass_interval(parts)
        await work_off(parts, [scheduler(parts)])
    failing = (await status_of(api, synced))["sources"][0]
    shutil.move(away, folder)
    await api.wait(await api.append(synced))
    forgiven = (await status_of(api, synced))["sources"][0]

    assert (failing["failures"], failing["error_code"]) == (2, "source_not_found")
    assert (forgiven["failures"], forgiven["error_code"], forgiven["next_try"]) == (0, None, None)


async def test_a_run_now_tries_what_waits_and_begins_the_interval_anew(
    api: Api, parts: Parts, folder: Path, synced: str
) -> None:
    """It is one run with its own trigger; asked for again while it runs, it is the same one."""
    away = folder.with_name("away")
    shutil.move(folder, away)
    for _ in range(2):
        await pass_interval(parts)
        await work_off(parts, [scheduler(parts)])
    shutil.move(away, folder)
    await status_of(api, synced)
    await pass_time(parts, INTERVAL)
    await api.client.post("/api/v1/collections/notes/pause")

    first = await api.client.post("/api/v1/collections/notes/sync/run")
    second = await api.client.post("/api/v1/collections/notes/sync/run")
    third = await api.client.post("/api/v1/collections/notes/sync/run", json={"confirm_removals": True})
    await api.client.post("/api/v1/collections/notes/resume")
    begun = await work_off(parts, [scheduler(parts)])
    run = (await api.client.get(f"/api/v1/collections/notes/sync/runs/{first.json()['sync_run_id']}")).json()

    assert (first.status_code, first.json()["trigger"], first.json()["state"]) == (202, "manual", "running")
    assert second.json()["sync_run_id"] == first.json()["sync_run_id"]
    assert (third.status_code, third.json()["code"]) == (409, "sync_running")
    assert (begun, run["state"]) == (0, "completed")
    assert (await status_of(api, synced))["sources"][0]["failures"] == 0


async def test_a_collection_without_settings_can_be_run_now(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """One without sources cannot, and one without settings cannot be paused; the answers say what to do."""
    await api.wait(await api.create("notes", folder))
    await api.client.post("/api/v1/collections", json={"name": "empty"})

    run = await api.client.post("/api/v1/collections/notes/sync/run")
    nothing = await api.client.post("/api/v1/collections/empty/sync/run")
    unset = await api.client.post("/api/v1/collections/notes/sync/pause")
    unknown = await api.client.get("/api/v1/collections/nowhere/sync")

    assert run.status_code == 202
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_sync")
    assert (unset.json()["code"], "--every 15m" in unset.json()["detail"]) == ("sync_not_set", True)
    assert unknown.json()["code"] == "collection_not_found"


async def test_scheduled_removals_are_guarded_until_somebody_confirms(
    api: Api, parts: Parts, tmp_path: Path, worker: None
) -> None:
    """A run that would remove most of a source fails and says how to confirm; one confirmed run removes it."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.txt").write_text(f"Entry {number} of the long list of comets.")
    await api.wait(await api.create("many", root))
    await set_sync(api, "many", mode="incremental")
    for number in range(25):
        (root / f"{number}.txt").unlink()

    await pass_interval(parts)
    await work_off(parts, [scheduler(parts)])
    incremental = (await runs_of(api, "many"))[0]
    await set_sync(api, "many")
    await pass_interval(parts)
    await work_off(parts, [scheduler(parts)])
    refused = await status_of(api, "many")
    kept = await api.assert_consistent("many")
    await api.client.post("/api/v1/collections/many/sync/run", json={"confirm_removals": True})
    await work_off(parts, [])
    confirmed = await status_of(api, "many")

    assert (incremental["state"], incremental["sources"][0]["result"]["documents_kept"]) == ("completed", 25)
    assert refused["last_run"]["state"] == "failed"
    assert refused["sources"][0]["error_code"] == "mass_deletion_guard"
    assert "vecloom sync many --confirm-removals" in refused["sources"][0]["error_message"]
    assert kept == 30
    assert confirmed["last_run"]["sources"][0]["result"]["documents_removed"] == 25
    assert confirmed["sources"][0]["failures"] == 0
    assert await api.assert_consistent("many") == 5


async def test_a_cancelled_operation_ends_its_run(api: Api, parts: Parts, folder: Path) -> None:
    """Nobody failed, so the source is not held back; an operation that is gone ends its run too."""
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    await set_sync(api, "notes")
    first = (await api.client.post("/api/v1/collections/notes/sync/run")).json()
    await api.client.post(f"/api/v1/operations/{first['sources'][0]['operation_id']}/cancel")
    cancelled = await status_of(api, "notes")
    second = (await api.client.post("/api/v1/collections/notes/sync/run")).json()
    await run_sql(parts, "DELETE FROM operations WHERE id = :id", id=second["sources"][0]["operation_id"])
    gone = await status_of(api, "notes")

    assert (cancelled["running"], cancelled["last_run"]["state"]) == (None, "cancelled")
    assert cancelled["sources"][0]["failures"] == 0
    assert (gone["running"], gone["last_run"]["sync_run_id"]) == (None, second["sync_run_id"])
    assert gone["last_run"]["state"] == "cancelled"


async def test_only_the_last_runs_are_kept(api: Api, parts: Parts, synced: str) -> None:
    """The oldest are forgotten with their sources."""
    for _ in range(5):
        await pass_interval(parts)
        await work_off(parts, [scheduler(parts, history=3)])
    runs = await runs_of(api, synced)
    [row] = await run_sql(parts, "SELECT count(*) FROM sync_run_sources")

    assert len(runs) == row[0] == 3
    assert [run["started_at"] for run in runs] == sorted((run["started_at"] for run in runs), reverse=True)


async def test_an_interval_is_changed_and_ended(api: Api, parts: Parts, synced: str) -> None:
    """A new interval begins now, the same one goes on; without one nothing is due, and the history stays."""
    await pass_interval(parts)
    await work_off(parts, [scheduler(parts)])
    before = await status_of(api, synced)
    same = await set_sync(api, synced)
    longer = await set_sync(api, synced, interval_seconds=86_400)
    await api.client.delete("/api/v1/collections/notes/sync")
    ended = await status_of(api, synced)

    assert same["next_due"] == before["next_due"]
    assert longer["next_due"] > before["next_due"]
    assert (ended["interval_seconds"], ended["next_due"]) == (None, None)
    assert ended["last_run"] == before["last_run"]


async def test_a_clock_that_was_moved_back_stops_nothing(api: Api, parts: Parts, synced: str) -> None:
    """A time further ahead than an interval cannot be right."""
    await pass_time(parts, -1_000_000)

    healed = await scheduler(parts).dispatch_due()
    await pass_interval(parts)

    assert (healed["begun"], healed["clock_healed"]) == (0, 1)
    assert await work_off(parts, [scheduler(parts)]) == 1


async def test_a_removed_collection_takes_its_sync_along(api: Api, parts: Parts, synced: str) -> None:
    """Settings, runs and failures go with it."""
    await pass_interval(parts)
    await work_off(parts, [scheduler(parts)])
    await run_sql(parts, "DELETE FROM operations")
    await run_sql(parts, "DELETE FROM collections")

    for table in ("collection_syncs", "sync_runs", "sync_run_sources", "source_syncs"):
        [row] = await run_sql(parts, f"SELECT count(*) FROM {table}")  # noqa: S608 — names of this test
        assert row[0] == 0


async def test_a_round_begins_once_on_many_workers(api: Api, parts: Parts, synced: str) -> None:
    """It is among the periodic jobs of every worker, and of all that wake for it one does the work."""
    await pass_interval(parts)
    await run_sql(parts, "UPDATE periodic_jobs SET next_run_at = now() WHERE name = 'dispatch_due_syncs'")
    workers = [open_periodic_jobs(parts, worker=f"w{number}") for number in range(5)]

    begun = [name for names in await asyncio.gather(*(worker.wake() for worker in workers)) for name in names]

    async def ended() -> bool:
        return bool((await status_of(api, synced))["last_run"])

    await wait_until(ended)
    for worker in workers:
        await worker.aclose()
    assert begun.count("dispatch_due_syncs") <= 1  # the worker of the test may have been first
    assert list((await count_appends(parts)).values()) == [1]


async def test_runs_end_by_themselves(api: Api, parts: Parts, synced: str) -> None:
    """A worker's own jobs note the end; nobody has to ask for it."""
    await run_sql(parts, "UPDATE periodic_jobs SET next_run_at = now() WHERE name = 'settle_sync_runs'")
    await pass_interval(parts)
    await scheduler(parts).dispatch_due()

    async def ended() -> bool:
        [run] = await run_sql(parts, "SELECT state FROM sync_runs")
        return bool(run.state == "completed")

    await wait_until(ended)


async def test_a_due_collection_says_that_nobody_works(api: Api, parts: Parts, folder: Path) -> None:
    """Without a live worker nothing begins; before it is due there is nothing to say."""
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    early = await set_sync(api, "notes")
    await pass_interval(parts)
    due = await status_of(api, "notes")

    assert early["why_waiting"] is None
    assert "no worker is alive" in due["why_waiting"]

"""Where searches get worse after a generation took over, the one before it is asked back: once, and only then."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.bootstrap.upkeep import watch_of_switches
from app.db.search_health import SearchHealthRepository, Tally
from app.db.switches import SwitchRepository
from app.domain.errors import CollectionNotFoundError, ConflictError
from app.domain.periodic import PeriodicJob, Round
from app.jobs.periodic import PeriodicJobs
from tests.harness import Api

DRY = Round(dry_run=True)
WELL = Tally(searches=1000, empty=20)
WORDS = "empty answers: 2.0% (20 of 1000) before, 30.0% (30 of 100) since"


@dataclass(slots=True)
class Recorder:
    """Remembers what it was asked to roll back, and raises what it is told to."""

    calls: list[tuple[UUID, str]] = field(default_factory=list)
    error: Exception | None = None

    async def roll_back(self, collection_id: UUID, reason: str) -> None:
        """Remember it."""
        self.calls.append((collection_id, reason))
        if self.error is not None:
            raise self.error


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """A collection whose generation took over five minutes ago from another one."""

    parts: Parts
    id: UUID
    old: UUID
    new: UUID

    async def change(self, sql: str, **values: object) -> None:
        """Let time go by, or something happen."""
        async with self.parts.database.begin() as connection:
            await connection.execute(text(sql), values)

    async def count(self, generation: UUID, tally: Tally, *, minutes_ago: int) -> None:
        """Note searches of a generation."""
        async with self.parts.database.begin() as connection:
            await SearchHealthRepository(connection).add({generation: tally})
            # what was counted for this minute belongs to another one, unless there are some of that already
            await connection.execute(
                text(
                    """UPDATE search_health SET minute = minute - make_interval(mins => :ago), empty = :empty
                       WHERE generation_id = :id AND minute = date_trunc('minute', now())"""
                ),
                # a generation without chunks has no empty answers by itself
                {"ago": minutes_ago, "id": generation, "empty": tally.empty},
            )

    async def watch(self, minutes: int | None) -> None:
        """Have the new generation watched."""
        async with self.parts.database.begin() as connection:
            await SwitchRepository(connection).watch(self.new, minutes=minutes)

    async def watched(self) -> Mapping[str, Any] | None:
        """What is noted for the watch of the new generation."""
        async with self.parts.database.begin() as connection:
            noted: Mapping[str, Any] | None = await connection.scalar(
                text("SELECT watch FROM generations WHERE id = :id"), {"id": self.new}
            )
        return noted


async def rebuild(api: Api, name: str, *, new_model: str = "new") -> Rebuilt:
    """A collection with a replaced and an active generation."""
    made = Rebuilt(parts=api.parts, id=uuid4(), old=uuid4(), new=uuid4())
    await made.change(
        "INSERT INTO collections (id, user_id, name, model, chunking) VALUES (:id, :user, :name, :model, :chunking)",
        id=made.id,
        user=api.user_id,
        name=name,
        model=new_model,
        chunking='{"strategy": "recursive", "size": 400, "overlap": 40}',
    )
    for generation, model, state in ((made.old, "old", "retired"), (made.new, new_model, "active")):
        await made.change(
            """INSERT INTO generations (id, collection_id, name, state, model, dimension, fingerprint, canaries,
                   chunking, activated_at, retired_at)
               VALUES (:id, :collection, :name, :state, :model, 2, 'f', '', '{}',
                   now() - make_interval(mins => CASE WHEN :state = 'active' THEN 5 ELSE 5000 END),
                   CASE WHEN :state = 'retired' THEN now() - interval '5 minutes' END)""",
            id=generation,
            collection=made.id,
            name=str(generation),
            state=state,
            model=model,
        )
    return made


@pytest.fixture
async def rebuilt(api: Api) -> Rebuilt:
    """A collection that was searched well before its switch, and is watched for an hour."""
    made = await rebuild(api, "notes")
    await made.count(made.old, WELL, minutes_ago=60)
    await made.watch(60)
    return made


@pytest.fixture
def recorder() -> Recorder:
    """Whoever would roll back."""
    return Recorder()


@pytest.fixture
def job(parts: Parts, recorder: Recorder) -> PeriodicJob:
    """The periodic job."""
    return watch_of_switches(parts.database, recorder.roll_back)


async def regressions_of(api: Api) -> list[dict[str, Any]]:
    """What the audit log says of them."""
    params = {"action": "switch.regressed"}
    entries: list[dict[str, Any]] = (await api.client.get("/api/v1/audit", params=params)).json()["entries"]
    return entries


async def test_a_regression_is_rolled_back_once(
    api: Api, rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """With the numbers as the reason, in the audit log too; a dry run only says so."""
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=30), minutes_ago=2)
    would = await job.work(DRY)
    untouched = (list(recorder.calls), await rebuilt.watched(), await regressions_of(api))
    did = await job.work(Round())
    again = await job.work(Round())

    assert untouched == ([], {"minutes": 60}, [])
    assert would == {
        "watched": 1,
        "unknown": 0,
        "worse": 1,
        "rolled_back": 0,
        "failed": 0,
        "regressions": {str(rebuilt.id): WORDS},
    }
    assert did == {**would, "rolled_back": 1}
    assert again["watched"] == 0
    assert recorder.calls == [(rebuilt.id, WORDS)]
    assert await rebuilt.watched() is None
    (entry,) = await regressions_of(api)
    assert (entry["actor"]["kind"], entry["collection"]) == ("schedule", "notes")
    assert entry["after"] == {"reason": WORDS}


@pytest.mark.parametrize(
    "since",
    [
        Tally(),
        Tally(searches=49, empty=49),
        Tally(searches=100, empty=3),
        Tally(searches=100, empty=6),
        Tally(searches=500, failed=500, of_store=500),
    ],
)
async def test_what_may_be_chance_or_an_outage_stays(
    rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob, since: Tally
) -> None:
    """Few searches, a small rise, a store that was away for both."""
    await rebuilt.count(rebuilt.new, since, minutes_ago=2)

    did = await job.work(Round())

    assert (did["watched"], did["worse"], recorder.calls) == (1, 0, [])
    assert await rebuilt.watched() == {"minutes": 60}


@pytest.mark.parametrize(("model", "worse"), [("new", 1), ("old", 0)])
async def test_a_model_that_is_away_counts_if_it_is_another_one(
    api: Api, parts: Parts, recorder: Recorder, model: str, worse: int
) -> None:
    """Going back to a generation that asks the same model would mend nothing."""
    made = await rebuild(api, "notes", new_model=model)
    await made.count(made.old, WELL, minutes_ago=60)
    await made.watch(60)
    await made.count(made.new, Tally(searches=100, failed=90, of_model=90), minutes_ago=2)

    did = await watch_of_switches(parts.database, recorder.roll_back).work(Round())

    assert (did["worse"], len(recorder.calls)) == (worse, worse)


async def test_only_the_day_before_is_compared(rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob) -> None:
    """Searches of earlier days, and of the replaced generation since, say nothing."""
    await rebuilt.change("DELETE FROM search_health")
    await rebuilt.count(rebuilt.old, WELL, minutes_ago=1500)
    await rebuilt.count(rebuilt.old, WELL, minutes_ago=1)
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=90), minutes_ago=2)

    did = await job.work(Round())

    assert (did["watched"], did["unknown"], recorder.calls) == (1, 1, [])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE generations SET watch = NULL",
        "UPDATE generations SET activated_at = now() - interval '61 minutes' WHERE state = 'active'",
        "UPDATE generations SET state = 'retired' WHERE state = 'active'",
        "UPDATE collections SET deleted_at = now()",
    ],
)
async def test_what_is_not_watched_is_left_alone(
    rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob, change: str
) -> None:
    """Nobody wants it, its time is over, it was replaced, its collection is deleted."""
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=90), minutes_ago=2)
    await rebuilt.change(change)

    did = await job.work(Round())

    assert (did["watched"], recorder.calls) == (0, [])


async def test_a_watch_that_is_over_does_not_begin_again(
    rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """A generation that comes back is not thrown out for what is noted of its first time."""
    await rebuilt.change("UPDATE generations SET state = 'retired', retired_at = now() WHERE id = :id", id=rebuilt.new)
    await job.work(DRY)
    kept = await rebuilt.watched()
    await job.work(Round())
    await rebuilt.change("UPDATE generations SET state = 'active', activated_at = now() WHERE id = :id", id=rebuilt.new)
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=90), minutes_ago=0)
    did = await job.work(Round())

    assert kept == {"minutes": 60}
    assert (await rebuilt.watched(), did["watched"], recorder.calls) == (None, 0, [])


async def test_a_generation_without_one_before_stays(rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob) -> None:
    """There is nothing to compare with, nor to go back to."""
    await rebuilt.change("UPDATE generations SET state = 'dropped' WHERE id = :id", id=rebuilt.old)
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=90), minutes_ago=2)

    did = await job.work(Round())

    assert (did["watched"], did["unknown"], recorder.calls) == (1, 1, [])


async def test_a_rollback_that_fails_is_tried_again(
    api: Api, rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """In each round, as it was decided, until it is begun; it is decided once."""
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=30), minutes_ago=2)
    recorder.error = ConflictError("a rebuild is under way")
    failed = await job.work(Round())
    await rebuilt.count(rebuilt.new, Tally(searches=10_000), minutes_ago=1)
    recorder.error = None
    did = await job.work(Round())

    assert (failed["failed"], failed["rolled_back"]) == (1, 0)
    assert (did["failed"], did["rolled_back"]) == (0, 1)
    assert recorder.calls == [(rebuilt.id, WORDS)] * 2
    assert await rebuilt.watched() is None
    assert len(await regressions_of(api)) == 1


async def test_a_rollback_that_cannot_be_begun_is_given_up(
    rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """When the time to watch is over; what is broken in one collection does not keep another one waiting."""
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=30), minutes_ago=2)
    recorder.error = RuntimeError("a bug")
    await job.work(Round())
    await rebuilt.change("UPDATE generations SET activated_at = now() - interval '2 hours' WHERE state = 'active'")
    last = await job.work(Round())
    after = await job.work(Round())

    assert (last["watched"], last["failed"], after["watched"]) == (1, 1, 0)
    assert len(recorder.calls) == 2
    assert await rebuilt.watched() is None


async def test_one_collection_does_not_stop_another(
    api: Api, rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """Each is compared with itself; one whose rollback fails is none of the others' business."""
    more = await rebuild(api, "more")
    await more.count(more.old, WELL, minutes_ago=30)
    await more.watch(10)
    for each in (rebuilt, more):
        await each.count(each.new, Tally(searches=100, empty=30), minutes_ago=2)
    recorder.error = CollectionNotFoundError("gone")
    did = await job.work(Round())

    assert (did["watched"], did["worse"], did["failed"]) == (2, 2, 2)
    assert {collection for collection, _ in recorder.calls} == {rebuilt.id, more.id}


async def test_the_job_is_done_as_the_others_are(
    parts: Parts, rebuilt: Rebuilt, recorder: Recorder, job: PeriodicJob
) -> None:
    """By hand first as a dry run, then for real."""
    await rebuilt.count(rebuilt.new, Tally(searches=100, empty=30), minutes_ago=2)
    jobs = PeriodicJobs(parts.database, [job], worker="test")
    would = await jobs.run("watch_switches", dry_run=True, wait_seconds=30)
    called = len(recorder.calls)
    did = await jobs.run("watch_switches", dry_run=False, wait_seconds=30)
    await jobs.aclose()

    assert would.result is not None
    assert did.result is not None
    assert (would.result["worse"], called) == (1, 0)
    assert (did.result["rolled_back"], len(recorder.calls)) == (1, 1)

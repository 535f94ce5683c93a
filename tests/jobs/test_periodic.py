"""Periodic jobs: each once in its period over all workers, apart from the others, bounded in time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.periodic import MARGIN_SECONDS, ROUNDS_KEPT
from app.domain.errors import (
    NoDryRunError,
    PeriodicJobNotFoundError,
    PeriodicJobRunningError,
    VectorStoreUnavailableError,
)
from app.domain.periodic import LIMIT_SECONDS, PeriodicJob, PeriodicJobStatus, Round, RoundState
from app.jobs.periodic import PeriodicJobs
from tests.harness import wait_until

HOUR = 3600
PERIOD = 7 * 24 * HOUR
"""So long that no real turn comes while a test lets time go by in its rows."""


class Work:
    """Counts its rounds; each waits until it is let go."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def do(self, given: Round) -> Mapping[str, Any]:
        """One round."""
        self.rounds.append(given)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {"round": len(self.rounds)}


def job_of(work: Callable[[Round], Any], *, name: str = "sweep", **changes: Any) -> PeriodicJob:
    """A job that is done once an hour."""
    return PeriodicJob(**{"name": name, "every_seconds": HOUR, "does": "sweeps", "work": work, **changes})


@asynccontextmanager
async def process(parts: Parts, *jobs: PeriodicJob, worker: str = "one") -> AsyncIterator[PeriodicJobs]:
    """A process that knows these jobs."""
    periodic = PeriodicJobs(parts.database, jobs, worker=worker)
    try:
        yield periodic
    finally:
        await periodic.aclose()


async def change(parts: Parts, sql: str) -> None:
    """Let time go by, or a process die, as its rows tell it."""
    async with parts.database.begin() as connection:
        await connection.execute(text(sql))


async def make_due(parts: Parts) -> None:
    """All turns have come."""
    await change(parts, "UPDATE periodic_jobs SET next_run_at = now() - interval '1 minute'")


async def let_pass(parts: Parts, seconds: float) -> None:
    """So much time goes by for all jobs and rounds."""
    statement = text(
        """WITH given AS (SELECT make_interval(secs => :seconds) AS ago),
                jobs AS (UPDATE periodic_jobs SET next_run_at = next_run_at - ago, last_run_at = last_run_at - ago,
                    running_until = running_until - ago FROM given)
           UPDATE periodic_rounds SET until = until - ago FROM given"""
    )
    async with parts.database.begin() as connection:
        await connection.execute(statement, {"seconds": float(seconds)})


async def settled(periodic: PeriodicJobs, name: str = "sweep") -> PeriodicJobStatus:
    """How it stands with a job, once no round is under way."""

    async def look() -> PeriodicJobStatus | None:
        status = (await periodic.list_statuses())[name]
        return None if status.is_running else status

    status: PeriodicJobStatus = await wait_until(look)
    return status


async def test_each_turn_is_one_round_over_all_workers(parts: Parts) -> None:
    """However many workers wake at once, and however often; a turn that nobody lived for is made up for once."""
    work = Work()
    workers = [PeriodicJobs(parts.database, [job_of(work.do)], worker=f"worker {number}") for number in range(6)]
    await asyncio.gather(*(worker.wake() for worker in workers))
    before_its_turn = len(work.rounds)
    for _ in range(3):
        await change(parts, "UPDATE periodic_jobs SET next_run_at = now() - interval '2 days'")
        await asyncio.gather(*(worker.wake() for worker in workers))
        await asyncio.gather(*(worker.wake() for worker in workers))
        await settled(workers[0])

    rounds = await workers[0].list_rounds("sweep")
    await asyncio.gather(*(worker.aclose() for worker in workers))

    assert before_its_turn == 0
    assert len(work.rounds) == 3
    assert [record.result for record in rounds] == [{"round": 3}, {"round": 2}, {"round": 1}]
    assert [given.before for given in work.rounds] == [{}, {"round": 1}, {"round": 2}]


async def test_the_next_turn_is_one_period_ahead(parts: Parts) -> None:
    """Turns lie on a grid, so they do not drift, and not all jobs have theirs at the full hour."""
    names = [f"sweep_{chr(97 + number)}" for number in range(8)]
    async with process(parts, *(job_of(Work().do, name=name) for name in names)) as periodic:
        await periodic.wake()
        await make_due(parts)
        await periodic.wake()
        statuses = [await settled(periodic, name) for name in names]

    for status in statuses:
        assert status.last_run_at is not None
        assert 0 < (status.next_run_at - status.last_run_at).total_seconds() <= HOUR + 1
    assert len({status.next_run_at for status in statuses}) > 1


async def test_a_failure_is_this_jobs_alone(parts: Parts) -> None:
    """The others are done; it is tried again before its next turn, and a success forgets the failure."""
    broken, fine = Work(), Work()
    broken.error = RuntimeError("secret of somebody")
    async with process(parts, job_of(broken.do, name="broken"), job_of(fine.do, name="fine")) as periodic:
        await periodic.wake()
        await make_due(parts)
        await periodic.wake()
        failed, done = await settled(periodic, "broken"), await settled(periodic, "fine")
        broken.error = VectorStoreUnavailableError("the vector store does not answer (503)")
        await make_due(parts)
        await periodic.wake()
        failed_again = await settled(periodic, "broken")
        broken.error = None
        await make_due(parts)
        await periodic.wake()
        recovered = await settled(periodic, "broken")

    assert (failed.last_error_code, failed.failures, failed.last_success_at) == ("internal_error", 1, None)
    assert "secret" not in (failed.last_error_message or "")
    assert failed.last_run_at is not None
    assert (failed.next_run_at - failed.last_run_at).total_seconds() < 120
    assert (done.last_error_code, done.failures, done.last_result) == (None, 0, {"round": 1})
    assert (failed_again.last_error_code, failed_again.failures) == ("vector_store_unavailable", 2)
    assert (recovered.last_error_code, recovered.failures) == (None, 0)


async def test_a_round_that_hangs_is_stopped(parts: Parts) -> None:
    """At its time limit, also if it does not want to hear of it."""
    heard = 0

    async def hang(_: Round) -> Mapping[str, Any]:
        nonlocal heard
        while heard < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1
        return {}

    async with process(parts, job_of(hang, limit_seconds=0.1)) as periodic:
        await periodic.wake()
        await make_due(parts)
        await periodic.wake()
        status = await settled(periodic)
        (record,) = await periodic.list_rounds("sweep")

    assert heard == 2
    assert status.last_error_code == "periodic_job_timeout"
    assert (record.state, record.error_code) == (RoundState.FAILED, "periodic_job_timeout")


async def test_a_round_whose_process_died_is_done_again(parts: Parts) -> None:
    """Not while it may still live; afterwards at once, and its record says what happened."""
    work = Work()
    work.go.clear()
    async with process(parts, job_of(work.do)) as first, process(parts, job_of(work.do), worker="two") as second:
        await first.wake()
        await make_due(parts)
        await first.wake()
        await make_due(parts)
        while_it_lives = await second.wake()
        await change(
            parts,
            """WITH j AS (UPDATE periodic_jobs SET running_until = now() - interval '1 second')
               UPDATE periodic_rounds SET until = now() - interval '1 second'""",
        )
        after_its_death = await second.wake()
        work.go.set()
        await settled(second)
        newer, older = await second.list_rounds("sweep")

    assert (while_it_lives, after_its_death) == ([], ["sweep"])
    assert (older.state, older.error_code) == (RoundState.FAILED, "periodic_job_interrupted")
    assert (newer.state, newer.worker) == (RoundState.COMPLETED, "two")


async def test_no_turn_is_done_twice_or_lost_by_three_workers(parts: Parts) -> None:
    """One lags, one dies within a round; what was missed while nobody lived is made up for once."""
    works = [Work(), Work(), Work()]
    one, dying, lagging = (
        PeriodicJobs(parts.database, [job_of(work.do, every_seconds=PERIOD)], worker=f"worker {number}")
        for number, work in enumerate(works)
    )
    completed = []

    async def wake_all(*workers: PeriodicJobs) -> None:
        """A turn comes; one worker wakes after it was done, by a clock that is 4 s behind."""
        await asyncio.gather(*(worker.wake() for worker in workers))
        await settled(one)
        await let_pass(parts, 4)
        await lagging.wake()
        await settled(one)
        completed.append(sum(len(work.rounds) for work in works))

    await one.wake()
    for _ in range(5):
        await let_pass(parts, PERIOD)
        await wake_all(dying, one)
    works[1].go.clear()
    await let_pass(parts, PERIOD)
    await dying.wake()
    await wait_until(lambda: _is(works[1].rounds != []))
    begun = [await one.wake(), await lagging.wake()]
    await let_pass(parts, LIMIT_SECONDS + MARGIN_SECONDS + 1)
    await wake_all(one)
    for _ in range(5):
        await let_pass(parts, PERIOD)
        await wake_all(one)
    await let_pass(parts, 60 * PERIOD)
    await wake_all(one)
    rounds = await one.list_rounds("sweep")
    for worker in (one, dying, lagging):
        await worker.aclose()

    assert begun == [[], []]
    # the sixth turn was begun by the one that died, and done by another
    assert completed == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13]
    assert sum(record.state is RoundState.COMPLETED for record in rounds) == 12
    assert [record.error_code for record in rounds if record.state is RoundState.FAILED] == ["periodic_job_interrupted"]


async def test_a_process_that_stops_hands_its_round_on(parts: Parts) -> None:
    """Another one does it at once, and nobody calls that a failure."""
    work = Work()
    work.go.clear()
    async with process(parts, job_of(work.do)) as first:
        await first.wake()
        await make_due(parts)
        await first.wake()
        await wait_until(lambda: _is(len(work.rounds) == 1))
    work.go.set()
    async with process(parts, job_of(work.do), worker="two") as second:
        interrupted = (await second.list_statuses())["sweep"]
        begun = await second.wake()
        status = await settled(second)

    assert (interrupted.is_running, interrupted.failures, interrupted.last_error_code) == (False, 0, None)
    assert begun == ["sweep"]
    assert status.last_result == {"round": 2}


async def test_by_hand_it_is_done_at_once(parts: Parts) -> None:
    """Its next turn stays when it was; a second one beside it is refused, a dry run is not, nor does it count."""
    work = Work()
    async with process(parts, job_of(work.do)) as periodic:
        done = await periodic.run("sweep", dry_run=False, wait_seconds=30)
        turn = (await periodic.list_statuses())["sweep"].next_run_at
        work.go.clear()
        under_way = await periodic.run("sweep", dry_run=False, wait_seconds=0)
        with pytest.raises(PeriodicJobRunningError):
            await periodic.run("sweep", dry_run=False, wait_seconds=0)
        dry = await periodic.run("sweep", dry_run=True, wait_seconds=0)
        work.go.set()
        status = await settled(periodic)
        dry = await wait_until(lambda: _ended(periodic, dry.id))

    assert (done.state, done.result, done.trigger) == (RoundState.COMPLETED, {"round": 1}, "hand")
    assert under_way.state is RoundState.RUNNING
    assert status.next_run_at == turn
    assert [given.dry_run for given in work.rounds] == [False, False, True]
    assert (dry.dry_run, dry.result) == (True, {"round": 3})
    assert status.last_success_at is not None
    assert dry.started_at < status.last_success_at


async def test_what_cannot_be_done_by_hand_is_said(parts: Parts) -> None:
    """A name that does not exist, and a dry run of a job that has none."""
    async with process(parts, job_of(Work().do, has_dry_run=False)) as periodic:
        with pytest.raises(PeriodicJobNotFoundError, match="sweep"):
            await periodic.run("swep", dry_run=False, wait_seconds=0)
        with pytest.raises(NoDryRunError):
            await periodic.run("sweep", dry_run=True, wait_seconds=0)


async def test_rounds_may_overlap_where_that_is_said(parts: Parts) -> None:
    """One that hangs does not keep the next one from being done."""
    work = Work()
    work.go.clear()
    async with process(parts, job_of(work.do, overlaps=True)) as periodic:
        await periodic.wake()
        for _ in range(2):
            await make_due(parts)
            await periodic.wake()
        await wait_until(lambda: _is(len(work.rounds) == 2))
        work.go.set()
        await settled(periodic)

    assert len(work.rounds) == 2


async def test_only_the_last_rounds_are_remembered(parts: Parts) -> None:
    """However often a job is done, it leaves no more than so many rows."""
    async with process(parts, job_of(Work().do)) as periodic:
        await periodic.run("sweep", dry_run=False, wait_seconds=30)
        await change(
            parts,
            """INSERT INTO periodic_rounds (id, job, trigger, dry_run, state, worker, started_at, until)
               SELECT gen_random_uuid(), 'sweep', 'schedule', false, 'completed', 'one',
                      now() - make_interval(mins => n), now() FROM generate_series(1, 500) n""",
        )
        await periodic.run("sweep", dry_run=False, wait_seconds=30)
        async with parts.database.begin() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM periodic_rounds"))

    assert count <= ROUNDS_KEPT + 1


async def test_a_job_that_nobody_does_is_missed(parts: Parts) -> None:
    """After three periods, unless the only worker has just come and may still do it."""
    work = Work()
    async with process(parts, job_of(work.do)) as periodic:
        await periodic.wake()
        fresh = (await periodic.list_statuses())["sweep"]
        await change(parts, "UPDATE periodic_jobs SET created_at = now() - interval '4 hours'")
        nobody = (await periodic.list_statuses())["sweep"]
        await change(
            parts,
            """INSERT INTO workers (id, name, version, kinds, slots, lease_seconds)
               VALUES (gen_random_uuid(), 'one', '1', '{}', 1, 20)""",
        )
        somebody_came = (await periodic.list_statuses())["sweep"]

    assert (fresh.missed, nobody.missed, somebody_came.missed) == (False, True, False)


async def _is(value: bool) -> bool:  # noqa: FBT001 — a predicate for ``wait_until``
    return value


async def _ended(periodic: PeriodicJobs, round_id: Any) -> Any:
    record = await periodic.get_round("sweep", round_id)
    return None if record.state is RoundState.RUNNING else record

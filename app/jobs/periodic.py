"""Does periodic jobs: each once in its period over all workers, each apart from the others, each bounded in time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from app.db.database import Database
from app.db.guard import UNAVAILABLE
from app.db.periodic import OFTEN_SECONDS, ClaimedRound, PeriodicRepository
from app.domain.errors import (
    DomainError,
    NoDryRunError,
    PeriodicJobInterruptedError,
    PeriodicJobNotFoundError,
    PeriodicJobRunningError,
    PeriodicJobTimeoutError,
)
from app.domain.failures import UnexpectedError
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, Round, RoundRecord
from app.jobs.classify import classify
from app.jobs.stopping import stop_task
from app.metrics import PERIODIC_ROUNDS, PERIODIC_SECONDS

log = structlog.get_logger(__name__)

WRITE_SECONDS = 10.0


class PeriodicJobs:
    """The periodic jobs of a process: woken regularly, or done by hand.

    Args:
        worker: how this process is called in the rounds it does.
    """

    def __init__(self, database: Database, jobs: Sequence[PeriodicJob], *, worker: str) -> None:
        self._database = database
        self._jobs = {job.name: job for job in jobs}
        self._worker = worker
        self._rounds: set[asyncio.Task[None]] = set()
        self._registered = False
        self._closed = False

    async def wake(self) -> list[str]:
        """Begin what is due and nobody else does; gives the names. Returns before it is done."""
        if self._closed:
            return []
        try:
            async with self._database.begin() as connection:
                periodic = PeriodicRepository(connection)
                if not self._registered:
                    await periodic.register(list(self._jobs.values()))
                await periodic.give_up_abandoned()
                claimed = await periodic.claim_due(list(self._jobs.values()), worker=self._worker)
        except UNAVAILABLE as error:
            log.warning("periodic_jobs_unavailable", error=type(error).__name__)
            return []
        self._registered = True
        for one in claimed:
            self._begin(one, dry_run=False)
        return [one.job for one in claimed]

    async def run(self, name: str, *, dry_run: bool, wait_seconds: float) -> RoundRecord:
        """Do a job now; gives its round, which may still be under way after ``wait_seconds``.

        Raises:
            PeriodicJobNotFoundError: there is none of this name.
            PeriodicJobRunningError: somebody does it now. A dry run is possible all the same.
            NoDryRunError: it has none.
        """
        job = self._find(name)
        if dry_run and not job.has_dry_run:
            raise NoDryRunError(name)
        async with self._database.begin() as connection:
            periodic = PeriodicRepository(connection)
            await periodic.register(list(self._jobs.values()))
            await periodic.give_up_abandoned()
            if dry_run:
                claimed = await periodic.add_dry_run(job, worker=self._worker)
            else:
                claimed = await self._claim(periodic, job)
        await asyncio.wait({self._begin(claimed, dry_run=dry_run)}, timeout=wait_seconds)
        return await self.get_round(name, claimed.id)

    async def _claim(self, periodic: PeriodicRepository, job: PeriodicJob) -> ClaimedRound:
        claimed = await periodic.claim(job, worker=self._worker)
        if claimed is None:
            raise PeriodicJobRunningError(job.name)
        return claimed

    def list_jobs(self) -> list[PeriodicJob]:
        """All jobs of this version."""
        return list(self._jobs.values())

    async def list_statuses(self) -> Mapping[str, PeriodicJobStatus]:
        """How it stands with each, by name; one that no worker has been woken for yet is missing."""
        async with self._database.begin() as connection:
            statuses = await PeriodicRepository(connection).list_statuses(list(self._jobs))
        return {status.name: status for status in statuses}

    async def list_rounds(self, name: str) -> Sequence[RoundRecord]:
        """The last rounds of a job, newest first. Raises PeriodicJobNotFoundError."""
        self._find(name)
        async with self._database.begin() as connection:
            return await PeriodicRepository(connection).list_rounds(name)

    async def get_round(self, name: str, round_id: UUID) -> RoundRecord:
        """Raises PeriodicJobNotFoundError, NotFoundError."""
        self._find(name)
        async with self._database.begin() as connection:
            return await PeriodicRepository(connection).get_round(name, round_id)

    async def aclose(self) -> None:
        """Stop what is under way; others do it again at once."""
        self._closed = True
        async with asyncio.TaskGroup() as stopping:
            for task in list(self._rounds):
                stopping.create_task(stop_task(task))

    def _find(self, name: str) -> PeriodicJob:
        job = self._jobs.get(name)
        if job is None:
            raise PeriodicJobNotFoundError(name, ", ".join(sorted(self._jobs)))
        return job

    def _begin(self, claimed: ClaimedRound, *, dry_run: bool) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._perform(claimed, dry_run=dry_run))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)
        return task

    async def _perform(self, claimed: ClaimedRound, *, dry_run: bool) -> None:
        """Do one round to its end, and say what became of it. Raises nothing but a cancellation."""
        job = self._jobs[claimed.job]
        started = time.monotonic()
        result: Mapping[str, Any] | None = None
        error: DomainError | None = PeriodicJobInterruptedError()
        working = asyncio.create_task(_work(job, Round(dry_run=dry_run, before=claimed.before)))
        try:
            await asyncio.wait({working}, timeout=job.limit_seconds)
            if working.done():
                result, error = working.result()
            else:
                error = PeriodicJobTimeoutError(job.limit_seconds)
        finally:
            await stop_task(working)
            if not working.done():
                log.error("periodic_job_hangs", job=job.name)
            writing = asyncio.create_task(
                self._finish(claimed, seconds=time.monotonic() - started, result=result, error=error, dry_run=dry_run)
            )
            await asyncio.shield(writing)

    async def _finish(
        self,
        claimed: ClaimedRound,
        *,
        seconds: float,
        result: Mapping[str, Any] | None,
        error: DomainError | None,
        dry_run: bool,
    ) -> None:
        outcome = error.code if error else "ok"
        fields = {"job": claimed.job, "seconds": round(seconds, 3), "dry_run": dry_run}
        if error is not None:
            log.warning("periodic_job_failed", **fields, code=error.code, message=error.message)
        elif self._jobs[claimed.job].every_seconds < OFTEN_SECONDS:
            log.debug("periodic_job_done", **fields, result=result)
        else:
            log.info("periodic_job_done", **fields, result=result)
        if not dry_run:
            PERIODIC_ROUNDS.labels(claimed.job, outcome).inc()
            PERIODIC_SECONDS.labels(claimed.job).observe(seconds)
        try:
            async with asyncio.timeout(WRITE_SECONDS), self._database.begin() as connection:
                await PeriodicRepository(connection).finish(claimed, seconds=seconds, result=result, error=error)
        except UNAVAILABLE as failure:
            # its time runs out, and somebody does it again
            log.warning("periodic_job_not_recorded", job=claimed.job, error=type(failure).__name__)


async def _work(job: PeriodicJob, given: Round) -> tuple[Mapping[str, Any] | None, DomainError | None]:
    """What came of a round, or why nothing did."""
    try:
        return await job.work(given), None
    except Exception as failure:
        error = classify(failure)
        if isinstance(error, UnexpectedError):
            log.exception("periodic_job_crashed", job=job.name)
        return None, error

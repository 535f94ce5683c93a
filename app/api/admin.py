"""What whoever runs the server looks at: its periodic jobs."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import AdminDep, ServicesDep
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, RoundRecord, RoundState, Trigger

router = APIRouter(prefix="/admin", tags=["admin"])

JobName = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[a-z_]+$", description="Name of the job.")]
WAIT_SECONDS = 20.0

EXAMPLE_JOB: JsonDict = {
    "name": "cleanup_generations",
    "does": "drops generations past their time and physical collections that no row knows",
    "every_seconds": 3600,
    "has_dry_run": True,
    "running": False,
    "next_run_at": "2026-03-01T10:02:11Z",
    "last_run_at": "2026-03-01T09:02:11Z",
    "last_success_at": "2026-03-01T09:02:11Z",
    "last_seconds": 0.04,
    "last_result": {"retired": 1, "given_up": 0, "unknown": 0, "names": ["vecloom_5f…"]},
    "last_error_code": None,
    "last_error_message": None,
    "failures": 0,
    "missed": False,
    "worker": "worker-1:17",
}
EXAMPLE_ROUND: JsonDict = {
    "id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11",
    "job": "cleanup_generations",
    "trigger": "hand",
    "dry_run": True,
    "state": "completed",
    "worker": "server:9 (API)",
    "started_at": "2026-03-01T09:30:00Z",
    "finished_at": "2026-03-01T09:30:01Z",
    "seconds": 0.03,
    "result": {"retired": 1, "given_up": 0, "unknown": 0, "names": ["vecloom_5f…"]},
    "error_code": None,
    "error_message": None,
}


class PeriodicJobBody(BaseModel):
    """A periodic job and how it stands with it; times are null before a worker has known it."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_JOB]})

    name: str
    does: str
    every_seconds: float
    has_dry_run: bool
    running: bool = False
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_success_at: datetime | None = None
    last_seconds: float | None = None
    last_result: dict[str, Any] | None = None
    last_error_code: str | None = None
    last_error_message: str | None = None
    failures: int = 0
    missed: bool = False
    worker: str | None = None

    @classmethod
    def of(cls, job: PeriodicJob, status: PeriodicJobStatus | None) -> Self:
        """Render a job."""
        known = {"name": job.name, "does": job.does, "every_seconds": job.every_seconds, "has_dry_run": job.has_dry_run}
        if status is None:
            return cls.model_validate(known)
        names = cls.model_fields.keys() - known.keys() - {"running"}
        return cls.model_validate(
            {**known, "running": status.is_running, **{name: getattr(status, name) for name in names}}
        )


class PeriodicJobList(BaseModel):
    """All periodic jobs."""

    jobs: list[PeriodicJobBody]


class RoundBody(BaseModel):
    """One round of a periodic job."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ROUND]})

    id: UUID
    job: str
    trigger: Trigger
    dry_run: bool
    state: RoundState
    worker: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None

    @classmethod
    def of(cls, record: RoundRecord) -> Self:
        """Render a round."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})


class RoundList(BaseModel):
    """The last rounds of a job, newest first."""

    rounds: list[RoundBody]


class RunRequest(BaseModel):
    """How to do a job by hand; a dry run only says what it would do."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = False


RunBody = Annotated[RunRequest, Body(default_factory=RunRequest)]


@router.get("/jobs")
async def list_periodic_jobs(_: AdminDep, services: ServicesDep) -> PeriodicJobList:
    """All periodic jobs: when each was done last, what came of it, and when it is done next."""
    statuses = await services.periodic.list_statuses()
    jobs = services.periodic.list_jobs()
    return PeriodicJobList(jobs=[PeriodicJobBody.of(job, statuses.get(job.name)) for job in jobs])


@router.get("/jobs/{name}/rounds")
async def list_rounds(name: JobName, _: AdminDep, services: ServicesDep) -> RoundList:
    """The last rounds of a periodic job. Jobs that are done every few seconds remember only those by hand."""
    return RoundList(rounds=[RoundBody.of(record) for record in await services.periodic.list_rounds(name)])


@router.get("/jobs/{name}/rounds/{round_id}")
async def read_round(name: JobName, round_id: UUID, _: AdminDep, services: ServicesDep) -> RoundBody:
    """One round."""
    return RoundBody.of(await services.periodic.get_round(name, round_id))


@router.post("/jobs/{name}/run", responses={202: {"description": "It is still under way.", "model": RoundBody}})
async def run_periodic_job(
    name: JobName, _: AdminDep, services: ServicesDep, response: Response, body: RunBody
) -> RoundBody:
    """Do a periodic job now. Answers when it has ended, or with 202 and the round under way after 20 s."""
    record = await services.periodic.run(name, dry_run=body.dry_run, wait_seconds=WAIT_SECONDS)
    if record.state is RoundState.RUNNING:
        response.status_code = 202
    return RoundBody.of(record)

"""Workers: who executes operations, and who does not any more."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.domain.operations import Worker

router = APIRouter(tags=["workers"])

EXAMPLE_WORKER: JsonDict = {
    "name": "worker-1:17",
    "version": "0.1.0",
    "alive": True,
    "slots": 10,
    "running": 3,
    "kinds": ["INDEX", "APPEND"],
    "started_at": "2026-03-01T09:00:00Z",
    "heartbeat_at": "2026-03-01T09:30:04Z",
    "stopped_at": None,
    "death_is_noticed_at_once": True,
}


class WorkerBody(BaseModel):
    """A worker process. Without its session lock, its death is noticed only when its leases end."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_WORKER]})

    name: str
    version: str
    alive: bool
    slots: int
    running: int
    kinds: list[str]
    started_at: datetime
    heartbeat_at: datetime
    stopped_at: datetime | None
    death_is_noticed_at_once: bool

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """Render a worker."""
        return cls(
            name=worker.name,
            version=worker.version,
            alive=worker.is_alive,
            slots=worker.slots,
            running=worker.running,
            kinds=list(worker.kinds),
            started_at=worker.started_at,
            heartbeat_at=worker.heartbeat_at,
            stopped_at=worker.stopped_at,
            death_is_noticed_at_once=worker.holds_lock,
        )


class WorkerList(BaseModel):
    """Workers of the last day, those that live first."""

    workers: list[WorkerBody]


@router.get("/workers")
async def list_workers(_: CallerDep, services: ServicesDep) -> WorkerList:
    """Workers of the last day, those that live first."""
    return WorkerList(workers=[WorkerBody.of(worker) for worker in await services.operations.list_workers()])

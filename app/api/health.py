"""Health: alive, and ready to serve."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.auth import ServicesDep

router = APIRouter(prefix="/health", tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which of the outside systems answer."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, bool]


@router.get("/live")
async def read_live() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/ready", responses={503: {"model": Readiness}})
async def read_ready(services: ServicesDep, response: Response) -> Readiness:
    """Whether everything a request needs answers; 503 if not."""
    checks = dict(await services.health.ready())
    ready = all(checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", checks=checks)

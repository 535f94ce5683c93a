"""Health: alive, and ready to serve."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app.api.auth import ServicesDep
from app.operations.health import readiness

router = APIRouter(prefix="/health", tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which of the parts it needs are well, and what is wrong with the others."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, bool]
    details: dict[str, str]


@router.get("/live")
async def read_live() -> Alive:
    """Whether the process answers at all."""
    return Alive()


@router.get("/ready", responses={503: {"model": Readiness}})
async def read_ready(services: ServicesDep, response: Response) -> Readiness:
    """Whether everything a request needs answers, said within seconds; 503 if not."""
    answer = Readiness.model_validate(readiness(await services.health.run()))
    response.status_code = 200 if answer.status == "ready" else 503
    return answer

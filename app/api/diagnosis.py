"""Diagnosis: every part of the server looked at closely, for `vecloom doctor`."""

from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.domain.checks import Check
from app.domain.sanitising import sanitise

router = APIRouter(tags=["health"])

EXAMPLE: JsonDict = {
    "ok": False,
    "checks": [
        {"name": "redis", "ok": True, "detail": "version 9.1.0", "fix": ""},
        {"name": "workers", "ok": False, "detail": "none is alive", "fix": "start one with `vecloom worker`"},
    ],
}


class CheckBody(BaseModel):
    """One thing looked at; ``fix`` is empty if it is ok."""

    name: str
    ok: bool
    detail: str
    fix: str

    @classmethod
    def of(cls, check: Check) -> Self:
        """Render a check."""
        return cls(name=check.name, ok=check.ok, detail=sanitise(check.detail), fix="" if check.ok else check.fix)


class Diagnosis(BaseModel):
    """All checks."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    ok: bool
    checks: list[CheckBody]


@router.get("/diagnosis")
async def read_diagnosis(_: CallerDep, services: ServicesDep) -> Diagnosis:
    """What is wrong with this server and what it needs, and what to do.

    Answers within seconds, whatever hangs, except Postgres, which knows the caller; `/health/ready` does then too.
    """
    checks = await services.diagnosis.run()
    return Diagnosis(ok=all(check.ok for check in checks), checks=[CheckBody.of(check) for check in checks])

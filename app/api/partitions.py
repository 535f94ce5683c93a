"""The partitions of the chunks, for whoever runs the server."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import AdminDep, ServicesDep
from app.domain.partitions import PartitionAction, PartitionHealth, PartitionLook, PartitionStatus

router = APIRouter(prefix="/admin", tags=["admin"])

Days = Annotated[int, Query(ge=1, le=90, description="How far back the history goes.")]

EXAMPLE: JsonDict = {
    "status": "warning",
    "rows": 1200000,
    "partitions": [
        {
            "name": "chunks_p07",
            "status": "warning",
            "rows": 60000,
            "dead_rows": 1200,
            "bytes": 96468992,
            "share": 0.05,
            "skew": 0.375,
            "needs": None,
            "last_vacuum_at": "2026-03-01T06:00:00Z",
            "last_analyze_at": "2026-03-01T06:00:00Z",
        }
    ],
    "history": [{"at": "2026-03-01T06:00:00Z", "rows": 1190000, "dead_rows": 800, "skew": 0.37, "helped": 1}],
}


class PartitionBody(BaseModel):
    """A partition. ``rows`` are Postgres' estimates; ``needs`` is what the next round does about it."""

    name: str
    status: PartitionStatus
    rows: int
    dead_rows: int
    bytes: int
    share: float
    skew: float
    needs: PartitionAction | None
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None

    @classmethod
    def of(cls, health: PartitionHealth) -> Self:
        """Render a partition."""
        figures = health.figures
        return cls(
            name=figures.name,
            status=health.status,
            rows=figures.rows,
            dead_rows=figures.dead_rows,
            bytes=figures.bytes,
            share=round(health.share, 4),
            skew=round(health.skew, 4),
            needs=health.needs,
            last_vacuum_at=figures.last_vacuum_at,
            last_analyze_at=figures.last_analyze_at,
        )


class LookBody(BaseModel):
    """What a round found: the largest ``skew`` of those that were not healthy, and how many it has ``helped``."""

    at: datetime
    rows: int
    dead_rows: int
    skew: float
    helped: int

    @classmethod
    def of(cls, look: PartitionLook) -> Self:
        """Render a look."""
        return cls(
            at=look.taken_at, rows=look.rows, dead_rows=look.dead_rows, skew=round(look.skew, 4), helped=look.helped
        )


class PartitionsBody(BaseModel):
    """All partitions as they are now, with the worst status, and what was found before."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    status: PartitionStatus
    rows: int
    partitions: list[PartitionBody]
    history: list[LookBody]


@router.get("/partitions")
async def read_partitions(_: AdminDep, services: ServicesDep, days: Days = 30) -> PartitionsBody:
    """How evenly chunks lie in their partitions, and what keeps Postgres from reading them fast."""
    partitions, looks = await services.partitions.read(days=days)
    order = list(PartitionStatus)
    return PartitionsBody(
        status=max((each.status for each in partitions), key=order.index, default=PartitionStatus.HEALTHY),
        rows=sum(each.figures.rows for each in partitions),
        partitions=[PartitionBody.of(each) for each in partitions],
        history=[LookBody.of(look) for look in looks],
    )

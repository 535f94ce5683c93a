"""Points of a projection: those inside a lasso, the neighbours of one, and those of newer documents."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.api.auth import CallerDep, ServicesDep
from app.api.projections import ProjectionRef
from app.domain.projections import MOST_SHOWN, LiveAnswer, PointSelection, ProjectedPoint

router = APIRouter(tags=["projections"])

MOST_CORNERS = 1000
FEWEST_CORNERS = 3
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]


class PointsRequest(BaseModel):
    """Which points: those inside a polygon of x and y, or those of some ids."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"polygon": [[0, 0], [4, 0], [4, 3]], "limit": 50}]},
    )

    polygon: list[tuple[Number, Number]] | None = Field(
        default=None,
        min_length=FEWEST_CORNERS,
        max_length=MOST_CORNERS,
        description="Its corners, one after the other.",
    )
    ids: list[UUID] | None = Field(default=None, min_length=1, max_length=MOST_SHOWN)
    limit: int = Field(default=200, ge=1, le=MOST_SHOWN)

    @model_validator(mode="after")
    def _says_one(self) -> Self:
        if (self.polygon is None) == (self.ids is None):
            raise ValueError("say either a polygon or ids")
        return self

    def selection(self) -> PointSelection:
        """The same as the services take it."""
        return PointSelection(polygon=self.polygon or (), ids=self.ids or (), limit=self.limit)


class PointBody(BaseModel):
    """A point of a map. What its collection does not have any more has no ``uri`` and no ``preview``."""

    point_id: UUID
    document_id: UUID
    place: tuple[float, ...]
    cluster: int | None
    trust: float | None
    placed: bool
    uri: str | None
    title: str | None
    preview: str | None

    @classmethod
    def of(cls, point: ProjectedPoint) -> Self:
        """Render a point."""
        return cls(
            point_id=point.id,
            document_id=point.document_id,
            place=point.place,
            cluster=point.cluster,
            trust=point.trust,
            placed=point.placed,
            uri=point.uri,
            title=point.title,
            preview=point.preview,
        )


class PointsBody(BaseModel):
    """Points; ``total`` counts those beyond the limit too."""

    total: int
    points: list[PointBody]

    @classmethod
    def of(cls, points: Sequence[ProjectedPoint], *, total: int) -> Self:
        """Render points."""
        return cls(total=total, points=[PointBody.of(point) for point in points])


class LiveBody(BaseModel):
    """Points of newer documents; ``stale`` says why none can be placed, ``left_out`` that there are more."""

    stale: str | None
    left_out: bool
    points: list[PointBody]

    @classmethod
    def of(cls, answer: LiveAnswer) -> Self:
        """Render the points."""
        return cls(
            stale=answer.stale, left_out=answer.left_out, points=[PointBody.of(point) for point in answer.points]
        )


@router.post("/projections/{projection}/points")
async def list_points(
    projection: ProjectionRef, body: PointsRequest, caller: CallerDep, services: ServicesDep
) -> PointsBody:
    """Points inside a polygon or of some ids, with the beginning of their text and their document."""
    answer = await services.projections.list_points(caller.user_id, projection, body.selection())
    return PointsBody.of(answer.points, total=answer.total)


@router.get("/projections/{projection}/points/{point}/neighbours")
async def list_neighbours(
    projection: ProjectionRef, point: UUID, caller: CallerDep, services: ServicesDep
) -> PointsBody:
    """The points whose vectors are nearest to one, nearest first, wherever they are on the map."""
    points = await services.projections.list_neighbours(caller.user_id, projection, point)
    return PointsBody.of(points, total=len(points))


@router.get("/projections/{projection}/live")
async def list_live(projection: ProjectionRef, caller: CallerDep, services: ServicesDep) -> LiveBody:
    """Points of documents that were indexed since, placed by their neighbours, newest first."""
    return LiveBody.of(await services.live_projections.place(caller.user_id, projection))

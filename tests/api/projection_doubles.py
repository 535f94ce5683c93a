"""Doubles of the services of projections."""

# ruff: noqa: ARG002 — doubles take what the services take, and use little of it

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from app.domain.operations import Operation, OperationKind, OperationState, ProductState, Submission
from app.domain.projections import (
    LiveAnswer,
    PointsAnswer,
    PointSelection,
    ProjectedPoint,
    Projection,
    ProjectionChoice,
    ProjectionFileNotFoundError,
    ProjectionNotFoundError,
    ShownProjection,
)
from tests.api.doubles import FakeOperations, make_collection

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class FakeFile:
    """A file that is there."""

    path: Path
    version: str = "v1"
    compressed: bool = False


def make_shown(user_id: UUID, *, stale: str | None = None) -> ShownProjection:
    """One that has completed."""
    projection = Projection(
        id=uuid4(),
        collection_id=uuid4(),
        collection_name="papers",
        user_id=user_id,
        operation_id=uuid4(),
        state=ProductState.COMPLETED,
        config={"method": "umap", "dimensions": 2, "sample": 200_000, "colour_by": "cluster", "parameters": {}},
        points=3,
        sampled=3,
        quality={"trustworthiness@15": 0.9},
        details={"laid_out_by": "umap"},
        files={"map.html": 10, "x.f32": 12},
        created_at=NOW,
        finished_at=NOW,
    )
    return ShownProjection(projection=projection, stale=stale)


class FakeProjections:
    """Adds operations to those of its neighbour; there is one projection, which is named ``known``.

    Attributes:
        reused: whether what is asked for is there already.
        folder: holds the files of the known one.
    """

    def __init__(self, operations: FakeOperations) -> None:
        self._operations = operations
        self.asked: dict[str, Any] = {}
        self.reused = False
        self.folder = Path()

    async def create(
        self, user_id: UUID, id_or_name: str, choice: ProjectionChoice, *, submission: Submission
    ) -> Operation | ShownProjection:
        """A pending PROJECTION, or the finished one."""
        self.asked = {"choice": choice, "submission": submission}
        if self.reused:
            return make_shown(user_id)
        collection = make_collection(user_id, id_or_name)
        return self._operations.add(user_id, collection, OperationState.PENDING, OperationKind.PROJECTION)

    async def get(self, user_id: UUID, projection_id: str) -> ShownProjection:
        """The known one, which is stale."""
        if projection_id != "known":
            raise ProjectionNotFoundError(projection_id)
        return make_shown(user_id, stale="documents_changed")

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> list[ShownProjection]:
        """One."""
        return [make_shown(user_id)]

    async def delete(self, user_id: UUID, projection_id: str) -> None:
        """The known one."""
        await self.get(user_id, projection_id)

    async def find_file(self, user_id: UUID, projection_id: str, name: str, *, compressed: bool) -> FakeFile:
        """What lies in the folder."""
        await self.get(user_id, projection_id)
        copy = self.folder / f"{name}.gz"
        if compressed and copy.is_file():
            return FakeFile(path=copy, compressed=True)
        if not (self.folder / name).is_file():
            raise ProjectionFileNotFoundError(name, ["map.html"])
        return FakeFile(path=self.folder / name)

    async def list_points(self, user_id: UUID, projection_id: str, selection: PointSelection) -> PointsAnswer:
        """One."""
        self.asked = {"selection": selection}
        return PointsAnswer(total=5, points=[make_point()])

    async def list_neighbours(self, user_id: UUID, projection_id: str, point: UUID) -> Sequence[ProjectedPoint]:
        """One."""
        return [make_point()]


def make_point(*, placed: bool = False) -> ProjectedPoint:
    """A point of a document that is still there."""
    return ProjectedPoint(
        id=uuid4(),
        document_id=uuid4(),
        place=(1.0, 2.0),
        cluster=1,
        trust=0.5,
        placed=placed,
        uri="file:///a",
        preview="a",
    )


class FakeLiveProjections:
    """One point is placed."""

    async def place(self, user_id: UUID, projection_id: str) -> LiveAnswer:
        """It is marked as such."""
        return LiveAnswer(points=[make_point(placed=True)])

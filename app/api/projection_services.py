"""What the routes of projections call; part of ``app/api/services.py``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from app.domain.operations import Operation, Submission
from app.domain.projections import (
    LiveAnswer,
    PointsAnswer,
    PointSelection,
    ProjectedPoint,
    ProjectionChoice,
    ShownProjection,
)


class ServedFile(Protocol):
    """A file of a projection; ``version`` changes with its bytes, ``compressed`` says that it is a gzip copy."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def version(self) -> str:
        """Another one for other bytes."""
        ...

    @property
    def compressed(self) -> bool:
        """Whether it is a gzip copy."""
        ...


class Projections(Protocol):
    """Maps of collections."""

    async def create(
        self, user_id: UUID, id_or_name: str, choice: ProjectionChoice, *, submission: Submission
    ) -> Operation | ShownProjection:
        """Add a PROJECTION operation, or give the finished one; see ``ProjectionService.create``."""
        ...

    async def get(self, user_id: UUID, projection_id: str) -> ShownProjection:
        """Raises ProjectionNotFoundError."""
        ...

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> Sequence[ShownProjection]:
        """Newest first. Raises CollectionNotFoundError."""
        ...

    async def delete(self, user_id: UUID, projection_id: str) -> None:
        """Raises ProjectionNotFoundError, ProjectionNotFinishedError."""
        ...

    async def find_file(self, user_id: UUID, projection_id: str, name: str, *, compressed: bool) -> ServedFile:
        """Raises ProjectionNotFoundError, ProjectionFileNotFoundError, ProjectionsUnavailableError."""
        ...

    async def list_points(self, user_id: UUID, projection_id: str, selection: PointSelection) -> PointsAnswer:
        """Raises ProjectionNotFoundError, ProjectionNotFinishedError, ProjectionFileNotFoundError."""
        ...

    async def list_neighbours(self, user_id: UUID, projection_id: str, point: UUID) -> Sequence[ProjectedPoint]:
        """As ``list_points``; and ProjectionPointNotFoundError."""
        ...


class LiveProjections(Protocol):
    """What was indexed since a projection was drawn."""

    async def place(self, user_id: UUID, projection_id: str) -> LiveAnswer:
        """Raises ProjectionNotFoundError, ProjectionNotFinishedError, ProjectionFileNotFoundError."""
        ...

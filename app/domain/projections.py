"""Projections: maps of a collection's embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.domain.errors import ConflictError, NotFoundError, PermanentError
from app.domain.operations import ProductState

SAMPLE = 200_000
MOST_SHOWN = 1000
"""Points of one answer."""
MOST_PLACED = 5000
"""Points of newer documents that are placed on a projection."""


class ProjectionMethod(StrEnum):
    """How a projection is laid out."""

    UMAP = "umap"
    TSNE = "tsne"
    PCA = "pca"


class ColourBy(StrEnum):
    """What the colours of a projection say."""

    CLUSTER = "cluster"
    DOCUMENT = "document"
    SOURCE = "source"
    FOLDER = "folder"
    FILE_TYPE = "file_type"
    AGE = "age"


class ProjectionNotFoundError(NotFoundError):
    """The caller has no such projection."""

    code = "projection_not_found"

    def __init__(self, projection: object) -> None:
        super().__init__(
            f"there is no projection {projection}; `vecloom projections list COLLECTION` lists those there are"
        )


class ProjectionFileNotFoundError(NotFoundError):
    """A projection has no file of this name, or its files are gone."""

    code = "projection_file_not_found"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"the projection has no file {name!r}; there are: {', '.join(known) or 'none'}")


class ProjectionPointNotFoundError(NotFoundError):
    """A projection has no such point."""

    code = "projection_point_not_found"

    def __init__(self, point: object) -> None:
        super().__init__(f"the projection has no point {point}")


class ProjectionNotFinishedError(ConflictError):
    """What is asked for is there once a projection has completed, and one that runs cannot be deleted."""

    code = "projection_not_finished"

    def __init__(self, projection: object, state: str) -> None:
        super().__init__(f"projection {projection} is {state}; wait until it has completed, or cancel its operation")


class ProjectionsUnavailableError(ConflictError):
    """This server has no folder for projections."""

    code = "projections_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "this server has no place for projections; set VECLOOM_PROJECTION_FOLDER to a folder that all servers and"
            " workers reach"
        )


class ProjectionGenerationDroppedError(PermanentError):
    """The generation was dropped while its points were read."""

    code = "projection_generation_dropped"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"generation {name} was dropped while its points were read; `vecloom ops retry` takes the one that serves"
            " now"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionChoice:
    """What a caller wants drawn.

    Attributes:
        sample: how many points are laid out; the rest is placed by its neighbours.
        parameters: of the method.
    """

    method: ProjectionMethod = ProjectionMethod.UMAP
    dimensions: int = 2
    sample: int = SAMPLE
    colour_by: ColourBy = ColourBy.CLUSTER
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        """As it is stored, and compared with others."""
        return {
            "method": self.method.value,
            "dimensions": self.dimensions,
            "sample": self.sample,
            "colour_by": self.colour_by.value,
            "parameters": dict(self.parameters),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a projection is of: a generation, and which documents it holds in which version.

    Attributes:
        digest: a sum over all documents and their contents, in decimal digits.
    """

    generation_id: UUID
    generation: str
    documents: int
    chunks: int
    digest: str

    def to_config(self) -> dict[str, Any]:
        """As it is stored, and compared with others."""
        return {
            "generation_id": str(self.generation_id),
            "generation": self.generation,
            "documents": self.documents,
            "chunks": self.chunks,
            "digest": self.digest,
        }

    def explain_change(self, before: Mapping[str, Any] | None) -> str | None:
        """Why a projection of what was ``before`` is stale now; None if it is not."""
        now = self.to_config()
        if before is None or before == now:
            return None
        if before["generation_id"] != now["generation_id"]:
            return "generation_changed"
        return "documents_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProjection:
    """A projection to be created."""

    user_id: UUID
    collection_id: UUID
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProjection:
    """What came of a projection.

    Attributes:
        degraded: why it was laid out in another way than was asked for; a stable code.
        quality: trustworthiness and the like, on a sample.
        sampled: how many points were laid out.
        details: the rest that its result says.
        files: sizes of its files in bytes, by name.
    """

    degraded: str | None
    quality: Mapping[str, float]
    points: int
    sampled: int
    details: Mapping[str, Any]
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A row of ``projections``.

    Attributes:
        generation_id, generation: what it was drawn from; none before an attempt has begun.
        fingerprint: what the collection held when its points were read.
        attempt: names the folder of the attempt that makes it.
        began_at: when its points began to be read.
        error_code: why there is none.
    """

    id: UUID
    collection_id: UUID
    collection_name: str
    user_id: UUID
    operation_id: UUID | None
    state: ProductState
    config: Mapping[str, Any]
    generation_id: UUID | None = None
    generation: str | None = None
    fingerprint: Mapping[str, Any] | None = None
    attempt: str | None = None
    degraded: str | None = None
    quality: Mapping[str, float] | None = None
    points: int | None = None
    sampled: int | None = None
    details: Mapping[str, Any] | None = field(default=None, repr=False)
    files: Mapping[str, int] | None = None
    error_code: str | None = None
    created_at: datetime | None = None
    began_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum((self.files or {}).values())

    def result(self) -> dict[str, Any]:
        """What its operation ends with."""
        return {
            "projection_id": str(self.id),
            "points": self.points,
            "sampled": self.sampled,
            "method": self.config["method"],
            "dimensions": self.config["dimensions"],
            "degraded": self.degraded,
            "quality": dict(self.quality or {}),
            "bytes": self.bytes,
            **(self.details or {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownProjection:
    """A projection, and why it is stale; None if it is not."""

    projection: Projection
    stale: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSelection:
    """Which points of a projection are asked for: those inside a polygon, or those of some ids."""

    polygon: Sequence[tuple[float, float]] = ()
    ids: Sequence[UUID] = ()
    limit: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedPoint:
    """A point of a projection with what it stands for; what its collection does not have any more is missing.

    Attributes:
        place: x, y and perhaps z.
        trust: how far its neighbourhood on the map is its own, from 0 to 1.
        placed: whether it was put beside its neighbours and not laid out.
    """

    id: UUID
    document_id: UUID
    place: tuple[float, ...]
    cluster: int | None = None
    trust: float | None = None
    placed: bool = False
    uri: str | None = None
    title: str | None = None
    preview: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsAnswer:
    """Some points of a projection; ``total`` counts those that were left out too."""

    total: int
    points: Sequence[ProjectedPoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """Points of documents that were indexed since a projection was drawn, placed on it.

    Attributes:
        stale: why nothing can be placed; a stable code.
        left_out: whether there are more than are placed.
    """

    points: Sequence[ProjectedPoint]
    stale: str | None = None
    left_out: bool = False

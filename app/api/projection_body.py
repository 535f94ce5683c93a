"""A projection as its owner sees it."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.domain.operations import ProductState
from app.domain.projections import ShownProjection

EXAMPLE_PROJECTION: JsonDict = {
    "projection_id": "9f1c7f0a-0b6e-4e57-8f0e-6f4e5f8f8a11",
    "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "collection": "papers",
    "state": "completed",
    "error_code": None,
    "stale": "documents_changed",
    "degraded": None,
    "config": {
        "method": "umap",
        "dimensions": 2,
        "sample": 200000,
        "colour_by": "cluster",
        "parameters": {"n_neighbors": 15, "min_dist": 0.1, "metric": "cosine", "seed": 42},
    },
    "generation": "vecloom_a1b2c3d4e5_0d9c2c9c6c0f4f0e8d6f3a0a6d1f7e55_5a6f3c1e8a52",
    "points": 1400,
    "sampled": 1400,
    "quality": {"trustworthiness@15": 0.97},
    "details": {"laid_out_by": "umap", "invalid": 0, "seconds": 3.2},
    "files": {"map.html": 412000, "points.parquet": 230000, "x.f32": 5600, "y.f32": 5600},
    "bytes": 653200,
    "created_at": "2026-03-01T09:30:00Z",
    "finished_at": "2026-03-01T09:30:12Z",
}


class ProjectionBody(BaseModel):
    """A projection; ``stale`` says why it is not what the collection holds now, and is null if it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PROJECTION]})

    projection_id: UUID
    operation_id: UUID | None
    collection_id: UUID
    collection: str
    state: ProductState
    error_code: str | None
    stale: str | None
    degraded: str | None
    config: dict[str, Any]
    generation: str | None
    points: int | None
    sampled: int | None
    quality: dict[str, float]
    details: dict[str, Any]
    files: dict[str, int]
    bytes: int
    created_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, shown: ShownProjection) -> Self:
        """Render a projection."""
        one = shown.projection
        return cls(
            projection_id=one.id,
            operation_id=one.operation_id,
            collection_id=one.collection_id,
            collection=one.collection_name,
            state=one.state,
            error_code=one.error_code,
            stale=shown.stale,
            degraded=one.degraded,
            config=dict(one.config),
            generation=one.generation,
            points=one.points,
            sampled=one.sampled,
            quality=dict(one.quality or {}),
            details=dict(one.details or {}),
            files=dict(one.files or {}),
            bytes=one.bytes,
            created_at=one.created_at,
            finished_at=one.finished_at,
        )

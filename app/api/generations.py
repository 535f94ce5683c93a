"""The generations of a collection: the one that serves, what was replaced, and what is being built."""

from datetime import datetime
from typing import Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.collections import ChunkingBody
from app.api.operations import CollectionRef
from app.domain.collections import Generation, GenerationState
from app.domain.generations import GenerationStatus

router = APIRouter(tags=["generations"])

EXAMPLE_GENERATION: JsonDict = {
    "id": "5c0f3a8e-42bb-4f0e-8ec2-3f0b7f1f8d11",
    "name": "vecloom_ab12cd34ef_0f1e2d3c4b5a_5c0f3a8e42bb",
    "state": "retired",
    "is_complete": True,
    "model": "wordllama",
    "dimension": 256,
    "chunking": {"strategy": "recursive", "size": 400, "overlap": 40},
}
EXAMPLE: JsonDict = {
    **EXAMPLE_GENERATION,
    "points": 834,
    "created_at": "2026-03-01T09:30:07Z",
    "activated_at": "2026-03-01T09:31:00Z",
    "retired_at": "2026-03-02T14:00:00Z",
    "drop_after": "2026-03-03T14:00:00Z",
}


class GenerationBody(BaseModel):
    """A generation; one that is being built is not complete."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_GENERATION]})

    id: UUID
    name: str
    state: GenerationState
    is_complete: bool
    model: str
    dimension: int
    chunking: ChunkingBody

    @classmethod
    def of(cls, generation: Generation) -> Self:
        """Render a generation."""
        chunking = generation.chunking
        return cls(
            id=generation.id,
            name=generation.name,
            state=generation.state,
            is_complete=generation.is_complete,
            model=generation.model,
            dimension=generation.dimension,
            chunking=ChunkingBody(strategy=chunking.strategy, size=chunking.size, overlap=chunking.overlap),
        )


class GenerationStatusBody(GenerationBody):
    """A generation with its history. ``points`` are those the manifest says it must hold.

    A retired one is dropped after ``drop_after``; while that is null, it is kept.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    points: int
    created_at: datetime | None
    activated_at: datetime | None
    retired_at: datetime | None
    drop_after: datetime | None

    @classmethod
    def of_status(cls, status: GenerationStatus) -> Self:
        """Render a generation with its history."""
        return cls(
            **GenerationBody.of(status.generation).model_dump(),
            points=status.points,
            created_at=status.generation.created_at,
            activated_at=status.activated_at,
            retired_at=status.retired_at,
            drop_after=status.drop_after,
        )


class GenerationList(BaseModel):
    """Generations that were not dropped, newest first; at most 100."""

    generations: list[GenerationStatusBody]


@router.get("/collections/{collection}/generations")
async def list_generations(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> GenerationList:
    """The generations of a collection that were not dropped."""
    found = await services.generations.list(caller.user_id, collection)
    return GenerationList(generations=[GenerationStatusBody.of_status(status) for status in found])

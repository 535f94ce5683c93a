"""What callers say about a projection."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.reindex_config import MaxRuntime
from app.domain.projections import SAMPLE, ColourBy, ProjectionChoice, ProjectionMethod

MOST_PARAMETERS = 20


class ProjectionConfig(BaseModel):
    """What is drawn, and how."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"method": "umap", "colour_by": "folder"},
                {"method": "tsne", "dimensions": 3, "parameters": {"perplexity": 50}},
            ]
        },
    )

    method: ProjectionMethod = ProjectionMethod.UMAP
    dimensions: int = Field(default=2, description="2 or 3.")
    sample: int = Field(
        default=SAMPLE, description="How many points are laid out; the rest is placed by its neighbours."
    )
    colour_by: ColourBy = ColourBy.CLUSTER
    parameters: dict[str, Any] = Field(
        default={}, max_length=MOST_PARAMETERS, description="Of the method; docs/projection.md."
    )
    max_runtime_seconds: MaxRuntime = None

    def choice(self) -> ProjectionChoice:
        """The same as the services take it."""
        return ProjectionChoice(
            method=self.method,
            dimensions=self.dimensions,
            sample=self.sample,
            colour_by=self.colour_by,
            parameters=self.parameters,
        )

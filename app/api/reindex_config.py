"""What callers say about a rebuild."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.domain.documents import ChunkingChoice, ChunkingStrategy
from app.domain.rebuilds import RebuildChoice
from app.evaluation.policy import parse_policy

Gate = Annotated[
    str | dict[str, Any] | None,
    Field(description="`default`, `strict`, `report-only`, or an object; see docs/reindex-gate.md."),
]
MaxRuntime = Annotated[
    float | None, Field(gt=0, le=30 * 86_400, description="How long its attempts may run in all, in seconds.")
]


class ReindexConfig(BaseModel):
    """What is made anew; what is not said stays as it is. A chunk size without an overlap gets a tenth of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"chunk_size": 300, "gate": "default"}, {"model": "bge-m3", "dry_run": True}]},
    )

    model: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    chunk_size: int | None = Field(default=None, ge=16, le=8192)
    chunk_overlap: int | None = Field(default=None, ge=0, le=8191)
    chunk_strategy: ChunkingStrategy | None = None
    extract: bool = Field(default=False, description="Read and extract all documents from their sources again.")
    index: dict[str, Any] | None = Field(
        default=None, description="Settings of the index that change; null leaves one to the store. docs/reindex.md."
    )
    sparse: dict[str, Any] | None = Field(
        default=None, description="Settings of the words that change; null leaves one to the store. docs/search.md."
    )
    gate: Gate = None
    keep_refused: bool = Field(default=False, description="Keep a rebuild that the gate refuses, to compare with it.")
    watch_minutes: int | None = Field(
        default=None,
        ge=1,
        le=7 * 24 * 60,
        description="So long after the switch it is taken back by itself if more searches fail or find nothing.",
    )
    dry_run: bool = Field(default=False, description="Only say what it would do, take and cost.")
    max_runtime_seconds: MaxRuntime = None

    def choice(self) -> RebuildChoice:
        """The same as the services take it. Raises InvalidGatePolicyError."""
        parse_policy(self.gate)
        return RebuildChoice(
            model=self.model,
            chunking=ChunkingChoice(strategy=self.chunk_strategy, size=self.chunk_size, overlap=self.chunk_overlap),
            extract=self.extract,
            index=self.index,
            sparse=self.sparse,
            gate=self.gate,
            keep_refused=self.keep_refused,
            watch_minutes=self.watch_minutes,
            dry_run=self.dry_run,
        )

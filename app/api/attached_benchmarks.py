"""Datasets that a collection is measured with again and again."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import CallerDep, ServicesDep
from app.api.benchmark_config import Measured
from app.api.operations import CollectionRef
from app.domain.benchmarks import AttachedBenchmark, Attachment

router = APIRouter(tags=["benchmarks"])

DatasetRef = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]*$", description="Its id or name.")]
LEAST_SECONDS, MOST_SECONDS = 600, 366 * 86_400


class AttachmentRequest(Measured):
    """When it is run, and how; the baseline is the benchmark before, unless another one is named."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"is_gate": True, "every_seconds": 86_400, "fail_if": ["ndcg@10 < baseline - 0.01"]}]
        },
    )

    is_gate: bool = Field(default=True, description="Rebuilds ask its queries too, and are refused if they find less.")
    after_reindex: bool = Field(default=True, description="Run it once another generation serves.")
    every_seconds: int | None = Field(default=None, ge=LEAST_SECONDS, le=MOST_SECONDS)

    def attachment(self, dataset: str) -> Attachment:
        """The same as the services take it."""
        return Attachment(
            is_gate=self.is_gate,
            after_reindex=self.after_reindex,
            every_seconds=self.every_seconds,
            config=self.choose(dataset=dataset).to_config(),
        )


class AttachedBody(BaseModel):
    """A dataset that is attached to a collection."""

    dataset_id: UUID
    dataset: str
    is_gate: bool
    after_reindex: bool
    every_seconds: int | None
    next_at: datetime | None
    last_benchmark_id: UUID | None
    last_error_code: str | None
    config: dict[str, Any]

    @classmethod
    def of(cls, attached: AttachedBenchmark) -> Self:
        """Render it."""
        attachment = attached.attachment
        return cls(
            dataset_id=attached.dataset_id,
            dataset=attached.dataset_name,
            is_gate=attachment.is_gate,
            after_reindex=attachment.after_reindex,
            every_seconds=attachment.every_seconds,
            next_at=attached.next_at,
            last_benchmark_id=attached.last_benchmark_id,
            last_error_code=attached.last_error_code,
            config=dict(attachment.config),
        )


class AttachedList(BaseModel):
    """All of a collection, by the names of the datasets."""

    attached: list[AttachedBody]


@router.get("/collections/{collection}/attached-benchmarks")
async def list_attached(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> AttachedList:
    """What a collection is measured with again and again."""
    found = await services.attached_benchmarks.list(caller.user_id, collection)
    return AttachedList(attached=[AttachedBody.of(one) for one in found])


@router.put("/collections/{collection}/attached-benchmarks/{dataset}")
async def attach_benchmark(
    collection: CollectionRef,
    dataset: DatasetRef,
    body: AttachmentRequest,
    caller: CallerDep,
    services: ServicesDep,
) -> AttachedList:
    """Measure a collection with a dataset by the clock, after each rebuild, or as the gate of rebuilds."""
    found = await services.attached_benchmarks.attach(caller.user_id, collection, dataset, body.attachment(dataset))
    return AttachedList(attached=[AttachedBody.of(one) for one in found])


@router.delete("/collections/{collection}/attached-benchmarks/{dataset}", status_code=204)
async def detach_benchmark(
    collection: CollectionRef, dataset: DatasetRef, caller: CallerDep, services: ServicesDep
) -> None:
    """End that; what was measured stays."""
    await services.attached_benchmarks.detach(caller.user_id, collection, dataset)

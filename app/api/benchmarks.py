"""Benchmarks: begin one, look at what it found, take it away."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.benchmark_config import BenchmarkConfig
from app.api.headers import SANDBOX
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody, PriorityName, RunAfter
from app.domain.benchmarks import Benchmark
from app.domain.operations import Priority, ProductState, Submission
from app.traces import current_trace_parent

router = APIRouter(tags=["benchmarks"])

BenchmarkRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
RunRef = Annotated[
    str, Path(min_length=1, max_length=500, pattern=r"^[^\x00]*$", description="Its name, or its number from 1.")
]

EXAMPLE_BENCHMARK: JsonDict = {
    "benchmark_id": "9f1c7f0a-0b6e-4e57-8f0e-6f4e5f8f8a11",
    "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "collection": "papers",
    "dataset": "cranfield",
    "is_synthetic": False,
    "state": "completed",
    "error_code": None,
    "config": {"top_k": 100, "primary": "ndcg@10", "measures": ["ndcg@10", "map"]},
    "runs": [{"name": "hybrid", "mode": "hybrid", "metrics": {"ndcg@10": 0.35}}],
    "verdicts": [],
    "created_at": "2026-03-01T09:30:00Z",
    "finished_at": "2026-03-01T09:30:12Z",
}


class ReportFormat(StrEnum):
    """How a report is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


class BenchmarkRequest(BenchmarkConfig):
    """A benchmark, and when it begins."""

    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None

    def submission(self, idempotency_key: str | None) -> Submission:
        """How it is submitted."""
        return Submission(
            idempotency_key=idempotency_key,
            priority=Priority[self.priority.name],
            run_after=self.run_after,
            max_runtime_seconds=self.max_runtime_seconds,
            trace_parent=current_trace_parent(),
        )


class BenchmarkBody(BaseModel):
    """A benchmark; ``runs`` and ``verdicts`` are what its report says of them, once it has completed."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_BENCHMARK]})

    benchmark_id: UUID
    operation_id: UUID | None
    collection_id: UUID
    collection: str
    dataset: str | None
    is_synthetic: bool
    state: ProductState
    error_code: str | None
    config: dict[str, Any]
    runs: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]
    created_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, benchmark: Benchmark, runs: Sequence[Mapping[str, Any]], verdicts: Sequence[Mapping[str, Any]]) -> Self:
        """Render a benchmark."""
        return cls(
            benchmark_id=benchmark.id,
            operation_id=benchmark.operation_id,
            collection_id=benchmark.collection_id,
            collection=benchmark.collection_name,
            dataset=benchmark.dataset_name,
            is_synthetic=benchmark.is_synthetic,
            state=benchmark.state,
            error_code=benchmark.error_code,
            config=dict(benchmark.config),
            runs=[dict(run) for run in runs],
            verdicts=[dict(verdict) for verdict in verdicts],
            created_at=benchmark.created_at,
            finished_at=benchmark.finished_at,
        )


class BenchmarkList(BaseModel):
    """Benchmarks of a collection, newest first."""

    benchmarks: list[BenchmarkBody]


@router.post("/collections/{collection}/benchmarks", status_code=202)
async def create_benchmark(
    collection: CollectionRef,
    body: BenchmarkRequest,
    caller: CallerDep,
    services: ServicesDep,
    idempotency_key: IdempotencyKey = None,
) -> OperationBody:
    """Measure how well searches find what people judged right."""
    operation = await services.benchmarks.create(
        caller.user_id, collection, body.choice(), submission=body.submission(idempotency_key)
    )
    return OperationBody.of(operation)


@router.get("/collections/{collection}/benchmarks")
async def list_benchmarks(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> BenchmarkList:
    """What was measured of a collection, newest first."""
    found = await services.benchmarks.list(caller.user_id, collection, limit=limit)
    return BenchmarkList(benchmarks=[BenchmarkBody.of(one.benchmark, one.runs, one.verdicts) for one in found])


@router.get("/benchmarks/{benchmark}")
async def read_benchmark(benchmark: BenchmarkRef, caller: CallerDep, services: ServicesDep) -> BenchmarkBody:
    """One benchmark."""
    found = await services.benchmarks.get(caller.user_id, benchmark)
    report = found.report or {}
    return BenchmarkBody.of(found, report.get("runs", []), report.get("verdicts", []))


@router.get("/benchmarks/{benchmark}/report", response_class=Response)
async def read_report(
    benchmark: BenchmarkRef,
    caller: CallerDep,
    services: ServicesDep,
    format: ReportFormat = ReportFormat.JSON,  # noqa: A002 — the parameter's usual name
) -> Response:
    """The whole report: intervals, significance, queries won and lost, the worst queries and why."""
    content, media_type = await services.benchmarks.write_report(caller.user_id, benchmark, format.value)
    headers = {"Content-Security-Policy": SANDBOX} if format is ReportFormat.HTML else {}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/benchmarks/{benchmark}/runs/{run}/trec", response_class=Response)
async def export_run(benchmark: BenchmarkRef, run: RunRef, caller: CallerDep, services: ServicesDep) -> Response:
    """A run in TREC format, with the ids of documents; also of a benchmark under way, as far as it is."""
    content = await services.benchmarks.export_run(caller.user_id, benchmark, run)
    return Response(content, media_type="text/plain; charset=utf-8")


@router.get("/benchmarks/{benchmark}/qrels", response_class=Response)
async def export_qrels(benchmark: BenchmarkRef, caller: CallerDep, services: ServicesDep) -> Response:
    """The judgments a benchmark was scored by, in TREC format, with the same ids as its runs."""
    content = await services.benchmarks.export_qrels(caller.user_id, benchmark)
    return Response(content, media_type="text/plain; charset=utf-8")


@router.delete("/benchmarks/{benchmark}", status_code=204)
async def delete_benchmark(benchmark: BenchmarkRef, caller: CallerDep, services: ServicesDep) -> None:
    """Forget a benchmark and its results."""
    await services.benchmarks.delete(caller.user_id, benchmark)

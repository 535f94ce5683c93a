"""Benchmarks in memory."""

# ruff: noqa: ARG002 — doubles take what the services take, and use little of it

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.domain.benchmarks import (
    AttachedBenchmark,
    Attachment,
    Benchmark,
    BenchmarkChoice,
    BenchmarkNotFoundError,
    ListedBenchmark,
)
from app.domain.operations import Operation, OperationKind, OperationState, ProductState, Submission
from tests.api.doubles import FakeOperations, make_collection

NOW = datetime(2026, 3, 1, 9, 30, 7, tzinfo=UTC)
RUN = {"name": "hybrid", "mode": "hybrid", "metrics": {"ndcg@10": 0.35}}


def make_benchmark(user_id: UUID) -> Benchmark:
    """One that has completed."""
    return Benchmark(
        id=uuid4(),
        collection_id=uuid4(),
        collection_name="papers",
        user_id=user_id,
        operation_id=uuid4(),
        dataset_id=uuid4(),
        dataset_name="cranfield",
        dataset_fingerprint=b"f",
        is_synthetic=False,
        state=ProductState.COMPLETED,
        config={"top_k": 100, "primary": "ndcg@10", "measures": ["ndcg@10"]},
        report={"runs": [RUN]},
        created_at=NOW,
        finished_at=NOW,
    )


class FakeBenchmarks:
    """Adds operations to those of its neighbour; there is one benchmark, which is named ``known``."""

    def __init__(self, operations: FakeOperations) -> None:
        self._operations = operations
        self.asked: dict[str, Any] = {}

    async def create(
        self, user_id: UUID, id_or_name: str, choice: BenchmarkChoice, *, submission: Submission
    ) -> Operation:
        """A pending BENCHMARK."""
        self.asked = {"choice": choice, "submission": submission}
        collection = make_collection(user_id, id_or_name)
        return self._operations.add(user_id, collection, OperationState.PENDING, OperationKind.BENCHMARK)

    async def get(self, user_id: UUID, benchmark_id: str) -> Benchmark:
        """The known one."""
        if benchmark_id != "known":
            raise BenchmarkNotFoundError(benchmark_id)
        return make_benchmark(user_id)

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> list[ListedBenchmark]:
        """One."""
        return [ListedBenchmark(benchmark=make_benchmark(user_id), runs=[RUN])]

    async def write_report(self, user_id: UUID, benchmark_id: str, kind: str) -> tuple[bytes, str]:
        """Says which kind."""
        self.asked = {"kind": kind}
        return kind.encode(), "text/html; charset=utf-8" if kind == "html" else "text/plain"

    async def export_run(self, user_id: UUID, benchmark_id: str, run: str) -> bytes:
        """Says which run."""
        return run.encode()

    async def export_qrels(self, user_id: UUID, benchmark_id: str) -> bytes:
        """One line."""
        return b"1 0 a 1\n"

    async def delete(self, user_id: UUID, benchmark_id: str) -> None:
        """The known one."""
        await self.get(user_id, benchmark_id)


class FakeAttachedBenchmarks:
    """Keeps the last one."""

    def __init__(self) -> None:
        self.attached: list[AttachedBenchmark] = []

    async def attach(
        self, user_id: UUID, id_or_name: str, dataset: str, attachment: Attachment
    ) -> list[AttachedBenchmark]:
        """Just this one."""
        one = AttachedBenchmark(
            collection_id=uuid4(), user_id=user_id, dataset_id=uuid4(), dataset_name=dataset, attachment=attachment
        )
        self.attached = [one]
        return self.attached

    async def detach(self, user_id: UUID, id_or_name: str, dataset: str) -> None:
        """None is left."""
        self.attached = []

    async def list(self, user_id: UUID, id_or_name: str) -> list[AttachedBenchmark]:
        """The last one."""
        return self.attached

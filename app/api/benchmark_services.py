"""What the routes of benchmarks call; part of ``app/api/services.py``."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from app.domain.benchmarks import (
    AttachedBenchmark,
    Attachment,
    Benchmark,
    BenchmarkChoice,
    ListedBenchmark,
)
from app.domain.operations import Operation, Submission


class Benchmarks(Protocol):
    """Measures how well searches find what people judged right."""

    async def create(
        self, user_id: UUID, id_or_name: str, choice: BenchmarkChoice, *, submission: Submission
    ) -> Operation:
        """Add a BENCHMARK operation; see ``BenchmarkService.create`` for what it raises."""
        ...

    async def get(self, user_id: UUID, benchmark_id: str) -> Benchmark:
        """Raises BenchmarkNotFoundError."""
        ...

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> Sequence[ListedBenchmark]:
        """Newest first. Raises CollectionNotFoundError."""
        ...

    async def write_report(self, user_id: UUID, benchmark_id: str, kind: str) -> tuple[bytes, str]:
        """A report and its media type. Raises BenchmarkNotFoundError, BenchmarkNotFinishedError."""
        ...

    async def export_run(self, user_id: UUID, benchmark_id: str, run: str) -> bytes:
        """A run in TREC format. Raises BenchmarkNotFoundError, BenchmarkRunNotFoundError."""
        ...

    async def export_qrels(self, user_id: UUID, benchmark_id: str) -> bytes:
        """Judgments in TREC format. Raises BenchmarkNotFoundError, BenchmarkNotFinishedError."""
        ...

    async def delete(self, user_id: UUID, benchmark_id: str) -> None:
        """Raises BenchmarkNotFoundError, BenchmarkNotFinishedError."""
        ...


class AttachedBenchmarks(Protocol):
    """Datasets that a collection is measured with again and again."""

    async def attach(
        self, user_id: UUID, id_or_name: str, dataset: str, attachment: Attachment
    ) -> Sequence[AttachedBenchmark]:
        """All that are attached then. Raises CollectionNotFoundError, DatasetNotFoundError, InvalidBenchmarkError."""
        ...

    async def detach(self, user_id: UUID, id_or_name: str, dataset: str) -> None:
        """Raises CollectionNotFoundError, DatasetNotFoundError, BenchmarkNotAttachedError."""
        ...

    async def list(self, user_id: UUID, id_or_name: str) -> Sequence[AttachedBenchmark]:
        """All of a collection. Raises CollectionNotFoundError."""
        ...

"""What the routes of judged queries call; part of ``app/api/services.py``."""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from app.domain.benchmark_datasets import Dataset, DatasetFormat, DatasetQuery
from app.domain.dataset_mapping import Coverage
from app.domain.judgments import Judgment, JudgmentCounts


class BenchmarkDatasets(Protocol):
    """Judged queries. Who names one that there is not gets DatasetNotFoundError."""

    async def add(
        self, user_id: UUID, name: str, files: Mapping[str, bytes], *, split: str | None, limit_queries: int | None
    ) -> tuple[Dataset, bool]:
        """Whether it is new. Raises InvalidDatasetError, DatasetTooLargeError, DatasetExistsError."""
        ...

    async def make(
        self, user_id: UUID, collection: str, name: str, *, documents: int, seed: int
    ) -> tuple[Dataset, bool]:
        """A synthetic one, and whether it is new. Raises CollectionNotReadyError and what ``add`` does."""
        ...

    async def list(self, user_id: UUID) -> Sequence[Dataset]:
        """All of the caller, by name."""
        ...

    async def get(self, user_id: UUID, id_or_name: str) -> Dataset:
        """One."""
        ...

    async def list_queries(
        self, user_id: UUID, id_or_name: str, *, first: int, limit: int
    ) -> tuple[Dataset, Sequence[DatasetQuery]]:
        """One, and some of its queries."""
        ...

    async def export(self, user_id: UUID, id_or_name: str, wanted: DatasetFormat) -> tuple[Dataset, bytes]:
        """One as a JSON document or a zip archive."""
        ...

    async def remove(self, user_id: UUID, id_or_name: str) -> None:
        """Delete one."""
        ...

    async def cover(self, user_id: UUID, collection: str, id_or_name: str) -> tuple[Dataset, Coverage]:
        """How much of one a collection has. Raises CollectionNotFoundError."""
        ...


class Judgments(Protocol):
    """What people think of the documents that searches found. Everything raises CollectionNotFoundError."""

    async def set(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID, grade: int) -> Judgment:
        """Keep it. Raises DocumentNotFoundError, TooManyJudgmentsError."""
        ...

    async def take_back(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID) -> None:
        """Forget it."""
        ...

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int, after: int | None) -> Sequence[Judgment]:
        """Those made first come last."""
        ...

    async def list_of_query(self, user_id: UUID, id_or_name: str, *, query: str) -> Sequence[Judgment]:
        """What the caller said of the hits of a query."""
        ...

    async def count(self, user_id: UUID, id_or_name: str) -> JudgmentCounts:
        """How many there are."""
        ...

    async def write_qrels(self, user_id: UUID, id_or_name: str) -> bytes:
        """As TREC has them. Raises NoJudgmentsError."""
        ...

    async def make_dataset(self, user_id: UUID, id_or_name: str, *, name: str) -> tuple[Dataset, bool]:
        """Whether it is new. Raises NoJudgmentsError, DatasetExistsError."""
        ...

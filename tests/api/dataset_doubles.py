# ruff: noqa: ARG002
"""A server without judged queries and judgments. Those that have some are tested as they are, in ``tests/datasets``."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.domain.benchmark_datasets import (
    Dataset,
    DatasetFormat,
    DatasetNotFoundError,
    DatasetQuery,
    InvalidDatasetError,
)
from app.domain.dataset_mapping import Coverage
from app.domain.errors import DocumentNotFoundError
from app.domain.judgments import Judgment, JudgmentCounts, NoJudgmentsError


class NoDatasets:
    """Knows none, and takes none."""

    async def add(
        self, user_id: UUID, name: str, files: Mapping[str, bytes], *, split: str | None, limit_queries: int | None
    ) -> tuple[Dataset, bool]:
        """Raises InvalidDatasetError."""
        raise InvalidDatasetError("there is no file")

    async def make(
        self, user_id: UUID, collection: str, name: str, *, documents: int, seed: int
    ) -> tuple[Dataset, bool]:
        """Raises InvalidDatasetError."""
        raise InvalidDatasetError("there is no document")

    async def list(self, user_id: UUID) -> Sequence[Dataset]:
        """None."""
        return []

    async def get(self, user_id: UUID, id_or_name: str) -> Dataset:
        """Raises DatasetNotFoundError."""
        raise DatasetNotFoundError(id_or_name)

    async def list_queries(
        self, user_id: UUID, id_or_name: str, *, first: int, limit: int
    ) -> tuple[Dataset, Sequence[DatasetQuery]]:
        """Raises DatasetNotFoundError."""
        raise DatasetNotFoundError(id_or_name)

    async def export(self, user_id: UUID, id_or_name: str, wanted: DatasetFormat) -> tuple[Dataset, bytes]:
        """Raises DatasetNotFoundError."""
        raise DatasetNotFoundError(id_or_name)

    async def remove(self, user_id: UUID, id_or_name: str) -> None:
        """Raises DatasetNotFoundError."""
        raise DatasetNotFoundError(id_or_name)

    async def cover(self, user_id: UUID, collection: str, id_or_name: str) -> tuple[Dataset, Coverage]:
        """Raises DatasetNotFoundError."""
        raise DatasetNotFoundError(id_or_name)


class NoJudgments:
    """Nobody has judged anything, and nobody can."""

    async def set(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID, grade: int) -> Judgment:
        """Raises DocumentNotFoundError."""
        raise DocumentNotFoundError(document_id)

    async def take_back(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID) -> None:
        """There is none."""

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int, after: int | None) -> Sequence[Judgment]:
        """None."""
        return []

    async def list_of_query(self, user_id: UUID, id_or_name: str, *, query: str) -> Sequence[Judgment]:
        """None."""
        return []

    async def count(self, user_id: UUID, id_or_name: str) -> JudgmentCounts:
        """None."""
        return JudgmentCounts(judgments=0, queries=0)

    async def write_qrels(self, user_id: UUID, id_or_name: str) -> bytes:
        """Raises NoJudgmentsError."""
        raise NoJudgmentsError(id_or_name)

    async def make_dataset(self, user_id: UUID, id_or_name: str, *, name: str) -> tuple[Dataset, bool]:
        """Raises NoJudgmentsError."""
        raise NoJudgmentsError(id_or_name)

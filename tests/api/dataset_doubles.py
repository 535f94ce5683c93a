# ruff: noqa: ARG002
"""A server without judged queries. Those that have some are tested as they are, in ``tests/datasets``."""

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


class NoDatasets:
    """Knows none, and takes none."""

    async def add(
        self, user_id: UUID, name: str, files: Mapping[str, bytes], *, split: str | None, limit_queries: int | None
    ) -> tuple[Dataset, bool]:
        """Raises InvalidDatasetError."""
        raise InvalidDatasetError("there is no file")

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

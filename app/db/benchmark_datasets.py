"""Rows of ``benchmark_datasets``, ``benchmark_queries`` and ``benchmark_judgments``."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, RowMapping, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.database import copy_rows
from app.db.dataset_tables import benchmark_datasets
from app.db.statements import parsed
from app.domain.benchmark_datasets import (
    MOST_DATASETS,
    Dataset,
    DatasetContent,
    DatasetExistsError,
    DatasetFormat,
    DatasetNotFoundError,
    DatasetQuery,
    JudgedDocument,
    TooManyDatasetsError,
)

# An array a query: fewer rows, and the driver makes texts and numbers of them faster.
_QUERIES = """
SELECT q.query_id, q.text, j.docs, j.grades FROM benchmark_queries q JOIN LATERAL (
    SELECT array_agg(doc ORDER BY position) AS docs, array_agg(grade ORDER BY position) AS grades
    FROM benchmark_judgments WHERE dataset_id = q.dataset_id AND query = q.position) j ON true
WHERE q.dataset_id = :dataset AND q.position >= :first AND q.position < :end ORDER BY q.position
"""


def _to_dataset(row: RowMapping) -> Dataset:
    return Dataset(**{**row, "format": DatasetFormat(row["format"]), "notes": tuple(row["notes"])})


def _is_named(user_id: UUID, id_or_name: UUID | str) -> ColumnElement[bool]:
    named: ColumnElement[bool] = benchmark_datasets.c.name == str(id_or_name)
    with suppress(ValueError):
        named |= benchmark_datasets.c.id == UUID(str(id_or_name))
    return (benchmark_datasets.c.user_id == user_id) & named


def _to_queries(rows: Sequence[RowMapping]) -> tuple[DatasetQuery, ...]:
    return tuple(
        DatasetQuery(
            query_id=row["query_id"],
            text=row["text"],
            relevant=tuple(
                JudgedDocument(doc=doc, grade=grade) for doc, grade in zip(row["docs"], row["grades"], strict=True)
            ),
        )
        for row in rows
    )


def _judgment_rows(dataset_id: UUID, content: DatasetContent) -> Iterator[tuple[Any, ...]]:
    for number, query in enumerate(content.queries):
        for position, judged in enumerate(query.relevant):
            yield dataset_id, number, position, judged.doc, judged.grade


class DatasetRepository:
    """Takes ids, gives datasets and their contents, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self, user_id: UUID, name: str, content: DatasetContent, *, fingerprint: bytes
    ) -> tuple[Dataset, bool]:
        """A dataset of this name and content, and whether it is new.

        Raises:
            DatasetExistsError: if the user has another one of this name.
            TooManyDatasetsError: if the user has as many as are allowed.
        """
        # two at once must not both be the last one, nor both have the name
        await self._connection.execute(text("SELECT 1 FROM users WHERE id = :id FOR NO KEY UPDATE"), {"id": user_id})
        present = await self._find((benchmark_datasets.c.user_id == user_id) & (benchmark_datasets.c.name == name))
        if present is not None:
            if present.fingerprint != fingerprint:
                raise DatasetExistsError(name)
            return present, False
        count = select(func.count()).select_from(benchmark_datasets).where(benchmark_datasets.c.user_id == user_id)
        if (await self._connection.execute(count)).scalar_one() >= MOST_DATASETS:
            raise TooManyDatasetsError
        return await self._insert(user_id, name, content, fingerprint), True

    async def _insert(self, user_id: UUID, name: str, content: DatasetContent, fingerprint: bytes) -> Dataset:
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "name": name,
            "format": content.format.value,
            "source": content.source,
            "notes": list(content.notes),
            "queries": len(content.queries),
            "judgments": content.judgments,
            "fingerprint": fingerprint,
        }
        query = insert(benchmark_datasets).values(values).returning(benchmark_datasets)
        dataset = _to_dataset((await self._connection.execute(query)).mappings().one())
        await copy_rows(
            self._connection,
            "benchmark_queries",
            columns=("dataset_id", "position", "query_id", "text"),
            rows=[(dataset.id, number, query.query_id, query.text) for number, query in enumerate(content.queries)],
        )
        await copy_rows(
            self._connection,
            "benchmark_judgments",
            columns=("dataset_id", "query", "position", "doc", "grade"),
            rows=await asyncio.to_thread(list, _judgment_rows(dataset.id, content)),
        )
        return dataset

    async def _find(self, condition: ColumnElement[bool]) -> Dataset | None:
        query = select(benchmark_datasets).where(condition).order_by(benchmark_datasets.c.name)
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else _to_dataset(row)

    async def get(self, user_id: UUID, id_or_name: UUID | str) -> Dataset:
        """Raises DatasetNotFoundError."""
        dataset = await self._find(_is_named(user_id, id_or_name))
        if dataset is None:
            raise DatasetNotFoundError(id_or_name)
        return dataset

    async def list_all(self, user_id: UUID) -> list[Dataset]:
        """By name."""
        query = select(benchmark_datasets).where(benchmark_datasets.c.user_id == user_id)
        rows = await self._connection.execute(query.order_by(benchmark_datasets.c.name))
        return [_to_dataset(row) for row in rows.mappings()]

    async def remove(self, dataset_id: UUID) -> None:
        """Delete one with its queries and judgments."""
        await self._connection.execute(delete(benchmark_datasets).where(benchmark_datasets.c.id == dataset_id))

    async def list_queries(self, dataset_id: UUID, *, first: int, limit: int) -> tuple[DatasetQuery, ...]:
        """Some of the queries, in their order, from the ``first`` on (0 is the first)."""
        values = {"dataset": dataset_id, "first": first, "end": first + limit}
        rows = (await self._connection.execute(parsed(_QUERIES), values)).mappings().all()
        return await asyncio.to_thread(_to_queries, rows)

    async def load_content(self, dataset_id: UUID) -> DatasetContent:
        """All that a dataset says, as it was added. Raises DatasetNotFoundError."""
        dataset = await self._find(benchmark_datasets.c.id == dataset_id)
        if dataset is None:
            raise DatasetNotFoundError(dataset_id)
        queries = await self.list_queries(dataset_id, first=0, limit=dataset.queries)
        return DatasetContent(format=dataset.format, queries=queries, source=dataset.source, notes=dataset.notes)

"""What callers do with their judged queries."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from app.db.audit import record
from app.db.benchmark_datasets import DatasetRepository
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.dataset_mapping import map_documents
from app.db.dataset_sample import sample_documents
from app.db.validation import TextDocument
from app.domain.audit import Subject
from app.domain.benchmark_datasets import (
    Dataset,
    DatasetContent,
    DatasetFormat,
    DatasetQuery,
    InvalidDatasetError,
)
from app.domain.dataset_mapping import Coverage
from app.domain.errors import CollectionNotReadyError
from app.domain.ports import Processes
from app.evaluation.datasets.coverage import list_docs, measure_coverage
from app.evaluation.datasets.parse import parse_dataset
from app.evaluation.datasets.write import write_archive, write_dataset

PARSE_SECONDS = 60.0
KIND = "benchmark_dataset"

MakeSynthetic = Callable[[Sequence[TextDocument]], DatasetContent]


class DatasetService:
    """One method, one transaction. Who names a dataset that there is not gets DatasetNotFoundError.

    Args:
        database: where datasets are kept.
        processes: reads what people send, which takes seconds where that is large.
        make_synthetic: makes queries of documents, in one of those processes.
    """

    def __init__(self, database: Database, processes: Processes, make_synthetic: MakeSynthetic) -> None:
        self._database = database
        self._processes = processes
        self._make_synthetic = make_synthetic

    async def add(
        self, user_id: UUID, name: str, files: Mapping[str, bytes], *, split: str | None, limit_queries: int | None
    ) -> tuple[Dataset, bool]:
        """The dataset that lies in some files, and whether it is new; the same again is the one there is.

        Raises:
            InvalidDatasetError: if they are none.
            DatasetTooLargeError: if it says more than is taken.
            DatasetExistsError: if the caller has another one of this name.
            TooManyDatasetsError: if the caller has as many as are allowed.
        """
        content = await self._processes.run(
            parse_dataset, dict(files), split, limit_queries, timeout_seconds=PARSE_SECONDS
        )
        return await self.keep(user_id, name, content)

    async def make(
        self, user_id: UUID, collection: str, name: str, *, documents: int, seed: int
    ) -> tuple[Dataset, bool]:
        """A synthetic dataset of some documents of a collection, and whether it is new.

        Raises:
            CollectionNotFoundError, CollectionNotReadyError: if there is nothing to make it of.
            InvalidDatasetError: if no document has words enough.
            DatasetExistsError, TooManyDatasetsError: as ``add`` does.
        """
        async with self._database.begin() as connection:
            found, generation, _ = await CollectionRepository(connection).get_searched(user_id, collection)
            if generation is None:
                raise CollectionNotReadyError(found.name)
            texts = await sample_documents(connection, found.id, generation.id, limit=documents, seed=seed)
        content = await self._processes.run(self._make_synthetic, texts, timeout_seconds=PARSE_SECONDS)
        if not content.queries:
            raise InvalidDatasetError(f"no document of collection {found.name!r} has words enough to ask for")
        return await self.keep(user_id, name, replace(content, source=f"{content.source} of {found.name}"))

    async def keep(self, user_id: UUID, name: str, content: DatasetContent) -> tuple[Dataset, bool]:
        """The same for one that was read or made already. Raises DatasetExistsError, TooManyDatasetsError."""
        fingerprint = await asyncio.to_thread(content.fingerprint)
        async with self._database.begin() as connection:
            datasets = DatasetRepository(connection)
            dataset, is_new = await datasets.add(user_id, name, content, fingerprint=fingerprint)
            if is_new:
                after = {"format": dataset.format, "queries": dataset.queries, "judgments": dataset.judgments}
                about = Subject(kind=KIND, id=dataset.id, name=name)
                await record(connection, "benchmark_dataset.added", about, owner_id=user_id, after=after)
        return dataset, is_new

    async def list(self, user_id: UUID) -> Sequence[Dataset]:
        """All of the caller, by name."""
        async with self._database.begin() as connection:
            return await DatasetRepository(connection).list_all(user_id)

    async def get(self, user_id: UUID, id_or_name: str) -> Dataset:
        """One without its content."""
        async with self._database.begin() as connection:
            return await DatasetRepository(connection).get(user_id, id_or_name)

    async def list_queries(
        self, user_id: UUID, id_or_name: str, *, first: int, limit: int
    ) -> tuple[Dataset, Sequence[DatasetQuery]]:
        """One, and some of its queries from the ``first`` on."""
        async with self._database.begin() as connection:
            datasets = DatasetRepository(connection)
            dataset = await datasets.get(user_id, id_or_name)
            return dataset, await datasets.list_queries(dataset.id, first=first, limit=limit)

    async def load(self, user_id: UUID, id_or_name: str) -> tuple[Dataset, DatasetContent]:
        """One with all that it says."""
        async with self._database.begin() as connection:
            datasets = DatasetRepository(connection)
            dataset = await datasets.get(user_id, id_or_name)
            return dataset, await datasets.load_content(dataset.id)

    async def export(self, user_id: UUID, id_or_name: str, wanted: DatasetFormat) -> tuple[Dataset, bytes]:
        """One as a JSON document, or as a zip archive of the files of another format."""
        dataset, content = await self.load(user_id, id_or_name)
        if wanted is DatasetFormat.JSON:
            (document,) = (await asyncio.to_thread(write_dataset, content, wanted)).values()
            return dataset, document
        return dataset, await asyncio.to_thread(write_archive, content, wanted)

    async def remove(self, user_id: UUID, id_or_name: str) -> None:
        """Delete one with all that it says."""
        async with self._database.begin() as connection:
            datasets = DatasetRepository(connection)
            dataset = await datasets.get(user_id, id_or_name)
            await datasets.remove(dataset.id)
            about = Subject(kind=KIND, id=dataset.id, name=dataset.name)
            await record(connection, "benchmark_dataset.deleted", about, owner_id=user_id)

    async def cover(self, user_id: UUID, collection: str, id_or_name: str) -> tuple[Dataset, Coverage]:
        """How much of a dataset a collection has. Raises CollectionNotFoundError."""
        async with self._database.begin() as connection:
            found = await CollectionRepository(connection).get(user_id, collection)
            datasets = DatasetRepository(connection)
            dataset = await datasets.get(user_id, id_or_name)
            content = await datasets.load_content(dataset.id)
            docs = await asyncio.to_thread(list_docs, content)
            mapping = await map_documents(connection, found.id, docs)
        return dataset, await asyncio.to_thread(measure_coverage, content, mapping)

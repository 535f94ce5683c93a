"""What people think of the documents that searches found, as their collection keeps it."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.search_judgments import JudgmentRepository
from app.domain.benchmark_datasets import Dataset, DatasetContent
from app.domain.collections import Collection
from app.domain.judgments import MOST_JUDGMENTS, Judgment, JudgmentCounts, NoJudgmentsError
from app.evaluation.datasets.people import collect_judgments
from app.evaluation.datasets.write import write_qrels
from app.operations.benchmark_datasets import DatasetService


class JudgmentService:
    """One method, one transaction. Everything raises CollectionNotFoundError."""

    def __init__(self, database: Database, datasets: DatasetService) -> None:
        self._database = database
        self._datasets = datasets

    async def set(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID, grade: int) -> Judgment:
        """Keep what somebody thinks, in place of what was thought before.

        Raises:
            DocumentNotFoundError: if the collection has no such document.
            TooManyJudgmentsError: if the collection has as many as are kept, or the query.
        """
        async with self._database.begin() as connection:
            _, judgments = await self._open(connection, user_id, id_or_name)
            return await judgments.set(user_id, query=query, document_id=document_id, grade=grade)

    async def take_back(self, user_id: UUID, id_or_name: str, *, query: str, document_id: UUID) -> None:
        """Forget it."""
        async with self._database.begin() as connection:
            _, judgments = await self._open(connection, user_id, id_or_name)
            await judgments.take_back(user_id, query=query, document_id=document_id)

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int, after: int | None) -> Sequence[Judgment]:
        """Those made first come last; ``after`` is the id of the last one of the page before."""
        async with self._database.begin() as connection:
            _, judgments = await self._open(connection, user_id, id_or_name)
            return await judgments.list_page(limit=limit, after=after)

    async def list_of_query(self, user_id: UUID, id_or_name: str, *, query: str) -> Sequence[Judgment]:
        """What the caller said of the hits of a query, newest first."""
        async with self._database.begin() as connection:
            _, judgments = await self._open(connection, user_id, id_or_name)
            return await judgments.list_of_query(user_id, query)

    async def count(self, user_id: UUID, id_or_name: str) -> JudgmentCounts:
        """How many there are."""
        async with self._database.begin() as connection:
            _, judgments = await self._open(connection, user_id, id_or_name)
            return await judgments.count()

    async def write_qrels(self, user_id: UUID, id_or_name: str) -> bytes:
        """The judgments as TREC has them. Raises NoJudgmentsError."""
        content = await self._collect(user_id, id_or_name)
        return await asyncio.to_thread(write_qrels, content)

    async def make_dataset(self, user_id: UUID, id_or_name: str, *, name: str) -> tuple[Dataset, bool]:
        """A dataset of what was judged so far, and whether it is new.

        Raises:
            NoJudgmentsError: if nothing was.
            DatasetExistsError: if the caller has another one of this name.
            TooManyDatasetsError: if the caller has as many as are allowed.
        """
        content = await self._collect(user_id, id_or_name)
        return await self._datasets.keep(user_id, name, content)

    async def _collect(self, user_id: UUID, id_or_name: str) -> DatasetContent:
        async with self._database.begin() as connection:
            collection, judgments = await self._open(connection, user_id, id_or_name)
            found = await judgments.list_page(limit=MOST_JUDGMENTS, after=None)
        if not found:
            raise NoJudgmentsError(collection.name)
        source = f"judgments of collection {collection.name}"
        return await asyncio.to_thread(collect_judgments, found, source=source)

    async def _open(
        self, connection: AsyncConnection, user_id: UUID, id_or_name: str
    ) -> tuple[Collection, JudgmentRepository]:
        collection = await CollectionRepository(connection).get(user_id, id_or_name)
        return collection, JudgmentRepository(connection, collection.id)

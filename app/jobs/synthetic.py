"""A dataset whose queries are made of the collection's own documents."""

import asyncio
from contextlib import suppress
from uuid import UUID

from app.db.benchmark_datasets import DatasetRepository
from app.db.benchmarks import BenchmarkRepository
from app.db.document_names import sample_documents
from app.db.validation import ValidationRepository
from app.domain.benchmark_datasets import DatasetContent, DatasetNotFoundError
from app.domain.benchmarks import Benchmark, NothingJudgedError
from app.domain.collections import Collection
from app.jobs.context import JobContext
from app.pipeline.validation.queries import TEXT_CHARACTERS
from app.pipeline.validation.synthetic import make_synthetic

SECONDS = 300.0
LONGEST = 60
"""Characters of a collection's name."""


async def make_dataset(context: JobContext, benchmark: Benchmark, collection: Collection) -> Benchmark:
    """The benchmark with a dataset of its own; the same documents give the same queries.

    Raises:
        NothingJudgedError: if no document has enough words.
    """
    documents = int(benchmark.config["synthetic"])
    content = await _make(context, collection, documents)
    name = f"{collection.name[:LONGEST]}: made of {documents} documents"
    if not content.queries:
        raise NothingJudgedError(name)
    fingerprint = await asyncio.to_thread(content.fingerprint)
    dataset_id = await _keep(context, benchmark, content, name=name, fingerprint=fingerprint)
    await context.report.send_update(
        "dataset_made", {"dataset_id": str(dataset_id), "queries": len(content.queries), "documents": documents}
    )
    async with context.resources.database.begin() as connection:
        return await BenchmarkRepository(connection).get(benchmark.user_id, benchmark.id)


async def _make(context: JobContext, collection: Collection, documents: int) -> DatasetContent:
    if collection.active_generation_id is None:
        return await context.resources.processes.run(make_synthetic, (), timeout_seconds=SECONDS)
    async with context.resources.database.begin() as connection:
        chosen = await sample_documents(connection, collection.id, limit=documents)
        texts = await ValidationRepository(connection, collection.id).load_texts(
            collection.active_generation_id, chosen, characters=TEXT_CHARACTERS
        )
    return await context.resources.processes.run(make_synthetic, texts, timeout_seconds=SECONDS)


async def _keep(
    context: JobContext,
    benchmark: Benchmark,
    content: DatasetContent,
    *,
    name: str,
    fingerprint: bytes,
) -> UUID:
    async with context.resources.database.fenced(context.lease) as connection:
        datasets = DatasetRepository(connection)
        with suppress(DatasetNotFoundError):
            before = await datasets.get(benchmark.user_id, name)
            if before.is_synthetic and before.fingerprint != fingerprint:
                # the documents are others than they were; benchmarks of before keep their reports
                await datasets.remove(before.id)
        dataset, _ = await datasets.add(benchmark.user_id, name, content, fingerprint=fingerprint)
        await BenchmarkRepository(connection).set_dataset(benchmark.id, dataset.id)
    return dataset.id

"""Queries of datasets that are attached to a collection as a gate of its rebuilds."""

import asyncio
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.attached_benchmarks import AttachedBenchmarkRepository
from app.db.benchmark_datasets import DatasetRepository
from app.db.dataset_mapping import map_documents
from app.domain.benchmark_datasets import DatasetContent
from app.domain.dataset_mapping import DatasetMapping
from app.evaluation.datasets.coverage import list_docs
from app.pipeline.validation.sides import GivenQuery


async def list_judged_queries(connection: AsyncConnection, collection_id: UUID) -> list[GivenQuery]:
    """Those that the collection has a relevant document for, with grades of its documents."""
    queries: list[GivenQuery] = []
    datasets = DatasetRepository(connection)
    for attached in await AttachedBenchmarkRepository(connection).list_of(collection_id):
        if not attached.attachment.is_gate:
            continue
        content = await datasets.load_content(attached.dataset_id)
        docs = await asyncio.to_thread(list_docs, content)
        mapping = await map_documents(connection, collection_id, docs)
        # a large dataset has 100 000 judgments
        queries += await asyncio.to_thread(_judge, content, mapping)
    return queries


def _judge(content: DatasetContent, mapping: DatasetMapping) -> list[GivenQuery]:
    found = []
    for query in content.queries:
        grades = {document: float(max(grade, 0)) for document, grade in mapping.grades_of(query).items()}
        if any(grades.values()):
            found.append(GivenQuery(text=query.text, relevant=grades))
    return found

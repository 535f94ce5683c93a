"""Queries of datasets that are attached to a collection as a gate of its rebuilds."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.attached_benchmarks import AttachedBenchmarkRepository
from app.db.benchmark_datasets import DatasetRepository
from app.db.dataset_mapping import map_documents
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
        mapping = await map_documents(connection, collection_id, list_docs(content))
        for query in content.queries:
            grades = {document: float(max(grade, 0)) for document, grade in mapping.grades_of(query).items()}
            if any(grades.values()):
                queries.append(GivenQuery(text=query.text, relevant=grades))
    return queries

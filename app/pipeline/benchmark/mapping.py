"""Looks up what the judged documents of a dataset are in a collection."""

import asyncio
from typing import Any
from uuid import UUID

from app.db.database import Database
from app.db.dataset_mapping import map_documents
from app.db.document_names import read_mark
from app.domain.benchmark_datasets import DatasetContent
from app.domain.dataset_mapping import Coverage, DatasetMapping
from app.domain.kept_mapping import KeptMapping
from app.evaluation.datasets.coverage import list_docs, measure_coverage


async def map_dataset(database: Database, collection_id: UUID, content: DatasetContent) -> KeptMapping:
    """Look up what every judged document is."""
    docs = await asyncio.to_thread(list_docs, content)
    async with database.begin() as connection:
        mark = await read_mark(connection, collection_id)
        mapping = await map_documents(connection, collection_id, docs)
    # a large dataset has 100 000 judgments
    return await asyncio.to_thread(_keep, content, mapping, mark)


def _keep(content: DatasetContent, mapping: DatasetMapping, mark: str) -> KeptMapping:
    return KeptMapping(
        documents={doc: str(match.document_id) for doc, match in mapping.matches.items()},
        reasons={doc: miss.reason.value for doc, miss in mapping.misses.items()},
        coverage=describe_coverage(measure_coverage(content, mapping)),
        mark=mark,
    )


def describe_coverage(coverage: Coverage) -> dict[str, Any]:
    """As reports and results have it."""
    return {
        "judged": coverage.judged,
        "mapped": sum(coverage.mapped.values()),
        "mapped_by": {step.value: count for step, count in coverage.mapped.items()},
        "missed_by": {reason.value: count for reason, count in coverage.missed.items()},
        "merged": coverage.merged,
        "share": round(coverage.judged_share, 4),
        "relevant": coverage.relevant,
        "relevant_mapped": coverage.relevant_mapped,
        "relevant_share": round(coverage.relevant_share, 4),
        "ambiguous": [
            {"doc": one.doc, "candidates": [candidate.uri for candidate in one.miss.candidates]}
            for one in coverage.ambiguous
        ],
        "unmapped": [{"doc": one.doc, "reason": one.miss.reason.value} for one in coverage.unmapped],
        "queries": coverage.queries,
        "queries_without_relevant": coverage.lost_queries,
    }

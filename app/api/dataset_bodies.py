"""What the routes of judged queries take and give."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.domain.benchmark_datasets import MOST_SAMPLED, Dataset, DatasetFormat, DatasetQuery
from app.domain.dataset_mapping import Coverage, MatchStep, MissedDocument, MissReason

NAME_PATTERN = r"^[\w][\w .-]*$"
EXAMPLE: JsonDict = {
    "id": "3b0f6a52-0a7e-4c0b-8a55-0d4d5f0f7c11",
    "name": "cranfield",
    "format": "beir",
    "is_synthetic": False,
    "source": "queries.jsonl, qrels/test.tsv",
    "notes": [],
    "queries": 225,
    "judgments": 1837,
    "fingerprint": "776bb2e1cb6c386706cf19d2a26f473259708e106b7ebcc4b12f3864e80a843f",
    "created_at": "2026-03-01T09:30:07Z",
}
EXAMPLE_QUERY: JsonDict = {
    "query_id": "1",
    "text": "what similarity laws must be obeyed",
    "relevant": [{"doc": "184", "grade": 2}],
}
EXAMPLE_COVERAGE: JsonDict = {
    "dataset_id": "3b0f6a52-0a7e-4c0b-8a55-0d4d5f0f7c11",
    "dataset": "cranfield",
    "judged": 924,
    "mapped": {"name": 922},
    "missed": {"ambiguous": 1, "unmapped": 1},
    "merged": 0,
    "judged_share": 0.9978,
    "relevant": 876,
    "relevant_mapped": 875,
    "relevant_share": 0.9989,
    "ambiguous": [
        {
            "doc": "184.txt",
            "reason": "ambiguous",
            "step": "name",
            "count": 2,
            "candidates": [
                {"document_id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33", "uri": "file:///srv/a/184.txt"},
                {"document_id": "0b9d5a6e-1f0a-5b7c-8a44-2c3d4e5f6071", "uri": "file:///srv/b/184.txt"},
            ],
        }
    ],
    "unmapped": [{"doc": "995", "reason": "unmapped", "step": None, "count": 0, "candidates": []}],
    "queries": 225,
    "lost_queries": 0,
    "lost_query_ids": [],
}


class DatasetBody(BaseModel):
    """Judged queries. Of a synthetic one nobody has judged anything: its queries were made of their answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID
    name: str
    format: DatasetFormat
    is_synthetic: bool
    source: str
    notes: list[str] = Field(description="What was left out or put together.")
    queries: int
    judgments: int
    fingerprint: str
    created_at: datetime

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Render a dataset."""
        same = ("id", "name", "format", "is_synthetic", "source", "queries", "judgments", "created_at")
        return cls(
            notes=list(dataset.notes),
            fingerprint=dataset.fingerprint.hex(),
            **{name: getattr(dataset, name) for name in same},
        )


class DatasetList(BaseModel):
    """All of the caller, by name."""

    datasets: list[DatasetBody]


class SyntheticCreate(BaseModel):
    """Asks for queries made of documents that chance chooses, up to three of each; the same seed, the same ones."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "handbook-synthetic", "documents": 100}]}
    )

    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)
    documents: int = Field(default=100, ge=1, le=MOST_SAMPLED)
    seed: int = Field(default=0, ge=0, lt=2**31)


class JudgedBody(BaseModel):
    """A judgment; a grade above 0 is relevant."""

    doc: str
    grade: int


class QueryBody(BaseModel):
    """A query with its judgments."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_QUERY]})

    query_id: str
    text: str
    relevant: list[JudgedBody]

    @classmethod
    def of(cls, query: DatasetQuery) -> Self:
        """Render a query."""
        relevant = [JudgedBody(doc=judged.doc, grade=judged.grade) for judged in query.relevant]
        return cls(query_id=query.query_id, text=query.text, relevant=relevant)


class DatasetDocument(BaseModel):
    """A dataset as one JSON document, as it may be sent and is written out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"schema_version": 1, "queries": [EXAMPLE_QUERY]}]})

    schema_version: Literal[1]
    queries: list[QueryBody]


class QueryPage(BaseModel):
    """A page; ``next`` is the ``after`` of the next one, null on the last."""

    queries: list[QueryBody]
    next: int | None


class CandidateBody(BaseModel):
    """A document that a judged one may be."""

    document_id: UUID
    uri: str


class MissedBody(BaseModel):
    """A judged document that is none of the collection, or may be several: the first ``candidates`` of ``count``."""

    doc: str
    reason: MissReason
    step: MatchStep | None
    count: int
    candidates: list[CandidateBody]

    @classmethod
    def of(cls, missed: MissedDocument) -> Self:
        """Render one."""
        miss = missed.miss
        candidates = [CandidateBody(document_id=found.document_id, uri=found.uri) for found in miss.candidates]
        return cls(doc=missed.doc, reason=miss.reason, step=miss.step, count=miss.count, candidates=candidates)


class CoverageBody(BaseModel):
    """How much of a dataset a collection has; judged documents are counted once. Lists have the first 20.

    ``lost_queries`` have no relevant document in the collection.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_COVERAGE]})

    dataset_id: UUID
    dataset: str
    judged: int
    mapped: dict[MatchStep, int] = Field(description="By how they were found.")
    missed: dict[MissReason, int]
    merged: int = Field(description="Of the mapped ones, how many are the same document as another one.")
    judged_share: float
    relevant: int
    relevant_mapped: int
    relevant_share: float
    ambiguous: list[MissedBody]
    unmapped: list[MissedBody]
    queries: int
    lost_queries: int
    lost_query_ids: list[str]

    @classmethod
    def of(cls, dataset: Dataset, coverage: Coverage) -> Self:
        """Render a report."""
        same = ("judged", "merged", "judged_share", "relevant", "relevant_mapped", "relevant_share")
        return cls(
            dataset_id=dataset.id,
            dataset=dataset.name,
            mapped=dict(coverage.mapped),
            missed=dict(coverage.missed),
            ambiguous=[MissedBody.of(missed) for missed in coverage.ambiguous],
            unmapped=[MissedBody.of(missed) for missed in coverage.unmapped],
            queries=coverage.queries,
            lost_queries=coverage.lost_queries,
            lost_query_ids=list(coverage.lost_query_ids),
            **{name: getattr(coverage, name) for name in same},
        )

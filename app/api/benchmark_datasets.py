"""Judged queries: sent, listed, written out, deleted, compared with a collection."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.bodies import raise_body_limit
from app.api.multipart import FormReader
from app.api.operations import CollectionRef
from app.api.uploads import read_body
from app.domain.benchmark_datasets import (
    LARGEST_BYTES,
    MOST_FILES,
    MOST_QUERIES,
    MOST_SAMPLED,
    Dataset,
    DatasetFormat,
    DatasetQuery,
    DatasetTooLargeError,
)
from app.domain.dataset_mapping import Coverage, MatchStep, MissedDocument, MissReason
from app.domain.uploads import clean_path
from app.evaluation.datasets.layout import is_wanted

router = APIRouter(tags=["benchmarks"])

MOST_SENT_BYTES = 4 * LARGEST_BYTES
"""With a corpus, which nobody has to send and which is passed over."""
JSON_NAME = "dataset.json"
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
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "path": {"type": "string", "description": "Of the next file, if its name does not say it."},
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/DatasetDocument"}},
        },
    }
}

NAME_PATTERN = r"^[\w][\w .-]*$"
Name = Annotated[str, Query(min_length=1, max_length=100, pattern=NAME_PATTERN)]
Split = Annotated[
    str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Of several files of judgments.")
]
LimitQueries = Annotated[
    int | None, Query(ge=1, le=MOST_QUERIES, description="Of more queries so many are chosen by chance.")
]
DatasetRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Its id or name.")]
Written = Literal["beir", "trec", "json"]


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


async def _collect(chunks: AsyncIterator[bytes], *, most: int, keep: bool = True) -> bytes:
    """A file, or nothing of one that is not to be kept. Raises DatasetTooLargeError."""
    content = bytearray()
    async for chunk in chunks:
        if keep:
            content += chunk
        if len(content) > most:
            raise DatasetTooLargeError(f"a benchmark dataset has at most {LARGEST_BYTES} bytes; send a part of it")
    return bytes(content)


async def _read_files(request: Request) -> dict[str, bytes]:
    """The files of a form, or the JSON document, which together are not too large."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == "application/json":
        return {JSON_NAME: await _collect(read_body(request), most=LARGEST_BYTES)}
    files: dict[str, bytes] = {}
    left = LARGEST_BYTES
    async for path, content in FormReader(kind, read_body(request)).read_files():
        if len(files) == MOST_FILES:
            raise DatasetTooLargeError(f"a benchmark dataset has at most {MOST_FILES} files")
        name = clean_path(path)
        files[name] = await _collect(content, most=left, keep=is_wanted(name))
        left -= len(files[name])
    return files


@router.post(
    "/benchmark-datasets",
    status_code=201,
    openapi_extra=BODY,
    responses={200: {"model": DatasetBody, "description": "It was there already, with the same content."}},
)
async def add_dataset(
    request: Request,
    response: Response,
    caller: CallerDep,
    services: ServicesDep,
    *,
    name: Name,
    split: Split = None,
    limit_queries: LimitQueries = None,
) -> DatasetBody:
    """Send judged queries: the files of BEIR or TREC in a form, or one JSON document as the body."""
    raise_body_limit(request, MOST_SENT_BYTES)
    files = await _read_files(request)
    dataset, is_new = await services.datasets.add(caller.user_id, name, files, split=split, limit_queries=limit_queries)
    response.status_code = 201 if is_new else 200
    return DatasetBody.of(dataset)


@router.get("/benchmark-datasets")
async def list_datasets(caller: CallerDep, services: ServicesDep) -> DatasetList:
    """Your judged queries, by name."""
    return DatasetList(datasets=[DatasetBody.of(dataset) for dataset in await services.datasets.list(caller.user_id)])


@router.get("/benchmark-datasets/{dataset}")
async def read_dataset(dataset: DatasetRef, caller: CallerDep, services: ServicesDep) -> DatasetBody:
    """One of them."""
    return DatasetBody.of(await services.datasets.get(caller.user_id, dataset))


@router.get("/benchmark-datasets/{dataset}/queries")
async def list_dataset_queries(
    dataset: DatasetRef,
    caller: CallerDep,
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=MOST_QUERIES)] = 0,
) -> QueryPage:
    """Its queries with their judgments, in their order."""
    found, queries = await services.datasets.list_queries(caller.user_id, dataset, first=after, limit=limit)
    end = after + len(queries)
    more = end if queries and end < found.queries else None
    return QueryPage(queries=[QueryBody.of(query) for query in queries], next=more)


@router.get(
    "/benchmark-datasets/{dataset}/export",
    response_class=Response,
    responses={200: {"model": DatasetDocument, "content": {"application/zip": {}}}},
)
async def export_dataset(
    dataset: DatasetRef,
    caller: CallerDep,
    services: ServicesDep,
    *,
    wanted: Annotated[Written, Query(alias="format")] = "json",
) -> Response:
    """All that it says, as a JSON document, or as a zip archive of the files of TREC or BEIR."""
    found, content = await services.datasets.export(caller.user_id, dataset, DatasetFormat(wanted))
    kind, ending = ("application/json", "json") if wanted == "json" else ("application/zip", "zip")
    headers = {"Content-Disposition": f'attachment; filename="{found.id}-{wanted}.{ending}"'}
    return Response(content, media_type=kind, headers=headers)


@router.delete("/benchmark-datasets/{dataset}", status_code=204)
async def remove_dataset(dataset: DatasetRef, caller: CallerDep, services: ServicesDep) -> None:
    """Delete one with all that it says."""
    await services.datasets.remove(caller.user_id, dataset)


@router.post(
    "/collections/{collection}/benchmark-datasets",
    status_code=201,
    responses={200: {"model": DatasetBody, "description": "It was there already, with the same content."}},
)
async def make_dataset(
    collection: CollectionRef, body: SyntheticCreate, response: Response, caller: CallerDep, services: ServicesDep
) -> DatasetBody:
    """Make a synthetic dataset: titles, first sentences and rare words of documents, which they must lead to."""
    dataset, is_new = await services.datasets.make(
        caller.user_id, collection, body.name, documents=body.documents, seed=body.seed
    )
    response.status_code = 201 if is_new else 200
    return DatasetBody.of(dataset)


@router.get("/collections/{collection}/benchmark-datasets/{dataset}/coverage")
async def read_coverage(
    collection: CollectionRef, dataset: DatasetRef, caller: CallerDep, services: ServicesDep
) -> CoverageBody:
    """How much of a dataset a collection has: a benchmark cannot find what is not there."""
    return CoverageBody.of(*await services.datasets.cover(caller.user_id, collection, dataset))

"""What people think of the documents that searches found."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.dataset_bodies import NAME_PATTERN, DatasetBody
from app.api.operations import CollectionRef
from app.domain.benchmark_datasets import LONGEST_QUERY
from app.domain.judgments import HIGHEST, Judgment

router = APIRouter(tags=["benchmarks"])

QueryText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_QUERY, pattern=r"^[^\x00]*$"),
]

EXAMPLE: JsonDict = {
    "id": "17",
    "query": "how do I ask for leave",
    "query_id": "q-5f3c1f0c6d2b9a11",
    "document_id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33",
    "uri": "file:///srv/handbook/leave.md",
    "grade": 1,
    "at": "2026-03-01T09:30:07Z",
}
EXAMPLE_SET: JsonDict = {
    "query": "how do I ask for leave",
    "document_id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33",
    "grade": 1,
}


class JudgmentSet(BaseModel):
    """How well a document answers a query: 0 not at all, 3 as well as can be; null takes it back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE_SET]})

    query: QueryText
    document_id: UUID
    grade: int | None = Field(ge=0, le=HIGHEST, strict=True)


class JudgmentBody(BaseModel):
    """What somebody thought of a document as an answer, the last time; the document may be gone."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str
    query: str
    query_id: str
    document_id: UUID
    uri: str
    grade: int
    at: datetime

    @classmethod
    def of(cls, judgment: Judgment) -> Self:
        """Render a judgment."""
        same = ("query", "query_id", "document_id", "uri", "grade", "at")
        return cls(id=str(judgment.id), **{name: getattr(judgment, name) for name in same})


class JudgmentPage(BaseModel):
    """A page; ``next`` is the ``after`` of the next one, null on the last."""

    judgments: list[JudgmentBody]
    next: str | None


class JudgedQuery(BaseModel):
    """Asks for your judgments of a query."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"query": "how do I ask for leave"}]})

    query: QueryText


class JudgmentList(BaseModel):
    """All there are, newest first."""

    judgments: list[JudgmentBody]


class JudgmentCountsBody(BaseModel):
    """How much was judged: pairs of a query and a document, and different queries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"judgments": 42, "queries": 12}]})

    judgments: int
    queries: int


class JudgedDatasetCreate(BaseModel):
    """Asks for a dataset of what was judged so far."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "handbook-thumbs"}]})

    name: str = Field(min_length=1, max_length=100, pattern=NAME_PATTERN)


@router.put(
    "/collections/{collection}/judgments",
    response_model=JudgmentBody,
    responses={204: {"description": "It was taken back."}},
)
async def set_judgment(
    collection: CollectionRef, body: JudgmentSet, caller: CallerDep, services: ServicesDep
) -> JudgmentBody | Response:
    """Say how well a document answers a query, in place of what you said before."""
    if body.grade is None:
        await services.judgments.take_back(caller.user_id, collection, query=body.query, document_id=body.document_id)
        return Response(status_code=204)
    judgment = await services.judgments.set(
        caller.user_id, collection, query=body.query, document_id=body.document_id, grade=body.grade
    )
    return JudgmentBody.of(judgment)


@router.get(
    "/collections/{collection}/judgments",
    response_model=JudgmentPage,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def list_judgments(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
    wanted: Annotated[Literal["json", "trec"], Query(alias="format")] = "json",
) -> JudgmentPage | Response:
    """What was judged; those made first come last. As ``trec`` all of it at once, in the columns of qrels."""
    if wanted == "trec":
        qrels = await services.judgments.write_qrels(caller.user_id, collection)
        return Response(qrels, media_type="text/plain; charset=utf-8")
    found = await services.judgments.list(caller.user_id, collection, limit=limit, after=after)
    more = str(found[-1].id) if len(found) == limit else None
    return JudgmentPage(judgments=[JudgmentBody.of(judgment) for judgment in found], next=more)


@router.post("/collections/{collection}/judgments/mine")
async def list_judgments_of_query(
    collection: CollectionRef, body: JudgedQuery, caller: CallerDep, services: ServicesDep
) -> JudgmentList:
    """What you said of the hits of a query. A POST, as what people look for does not belong into an address."""
    found = await services.judgments.list_of_query(caller.user_id, collection, query=body.query)
    return JudgmentList(judgments=[JudgmentBody.of(judgment) for judgment in found])


@router.get("/collections/{collection}/judgments/counts")
async def count_judgments(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> JudgmentCountsBody:
    """How much was judged."""
    counts = await services.judgments.count(caller.user_id, collection)
    return JudgmentCountsBody(judgments=counts.judgments, queries=counts.queries)


@router.post(
    "/collections/{collection}/judgments/dataset",
    status_code=201,
    responses={200: {"model": DatasetBody, "description": "It was there already, with the same content."}},
)
async def make_judged_dataset(
    collection: CollectionRef,
    body: JudgedDatasetCreate,
    response: Response,
    caller: CallerDep,
    services: ServicesDep,
) -> DatasetBody:
    """Make a benchmark dataset of what was judged so far; what is judged later does not change it."""
    dataset, is_new = await services.judgments.make_dataset(caller.user_id, collection, name=body.name)
    response.status_code = 201 if is_new else 200
    return DatasetBody.of(dataset)

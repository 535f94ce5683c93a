"""The same queries on two generations of a collection."""

from statistics import fmean
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.generations import EXAMPLE_GENERATION, GenerationBody
from app.api.operations import CollectionRef
from app.api.search import EXAMPLE_HIT, FilterBody
from app.domain.comparison import Change, ComparedHit, ComparedQuery, ComparedSide, Comparison
from app.domain.points import Hit, SearchMode
from app.domain.sanitising import sanitise

router = APIRouter(tags=["generations"])

MOST_QUERIES = 20

QueryText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096, pattern=r"^[^\x00]*$")
]
GenerationRef = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

NAMES = ("rank", "score", "chunk_id", "text", "start", "end", "highlights")
EXAMPLE_PLACE: JsonDict = {name: EXAMPLE_HIT[name] for name in NAMES}
EXAMPLE_ROW: JsonDict = {
    **{name: EXAMPLE_HIT[name] for name in ("document_id", "uri", "path", "title")},
    "change": "up",
    "old": {**EXAMPLE_PLACE, "rank": 3},
    "new": EXAMPLE_PLACE,
}
EXAMPLE_SIDE: JsonDict = {**EXAMPLE_GENERATION, "error": None}


class CompareRequest(BaseModel):
    """One query or up to 20, and the generation that the active one is compared with."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "how do I ask for leave"}, {"queries": ["leave", "pay"], "limit": 5}]
        },
    )

    query: QueryText | None = None
    queries: list[QueryText] = Field(default=[], max_length=MOST_QUERIES)
    mode: SearchMode = SearchMode.HYBRID
    limit: int = Field(default=10, ge=1, le=100)
    filter: FilterBody = FilterBody()
    generation: GenerationRef | None = Field(
        default=None, description="Its name or id; usually the newest complete one that is not active."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.query is None) is not bool(self.queries):
            raise ValueError("give either query or queries")
        return self

    def texts(self) -> list[str]:
        """What is asked."""
        return self.queries if self.query is None else [self.query]


class PlaceBody(BaseModel):
    """Where one side has a document, with the part of its best chunk that has the most words of the query."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PLACE]})

    rank: int
    score: float
    chunk_id: UUID
    text: str
    start: int
    end: int
    highlights: list[tuple[int, int]]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Render a hit of one side."""
        return cls(**{name: getattr(hit, name) for name in NAMES})


class ComparedHitBody(BaseModel):
    """A document on both sides; ``change`` is null where a side could not be asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ROW]})

    document_id: UUID
    uri: str
    path: str
    title: str | None
    change: Change | None
    old: PlaceBody | None
    new: PlaceBody | None

    @classmethod
    def of(cls, compared: ComparedHit) -> Self:
        """Render a document."""
        hit = compared.hit
        return cls(
            document_id=hit.document_id,
            uri=hit.uri,
            path=hit.path,
            title=hit.title,
            change=compared.change,
            old=PlaceBody.of(compared.old) if compared.old else None,
            new=PlaceBody.of(compared.new) if compared.new else None,
        )


class ComparedQueryBody(BaseModel):
    """New ranks first, then what was lost.

    ``overlap`` is the share of the first ``limit`` documents that both sides have, ``rank_biased_overlap`` the same
    with the first ranks counting most (persistence 0.9); both are null where a side could not be asked.
    """

    query: str
    overlap: float | None
    rank_biased_overlap: float | None
    hits: list[ComparedHitBody]

    @classmethod
    def of(cls, compared: ComparedQuery) -> Self:
        """Render a query."""
        return cls(
            query=compared.query,
            overlap=_round(compared.overlap),
            rank_biased_overlap=_round(compared.rank_biased_overlap),
            hits=[ComparedHitBody.of(hit) for hit in compared.hits],
        )


class SideErrorBody(BaseModel):
    """Why a side could not be asked."""

    code: str
    detail: str


class SideBody(GenerationBody):
    """One of the generations."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SIDE]})

    error: SideErrorBody | None

    @classmethod
    def of_side(cls, side: ComparedSide) -> Self:
        """Render a side."""
        error = None
        if side.error_code is not None:
            error = SideErrorBody(code=side.error_code, detail=sanitise(side.error_message or ""))
        return cls(**GenerationBody.of(side.generation).model_dump(), error=error)


class ComparisonBody(BaseModel):
    """``old`` is the generation that was built first; scores are means over the queries."""

    mode: SearchMode
    limit: int
    old: SideBody
    new: SideBody
    overlap: float | None
    rank_biased_overlap: float | None
    queries: list[ComparedQueryBody]

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """Render a comparison."""
        return cls(
            mode=comparison.mode,
            limit=comparison.limit,
            old=SideBody.of_side(comparison.old),
            new=SideBody.of_side(comparison.new),
            overlap=_mean([compared.overlap for compared in comparison.queries]),
            rank_biased_overlap=_mean([compared.rank_biased_overlap for compared in comparison.queries]),
            queries=[ComparedQueryBody.of(compared) for compared in comparison.queries],
        )


def _round(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return _round(fmean(known)) if known else None


@router.post("/collections/{collection}/compare")
async def compare_generations(
    collection: CollectionRef, body: CompareRequest, caller: CallerDep, services: ServicesDep
) -> ComparisonBody:
    """What the generation that serves answers, beside what another one answers, each by its own model.

    A side that cannot be asked, as its model does not answer, has an ``error``; the other one is shown all the same.
    """
    compared = await services.comparisons.compare(
        caller.user_id,
        collection,
        queries=body.texts(),
        mode=body.mode,
        limit=body.limit,
        filter=body.filter.restriction(),
        generation=body.generation,
    )
    return ComparisonBody.of(compared)

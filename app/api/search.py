"""Search in a collection."""

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.config import JsonDict
from starlette.requests import Request
from starlette.responses import Response

from app.api.auth import CallerDep, ServicesDep, require_caller
from app.api.operations import CollectionRef
from app.api.services import services_of
from app.domain.points import Fusion, Hit, Parent, SearchAnswer, SearchFilter, SearchMode
from app.domain.search_settings import BOUNDS, USUAL, SearchSettings

Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]

EXAMPLE_HIT: JsonDict = {
    "rank": 1,
    "score": 0.0325,
    "uri": "file:///srv/handbook/leave.md",
    "path": "leave.md",
    "document_id": "7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33",
    "chunk_id": "b3d0f8a4-5c43-5a0f-8a55-6ad1b3a5b0de",
    "title": "Leave",
    "text": "Ask for leave two weeks before.",
    "start": 120,
    "end": 151,
    "highlights": [[0, 3], [8, 13]],
    "headings": ["Handbook", "Leave"],
    "parent": None,
}
EXAMPLE_PARENT: JsonDict = {
    "text": "Ask for leave two weeks before. Your lead answers within three days.",
    "start": 120,
    "end": 188,
}


class FilterBody(BaseModel):
    """Restricts a search; values of one field are alternatives, fields are combined."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"folders": ["guides"], "file_types": ["md"]}]}
    )

    source_ids: list[UUID] = Field(default=[], max_length=100)
    folders: list[Text] = Field(default=[], max_length=100)
    file_types: list[Text] = Field(default=[], max_length=100)

    def restriction(self) -> SearchFilter:
        """The same as the services take it. The root folder holds everything, so it restricts nothing."""
        folders = () if any(not folder.strip("/") for folder in self.folders) else tuple(self.folders)
        return SearchFilter(source_ids=tuple(self.source_ids), folders=folders, file_types=tuple(self.file_types))


def _between(name: str) -> dict[str, Any]:
    least, most = BOUNDS[name]
    return {"ge": least, "le": most}


class SearchRequest(BaseModel):
    """A query and how to answer it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "how do I ask for leave", "mode": "hybrid", "limit": 10}]},
    )

    query: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=4096, pattern=r"^[^\x00]*$"
    )
    mode: SearchMode = SearchMode.HYBRID
    limit: int = Field(default=10, ge=1, le=100)
    filter: FilterBody = FilterBody()
    fusion: Fusion = Field(default=USUAL.fusion, description="How a hybrid search makes one ranking of two.")
    fusion_k: int = Field(default=USUAL.fusion_k, description="The constant k of fusion rrf.", **_between("fusion_k"))
    dense_weight: float = Field(default=USUAL.dense_weight, **_between("dense_weight"))
    bm25_weight: float = Field(default=USUAL.bm25_weight, **_between("bm25_weight"))
    candidates: int | None = Field(
        default=None, description="Chunks that each ranking of a hybrid search brings.", **_between("candidates")
    )
    score_threshold: float | None = Field(
        default=None, description="Lower scores are left out.", **_between("score_threshold")
    )
    diversity: float | None = Field(
        default=None, description="From relevance alone (0) to difference alone (1).", **_between("diversity")
    )
    rerank: bool = Field(default=False, description="Whether a cross-encoder reads the first documents again.")
    rerank_depth: int = Field(default=USUAL.rerank_depth, description="How many it reads.", **_between("rerank_depth"))

    def settings(self) -> SearchSettings:
        """The same as the services take them.

        Raises:
            InvalidSearchSettingsError: where two of them do not go together.
        """
        settings = SearchSettings(**{field.name: getattr(self, field.name) for field in fields(SearchSettings)})
        settings.check()
        return settings


class ParentBody(BaseModel):
    """The larger span of the document that the chunk belongs to."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PARENT]})

    text: str
    start: int
    end: int

    @classmethod
    def of(cls, parent: Parent) -> Self:
        """Render a parent."""
        return cls(text=parent.text, start=parent.start, end=parent.end)


class HitBody(BaseModel):
    """A document of the answer, shown by its best chunk; ``highlights`` are spans of ``text`` in characters.

    ``headings`` are those over the chunk, outermost first; ``parent`` is there for the strategy ``hierarchical``.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_HIT]})

    rank: int
    score: float
    uri: str
    path: str
    document_id: UUID
    chunk_id: UUID
    title: str | None
    text: str
    start: int
    end: int
    highlights: list[tuple[int, int]]
    headings: list[str] = []
    parent: ParentBody | None = None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """Render a hit."""
        return cls(
            rank=hit.rank,
            score=hit.score,
            uri=hit.uri,
            path=hit.path,
            document_id=hit.document_id,
            chunk_id=hit.chunk_id,
            title=hit.title,
            text=hit.text,
            start=hit.start,
            end=hit.end,
            highlights=hit.highlights,
            headings=list(hit.headings),
            parent=ParentBody.of(hit.parent) if hit.parent else None,
        )


class SearchBody(BaseModel):
    """Hits, best first, and how they were found."""

    mode: SearchMode
    took_ms: float
    generation: str
    hits: list[HitBody]

    @classmethod
    def of(cls, answer: SearchAnswer) -> Self:
        """Render an answer."""
        hits = [HitBody.of(hit) for hit in answer.hits]
        return cls(mode=answer.mode, took_ms=answer.took_ms, generation=answer.generation, hits=hits)


_NAME: TypeAdapter[str] = TypeAdapter(CollectionRef)
_JSON = "application/json"


class FrequentRoute(APIRoute):
    """A search without what FastAPI does for any route, a tenth of its cost; FastAPI still describes it.

    What is not as it should be goes the usual way, so that it is refused as everywhere else.
    """

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # it is awaited
        """Answers a request."""
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if request.headers.get("content-type") != _JSON:
                return await usual(request)
            try:
                collection = _NAME.validate_python(request.path_params["collection"])
                body = SearchRequest.model_validate_json(await request.body())
            except ValidationError:
                return await usual(request)
            caller, services = await require_caller(request), services_of(request)
            answer = await search_collection(collection, body, caller, services)
            return Response(answer.model_dump_json(), media_type=_JSON)

        return handle


router = APIRouter(tags=["search"], route_class=FrequentRoute)


@router.post("/collections/{collection}/search")
async def search_collection(
    collection: CollectionRef, body: SearchRequest, caller: CallerDep, services: ServicesDep
) -> SearchBody:
    """The documents that answer a query best."""
    answer = await services.search.search(
        caller.user_id,
        collection,
        query=body.query,
        settings=body.settings(),
        limit=body.limit,
        filter=body.filter.restriction(),
    )
    return SearchBody.of(answer)

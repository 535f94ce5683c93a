"""What a collection holds, and how it has grown."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef
from app.domain.searches import SearchHealth
from app.domain.statistics import Amounts, CollectionStatistics, GrowthPoint

router = APIRouter(tags=["collections"])

Days = Annotated[int, Query(ge=1, le=400, description="How far back the growth goes.")]

EXAMPLE_AMOUNTS: JsonDict = {"documents": 119, "chunks": 834, "tokens": 251040, "bytes": 1048576}
EXAMPLE: JsonDict = {
    "collection": "handbook",
    **EXAMPLE_AMOUNTS,
    "average_chunk_tokens": 301.0,
    "changed_at": "2026-03-01T09:30:07Z",
    "by_state": {"completed": 119, "failed": 1},
    "by_file_type": {"md": EXAMPLE_AMOUNTS},
    "by_source": [{"id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11", "url": "file:///srv/handbook", **EXAMPLE_AMOUNTS}],
    "cache": {"hits": 200, "misses": 634, "hit_rate": 0.24},
    "searches": {"days": 7, "searches": 410, "empty": 6, "failed": 0, "average_ms": 18.4},
    "growth": [{"at": "2026-03-01T09:00:00Z", **EXAMPLE_AMOUNTS}],
}


class AmountsBody(BaseModel):
    """Documents that are not removed, and what they hold."""

    documents: int
    chunks: int
    tokens: int
    bytes: int

    @classmethod
    def of(cls, amounts: Amounts) -> Self:
        """Render amounts."""
        return cls(documents=amounts.documents, chunks=amounts.chunks, tokens=amounts.tokens, bytes=amounts.bytes)


class SourceAmountsBody(AmountsBody):
    """What came from one source."""

    id: UUID
    url: str | None


class GrowthBody(AmountsBody):
    """What there was at some time."""

    at: datetime

    @classmethod
    def at_point(cls, point: GrowthPoint) -> Self:
        """Render a point of the growth."""
        return cls(at=point.taken_at, **AmountsBody.of(point.amounts).model_dump())


class CacheBody(BaseModel):
    """How often a text had been embedded before, in the operations that are still remembered."""

    hits: int
    misses: int
    hit_rate: float


class SearchesBody(BaseModel):
    """What became of the searches of the last ``days``, without a word of what was asked.

    ``empty`` ones had no hit although the collection holds something; ``failed`` ones failed on this side.
    """

    days: int
    searches: int
    empty: int
    failed: int
    average_ms: float

    @classmethod
    def of(cls, health: SearchHealth) -> Self:
        """Render them."""
        counts = health.counts
        return cls(
            days=health.days,
            searches=counts.searches,
            empty=counts.empty,
            failed=counts.failed,
            average_ms=round(health.average_ms, 3),
        )


class StatsBody(AmountsBody):
    """What a collection holds now, and held before: about every hour, later every day. At most 200 points."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    collection: str
    average_chunk_tokens: float
    changed_at: datetime | None
    by_state: dict[str, int]
    by_file_type: dict[str, AmountsBody]
    by_source: list[SourceAmountsBody]
    cache: CacheBody
    searches: SearchesBody
    growth: list[GrowthBody]


def _render_cache(now: CollectionStatistics) -> CacheBody:
    looked_up = now.cache_hits + now.cache_misses
    rate = round(now.cache_hits / looked_up, 3) if looked_up else 0.0
    return CacheBody(hits=now.cache_hits, misses=now.cache_misses, hit_rate=rate)


@router.get("/collections/{collection}/stats")
async def read_stats(collection: CollectionRef, caller: CallerDep, services: ServicesDep, days: Days = 30) -> StatsBody:
    """What a collection holds now, by file type and source, and what it held in the last days."""
    found = await services.collections.get(caller.user_id, collection)
    now, growth, sources = await services.statistics.read(found.id, days=days)
    urls = {source.id: source.url for source in sources}
    return StatsBody(
        collection=found.name,
        **AmountsBody.of(now.total).model_dump(),
        average_chunk_tokens=round(now.average_chunk_tokens, 1),
        changed_at=now.changed_at,
        by_state=now.by_state,
        by_file_type={name: AmountsBody.of(amounts) for name, amounts in now.by_file_type.items()},
        by_source=[
            SourceAmountsBody(id=source, url=urls.get(source), **AmountsBody.of(amounts).model_dump())
            for source, amounts in now.by_source.items()
        ],
        cache=_render_cache(now),
        searches=SearchesBody.of(await services.statistics.read_searches(found.id)),
        growth=[GrowthBody.at_point(point) for point in growth],
    )

"""The log of a collection's searches: off unless its owner wants it."""

from datetime import datetime
from typing import Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef
from app.domain.searches import LONGEST_KEPT_DAYS, SearchLogStatus

router = APIRouter(tags=["search"])


class SearchLogSet(BaseModel):
    """Asks for a log: of which share of the searches, chosen by chance, and for how many days an entry is kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"share": 0.1, "keep_days": 30}]})

    share: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    keep_days: int = Field(default=30, ge=1, le=LONGEST_KEPT_DAYS)


class SearchLogBody(BaseModel):
    """How it stands with the log; without one ``share``, ``keep_days`` and ``since`` are null.

    ``callers`` counts different users. A log that is ``full_today`` takes its next entry tomorrow.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
                    "collection": "handbook",
                    "enabled": True,
                    "share": 0.1,
                    "keep_days": 30,
                    "since": "2026-03-01T09:30:07Z",
                    "full_today": False,
                    "entries": 512,
                    "queries": 204,
                    "callers": 3,
                    "oldest": "2026-03-01T09:31:00Z",
                    "newest": "2026-03-07T16:02:11Z",
                }
            ]
        }
    )

    collection_id: UUID
    collection: str
    enabled: bool
    share: float | None
    keep_days: int | None
    since: datetime | None
    full_today: bool
    entries: int
    queries: int
    callers: int
    oldest: datetime | None
    newest: datetime | None

    @classmethod
    def of(cls, status: SearchLogStatus) -> Self:
        """Render how it stands."""
        log, counts = status.log, status.counts
        return cls(
            collection_id=status.collection_id,
            collection=status.collection_name,
            enabled=log is not None,
            share=log and log.share,
            keep_days=log and log.keep_days,
            since=log and log.created_at,
            full_today=log is not None and log.full_today,
            entries=counts.entries,
            queries=counts.queries,
            callers=counts.callers,
            oldest=counts.oldest,
            newest=counts.newest,
        )


@router.get("/collections/{collection}/search-log")
async def read_search_log(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SearchLogBody:
    """Whether searches of a collection are written down, how, and how many are there."""
    return SearchLogBody.of(await services.search_logs.status(caller.user_id, collection))


@router.put("/collections/{collection}/search-log")
async def set_search_log(
    collection: CollectionRef, body: SearchLogSet, caller: CallerDep, services: ServicesDep
) -> SearchLogBody:
    """Write searches of a collection down from now on, or in another way; what is there stays."""
    status = await services.search_logs.set(caller.user_id, collection, share=body.share, keep_days=body.keep_days)
    return SearchLogBody.of(status)


@router.delete("/collections/{collection}/search-log")
async def unset_search_log(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SearchLogBody:
    """Write no more searches of a collection down, and delete what was written."""
    return SearchLogBody.of(await services.search_logs.unset(caller.user_id, collection))

"""Continuous sync of a collection: its interval, its runs, and what its sources do with gone documents."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef
from app.domain.syncs import (
    LONGEST_INTERVAL_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    AppendMode,
    OnGone,
    SourceSync,
    SyncRun,
    SyncRunSource,
    SyncRunState,
    SyncStatus,
    Trigger,
)

router = APIRouter(tags=["continuous sync"])

EXAMPLE_RUN: JsonDict = {
    "sync_run_id": "6b1f2f4e-0d5a-4c43-8f0b-6a3d9c1f2e77",
    "collection_id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "trigger": "schedule",
    "mode": "full",
    "confirm_removals": False,
    "state": "completed",
    "started_at": "2026-03-01T09:45:00Z",
    "finished_at": "2026-03-01T09:45:01Z",
    "sources": [
        {
            "source_id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11",
            "url": "file:///srv/handbook",
            "operation_id": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
            "state": "completed",
            "result": {"documents_added": 1, "documents_changed": 2, "documents_removed": 0, "unchanged": 117},
            "error_code": None,
            "error_message": None,
        }
    ],
}


class SyncSet(BaseModel):
    """Asks for continuous sync: an APPEND of every source each ``interval_seconds``, with up to a tenth of jitter.

    With ``paused`` left out it stays paused, or not, as it was.
    """

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"interval_seconds": 900, "mode": "full"}]}
    )

    interval_seconds: int = Field(ge=SHORTEST_INTERVAL_SECONDS, le=LONGEST_INTERVAL_SECONDS)
    mode: AppendMode = AppendMode.FULL
    paused: bool | None = None


class SyncRunCreate(BaseModel):
    """Asks for a sync run now. ``confirm_removals`` lets it remove most of a source, and makes it a full one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"confirm_removals": False}]})

    confirm_removals: bool = False


PLAIN = SyncRunCreate()


class SyncRunSourceBody(BaseModel):
    """What a sync run did with one source. ``state`` is ``running``, how its operation ended, or ``skipped``."""

    source_id: UUID
    url: str
    operation_id: UUID | None
    state: str = Field(pattern="^(running|completed|failed|cancelled|skipped)$")
    result: dict[str, Any] | None
    error_code: str | None
    error_message: str | None

    @classmethod
    def of(cls, source: SyncRunSource) -> Self:
        """Render a source of a run."""
        return cls(
            source_id=source.source_id,
            url=source.url,
            operation_id=source.operation_id,
            state=source.state,
            result=source.result,
            error_code=source.error_code,
            error_message=source.error_message,
        )


class SyncRunBody(BaseModel):
    """A sync run. It ends with the last of its operations; one that fails makes it ``failed``."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RUN]})

    sync_run_id: UUID
    collection_id: UUID
    trigger: Trigger
    mode: AppendMode
    confirm_removals: bool
    state: SyncRunState
    started_at: datetime
    finished_at: datetime | None
    sources: list[SyncRunSourceBody]

    @classmethod
    def of(cls, run: SyncRun) -> Self:
        """Render a run."""
        return cls(
            sync_run_id=run.id,
            collection_id=run.collection_id,
            trigger=run.trigger,
            mode=run.mode,
            confirm_removals=run.confirm_removals,
            state=run.state,
            started_at=run.started_at,
            finished_at=run.finished_at,
            sources=[SyncRunSourceBody.of(source) for source in run.sources],
        )


class SourceSyncBody(BaseModel):
    """A source, as continuous sync sees it. It is left out of scheduled runs until ``next_try``."""

    source_id: UUID
    url: str
    on_gone: OnGone
    last_run_at: datetime | None
    failures: int
    error_code: str | None
    error_message: str | None
    next_try: datetime | None

    @classmethod
    def of(cls, source: SourceSync) -> Self:
        """Render a source."""
        return cls(
            source_id=source.source_id,
            url=source.url,
            on_gone=source.on_gone,
            last_run_at=source.last_run_at,
            failures=source.failures,
            error_code=source.error_code,
            error_message=source.error_message,
            next_try=source.next_try,
        )


class SyncBody(BaseModel):
    """The continuous sync of a collection; without one ``interval_seconds``, ``mode`` and ``next_due`` are null."""

    collection_id: UUID
    collection: str
    interval_seconds: int | None
    mode: AppendMode | None
    paused_at: datetime | None
    next_due: datetime | None
    why_waiting: str | None
    running: SyncRunBody | None
    last_run: SyncRunBody | None
    sources: list[SourceSyncBody]

    @classmethod
    def of(cls, status: SyncStatus) -> Self:
        """Render how it stands."""
        settings = status.settings
        return cls(
            collection_id=status.collection_id,
            collection=status.collection_name,
            interval_seconds=settings and settings.interval_seconds,
            mode=settings and settings.mode,
            paused_at=settings and settings.paused_at,
            next_due=settings and settings.next_due,
            why_waiting=status.why_waiting,
            running=status.running and SyncRunBody.of(status.running),
            last_run=status.last_run and SyncRunBody.of(status.last_run),
            sources=[SourceSyncBody.of(source) for source in status.sources],
        )


class SyncRunList(BaseModel):
    """Sync runs, newest first."""

    runs: list[SyncRunBody]


@router.get("/collections/{collection}/sync")
async def read_sync(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SyncBody:
    """How often a collection is brought up to date by itself, when next, and what came of it last."""
    return SyncBody.of(await services.syncs.status(caller.user_id, collection))


@router.put("/collections/{collection}/sync")
async def set_sync(collection: CollectionRef, body: SyncSet, caller: CallerDep, services: ServicesDep) -> SyncBody:
    """Bring a collection up to date every so often. A new interval begins now."""
    status = await services.syncs.set(
        caller.user_id, collection, interval_seconds=body.interval_seconds, mode=body.mode, paused=body.paused
    )
    return SyncBody.of(status)


@router.delete("/collections/{collection}/sync")
async def unset_sync(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SyncBody:
    """Bring a collection up to date no more by itself. What runs goes on, and the history stays."""
    return SyncBody.of(await services.syncs.unset(caller.user_id, collection))


@router.post("/collections/{collection}/sync/pause")
async def pause_sync(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SyncBody:
    """Begin no more sync runs; what runs goes on."""
    return SyncBody.of(await services.syncs.hold(caller.user_id, collection, paused=True))


@router.post("/collections/{collection}/sync/resume")
async def resume_sync(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SyncBody:
    """Begin sync runs again; what was due meanwhile begins once."""
    return SyncBody.of(await services.syncs.hold(caller.user_id, collection, paused=False))


@router.post("/collections/{collection}/sync/run", status_code=202)
async def run_sync(
    collection: CollectionRef, caller: CallerDep, services: ServicesDep, body: SyncRunCreate = PLAIN
) -> SyncRunBody:
    """Bring all sources up to date now, also those that have failed and wait; gives the run under way, if any."""
    run = await services.syncs.run(caller.user_id, collection, confirm_removals=body.confirm_removals)
    return SyncRunBody.of(run)


@router.get("/collections/{collection}/sync/runs")
async def list_sync_runs(
    collection: CollectionRef,
    caller: CallerDep,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SyncRunList:
    """The last sync runs of a collection, newest first."""
    runs = await services.syncs.list_runs(caller.user_id, collection, limit=limit)
    return SyncRunList(runs=[SyncRunBody.of(run) for run in runs])


@router.get("/collections/{collection}/sync/runs/{run_id}")
async def read_sync_run(
    collection: CollectionRef, run_id: UUID, caller: CallerDep, services: ServicesDep
) -> SyncRunBody:
    """One sync run."""
    return SyncRunBody.of(await services.syncs.get_run(caller.user_id, collection, run_id))

"""Puts the HTTP application together."""

from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from app.api import (
    admin,
    attached_benchmarks,
    audit,
    benchmark_datasets,
    benchmarks,
    collections,
    compare,
    diagnosis,
    documents,
    events,
    generations,
    health,
    judgments,
    metrics,
    operations,
    partitions,
    plans,
    projection_points,
    projections,
    rebuilds,
    removals,
    search,
    search_logs,
    sessions,
    sources,
    stats,
    syncs,
    tus,
    uploads,
    webhooks,
    workers,
)
from app.api.bodies import LimitBodies
from app.api.errors import add_error_handlers
from app.api.headers import CarefulHeaders
from app.api.metrics import MeasureRequests
from app.api.requests import NO_TELEMETRY, FollowRequests
from app.api.services import ApiServices
from app.api.slots import WatcherSlots
from app.api.tries import SignInTries
from app.api.web import page

PREFIX = "/api/v1"
PROBLEM = {
    "description": "A problem document (RFC 9457) with a stable `code`.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "code", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "errors": {"type": "array", "items": {"type": "object"}},
                    "request_id": {"type": "string"},
                },
            },
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "code": "collection_not_found",
                "detail": "collection handbok does not exist",
            },
        }
    },
}


def create_api(services: ApiServices) -> FastAPI:
    """The application over opened services; whoever opened them closes them."""
    # the page at /docs comes with its scripts: a machine without the internet can show it too
    application = FastAPIOffline(
        title="Vecloom",
        summary="Collections of documents, searchable by meaning.",
        version=version("vecloom"),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/static",
        **NO_TELEMETRY,
    )
    application.state.services = services
    application.state.slots = WatcherSlots(
        per_user=services.watchers_per_user, per_process=services.watchers_per_process
    )
    application.state.tries = SignInTries()
    add_error_handlers(application)
    # the last one added is the outermost: a bug is answered before it is counted
    application.add_middleware(LimitBodies, max_bytes=services.request_max_bytes)
    application.add_middleware(CarefulHeaders)
    application.add_middleware(FollowRequests, prefix=PREFIX, trusted_proxies=services.trusted_proxies)
    application.add_middleware(MeasureRequests, registry=services.metrics, prefix=PREFIX)
    api = APIRouter(responses={"4XX": PROBLEM, "5XX": PROBLEM})
    for module in (
        search,  # routes are tried one after the other, and this one is asked for most
        collections,
        documents,
        operations,
        removals,
        plans,
        rebuilds,
        events,
        generations,
        compare,
        search_logs,
        benchmarks,
        attached_benchmarks,
        benchmark_datasets,
        judgments,
        projections,
        projection_points,
        workers,
        diagnosis,
        health,
        sessions,
        sources,
        syncs,
        admin,
        audit,
        webhooks,
        partitions,
        stats,
        uploads,
        tus,
    ):
        api.include_router(module.router)
    application.include_router(api, prefix=PREFIX)
    application.include_router(health.router, include_in_schema=False)
    application.include_router(metrics.router)
    application.include_router(page.router)
    return application

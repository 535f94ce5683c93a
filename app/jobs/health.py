"""What a worker process tells over HTTP: its metrics, that it lives, and whether it can work."""

from collections.abc import Sequence

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.domain.checks import Check, Probe
from app.jobs.keeper import Keeper
from app.operations.checkup import Checkup
from app.operations.health import readiness


def heartbeat_probe(keeper: Keeper, *, lease_seconds: float) -> Probe:
    """Whether this worker's heartbeats arrive in time to keep its leases."""

    async def look() -> Sequence[Check]:
        silent = keeper.silent_seconds
        detail = f"the last heartbeat was {silent:.1f} s ago, a lease is {lease_seconds:g} s"
        return [Check(name="heartbeat", ok=silent < lease_seconds, detail=detail)]

    return Probe(name="heartbeat", look=look)


def create_worker_endpoint(health: Checkup) -> Starlette:
    """``/metrics``, ``/health/live`` and ``/health/ready``, with the answers that the API gives too."""

    async def read_metrics(_: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def read_live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def read_ready(_: Request) -> Response:
        body = readiness(await health.run())
        return JSONResponse(body, status_code=200 if body["status"] == "ready" else 503)

    return Starlette(
        routes=[
            Route("/metrics", read_metrics),
            Route("/health/live", read_live),
            Route("/health/ready", read_ready),
        ]
    )

"""Prometheus metrics: counts and latencies of requests by route template, and ``GET /metrics``."""

import time

from fastapi import APIRouter, Response
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import ServicesDep
from app.api.requests import route_of

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def read_metrics(services: ServicesDep) -> Response:
    """Metrics of this application and of its process."""
    body = generate_latest(services.metrics) + generate_latest(REGISTRY)
    return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)


class MeasureRequests:
    """ASGI middleware. A label is a route's template, so that ids do not make new time series."""

    def __init__(self, inner: ASGIApp, *, registry: CollectorRegistry, prefix: str) -> None:
        self._inner = inner
        self._prefix = prefix
        self._requests = Counter(
            "vecloom_http_requests", "HTTP requests.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "vecloom_http_request_seconds", "Seconds to the response's start.", ["method", "route"], registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure until the response starts, so that an event stream is not one long request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = route_of(scope, prefix=self._prefix)
                self._requests.labels(scope["method"], route, message["status"]).inc()
                self._seconds.labels(scope["method"], route).observe(time.perf_counter() - started)
            await send(message)

        await self._inner(scope, receive, send_measured)

"""Traces: one trace from a request over the operation's row into the stages of its attempts.

Without the SDK, or without an address to send to, spans cost next to nothing and a caller's context is still kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = structlog.get_logger(__name__)

SERVICE = "vecloom"
HEADER = "traceparent"
EXPORT_SECONDS = 3.0
"""How long a batch is tried: a collector that is away may hold up the end of a process for so long, and no more."""

Value = str | int | float | bool

_W3C = TraceContextTextMapPropagator()


def start_tracing(endpoint: str | None) -> None:
    """Send spans by OTLP over HTTP to ``endpoint``; the SDK's own variables say the rest, such as headers or sampling.

    Does nothing without an endpoint, without the SDK, or if this process traces already.
    """
    if not endpoint:
        return
    try:
        # imported here: the SDK is an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 — see above
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 — see above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 — see above
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 — see above
    except ImportError:
        log.warning("tracing_not_installed", fix="pip install 'vecloom[traces]'")
        return
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    ours = Resource({"service.name": SERVICE, "service.version": version("vecloom")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def request_span(method: str, trace_parent: str | None) -> Iterator[Span]:
    """The span of a request, as a child of the caller's; its name and status are known at the end."""
    tracer = trace.get_tracer(SERVICE)
    parent = _W3C.extract({HEADER: trace_parent} if trace_parent else {})
    with tracer.start_as_current_span(
        method, context=parent, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:
        span.set_attribute("http.request.method", method)
        yield span


def end_request(span: Span, *, method: str, route: str, status: int | None) -> None:
    """Say what the request was and how it was answered; neither path nor query, which may hold anything."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    if status is not None:
        span.set_attribute("http.response.status_code", status)
    if status is None or status >= 500:
        span.set_status(StatusCode.ERROR)


@contextmanager
def attempt_span(trace_parent: str | None, *, kind: str, **attributes: Value) -> Iterator[None]:
    """The span of an attempt, as a child of the request that created its operation."""
    tracer = trace.get_tracer(SERVICE)
    parent = _W3C.extract({HEADER: trace_parent} if trace_parent else {})
    with tracer.start_as_current_span(
        f"attempt {kind}",
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=_named({"kind": kind, **attributes}),
        record_exception=False,
        set_status_on_exception=False,
    ):
        yield


def end_attempt(*, outcome: str, error_code: str | None) -> None:
    """Say of the current span how its attempt ended."""
    span = trace.get_current_span()
    span.set_attribute("vecloom.outcome", outcome)
    if error_code is not None:
        span.set_attribute("error.type", error_code)
        span.set_status(StatusCode.ERROR, error_code)


@contextmanager
def stage_span(stage: str, **attributes: Value) -> Iterator[None]:
    """A stage's work on one group of documents, never on a single one: a run has thousands of groups at most.

    What it raises is named by type alone, for its text may hold anything.
    """
    tracer = trace.get_tracer(SERVICE)
    with tracer.start_as_current_span(
        stage, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise


def _named(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"{SERVICE}.{name}": value for name, value in attributes.items()}


def current_trace_parent() -> str | None:
    """The W3C ``traceparent`` of what runs now, for whoever goes on with it in another process."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(HEADER)

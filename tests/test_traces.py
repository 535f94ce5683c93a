"""One trace from the request through the row into the stages, whatever process they run in."""

import signal
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ExportedSpan
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.pipeline.ingest import GROUP_DOCUMENTS
from app.settings import Settings
from app.traces import stage_span
from tests.harness import Api, WorkerProcess, wait_until
from tests.test_logs import log_lines

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STAGES = {"scan", "prepare", "embed", "store", "commit"}


@pytest.fixture(scope="module")
def memory() -> Iterator[InMemorySpanExporter]:
    """Takes every span of this process while the tests of this module run."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        # the public way sets it for good, and the tests of other modules are to run without one
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield exporter


@pytest.fixture
def spans(memory: InMemorySpanExporter) -> InMemorySpanExporter:
    """Takes the spans of one test."""
    memory.clear()
    return memory


class Collector(ThreadingHTTPServer):
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = Lock()
        self._spans: list[ExportedSpan] = []
        self.services: set[str] = set()

    @property
    def url(self) -> str:
        """The endpoint to send to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def keep(self, body: bytes) -> None:
        """One export."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                values = {item.key: item.value.string_value for item in resource.resource.attributes}
                self.services.add(values["service.name"])
                for scope in resource.scope_spans:
                    self._spans += scope.spans

    def named(self, name: str) -> list[ExportedSpan]:
        """The spans of a name."""
        with self._lock:
            return [span for span in self._spans if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        if self.path == "/v1/traces":
            self.server.keep(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — http.server's signature
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector on a port of its own."""
    with Collector() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(
    settings: Settings, collector: Collector, memory: InMemorySpanExporter, request: pytest.FixtureRequest
) -> Settings:
    """Those of a worker process that exports, where a test asks for one; this process traces into memory already."""
    exports = "worker_process" in request.fixturenames
    return settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url}) if exports else settings


def one(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The span of a name."""
    [span] = [span for span in spans.get_finished_spans() if span.name == name]
    return span


async def test_a_request_its_attempt_and_its_stages_are_one_trace(
    api: Api, worker: None, spans: InMemorySpanExporter, folder: Path
) -> None:
    """From the caller's own span down to the commit, each is the child of the one before."""
    api.client.headers["traceparent"] = CALLER
    operation = await api.create("notes", folder)
    del api.client.headers["traceparent"]

    ended = await api.wait(operation)

    async def is_exported() -> bool:
        return any(span.name == "attempt INDEX" for span in spans.get_finished_spans())

    await wait_until(is_exported)
    request, attempt = one(spans, "POST /api/v1/collections"), one(spans, "attempt INDEX")
    stages = [span for span in spans.get_finished_spans() if span.name in STAGES]
    assert {span.name for span in stages} == STAGES
    assert {span.context.trace_id for span in [request, attempt, *stages] if span.context} == {int(CALLER[3:35], 16)}
    assert request.parent is not None
    assert request.context is not None
    assert attempt.parent is not None
    assert attempt.context is not None
    assert request.parent.span_id == int(CALLER[36:52], 16)
    assert attempt.parent.span_id == request.context.span_id
    assert {span.parent.span_id for span in stages if span.parent} == {attempt.context.span_id}
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/v1/collections",
        "http.response.status_code": 202,
    }
    attributes = dict(attempt.attributes or {})
    assert attributes.pop("vecloom.worker")
    assert attributes == {
        "vecloom.kind": "INDEX",
        "vecloom.operation_id": ended["operation_id"],
        "vecloom.collection_id": ended["collection_id"],
        "vecloom.attempt": 1,
        "vecloom.outcome": "completed",
    }


async def test_a_failed_attempt_says_so(api: Api, worker: None, spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """Outcome and error code are in its span, the message with its path is in none."""
    await api.wait(await api.create("notes", tmp_path / "my-private-folder"))

    async def is_exported() -> bool:
        return any(span.name == "attempt INDEX" for span in spans.get_finished_spans())

    await wait_until(is_exported)
    attempt = one(spans, "attempt INDEX")
    attributes = attempt.attributes or {}
    assert (attributes["vecloom.outcome"], attributes["error.type"]) == ("failed", "source_not_found")
    assert attempt.status.status_code is trace.StatusCode.ERROR
    assert "my-private-folder" not in "".join(span.to_json() for span in spans.get_finished_spans())


async def test_spans_grow_with_groups_and_not_with_documents(
    api: Api, worker: None, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    """Many small documents share the spans of their group."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(2 * GROUP_DOCUMENTS):
        (root / f"{number}.txt").write_text(f"Document number {number} is about whales.")

    await api.wait(await api.create("many", root))

    async def is_exported() -> bool:
        return any(span.name == "attempt INDEX" for span in spans.get_finished_spans())

    await wait_until(is_exported)
    names = [span.name for span in spans.get_finished_spans()]
    assert {name: names.count(name) for name in STAGES} == {
        "scan": 1,
        "prepare": 2,
        "embed": 2,
        "store": 2,
        "commit": 2,
    }


async def test_a_worker_process_goes_on_with_the_trace(
    api: Api, worker_process: WorkerProcess, collector: Collector, spans: InMemorySpanExporter, folder: Path
) -> None:
    """The row carries the context; the worker exports by OTLP, also what it did last before it ends."""
    operation = await api.create("notes", folder)
    worker_process.start()
    await api.wait(operation)
    worker_process.end(signal.SIGTERM)

    request = one(spans, "POST /api/v1/collections").context
    [attempt], [scan] = collector.named("attempt INDEX"), collector.named("scan")
    assert request is not None
    assert attempt.trace_id == scan.trace_id == request.trace_id.to_bytes(16)
    assert attempt.parent_span_id == request.span_id.to_bytes(8)
    assert scan.parent_span_id == attempt.span_id
    assert collector.services == {"vecloom"}


async def test_probes_and_strange_headers_make_no_trace(api: Api, spans: InMemorySpanExporter) -> None:
    """Health and metrics have no span; a header that is no context begins a new trace."""
    api.client.headers["traceparent"] = "00-zz-zz-01"

    for path in ("/health/live", "/health/ready", "/metrics", "/api/v1/operations"):
        await api.client.get(path)

    [span] = spans.get_finished_spans()
    assert span.name == "GET /api/v1/operations"
    assert span.parent is None


def test_a_stage_that_fails_names_the_type_alone(spans: InMemorySpanExporter) -> None:
    """The text of an exception may hold anything."""
    with pytest.raises(ValueError, match="hunter2"), stage_span("store", points=3):
        raise ValueError("hunter2")

    span = one(spans, "store")
    assert dict(span.attributes or {}) == {"vecloom.points": 3, "error.type": "ValueError"}
    assert "hunter2" not in span.to_json()


def test_nothing_is_on_without_an_endpoint() -> None:
    """Neither spans nor ids in log lines, but a caller's context is passed on."""
    [line, told] = log_lines(f"""
from app.traces import current_trace_parent, request_span, start_tracing
start_tracing(None)
with request_span("GET", None):
    log.info("untraced", parent=current_trace_parent())
with request_span("GET", "{CALLER}"):
    log.info("told", parent=current_trace_parent())
""")

    assert "trace_id" not in line
    assert line["parent"] is None
    assert told["parent"] == CALLER


def test_a_missing_sdk_is_one_clear_line() -> None:
    """An endpoint without the extra is a warning that says what to install, and the process goes on."""
    [line] = log_lines("""
import sys
sys.modules["opentelemetry.exporter"] = None
from app.traces import start_tracing
start_tracing("http://localhost:4318")
""")

    assert (line["event"], line["fix"]) == ("tracing_not_installed", "pip install 'vecloom[traces]'")


def test_lines_lead_to_their_trace(collector: Collector) -> None:
    """With tracing on, a log line carries the ids of the span it was written in."""
    [line] = log_lines(f"""
from app.traces import current_trace_parent, request_span, start_tracing
start_tracing("{collector.url}")
with request_span("GET", None):
    log.info("traced", parent=current_trace_parent())
""")

    _, trace_id, span_id, _ = line["parent"].split("-")
    assert (line["trace_id"], line["span_id"]) == (trace_id, span_id)
    assert [span.span_id.hex() for span in collector.named("GET")] == [span_id]

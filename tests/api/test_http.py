"""Requests and answers: keys, problems, validation, rendering."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import BaseModel

from app.api import collections, documents, operations, search, sources
from app.domain.documents import Chunking, ChunkingChoice, ChunkingStrategy, DocumentState, SourceSpec
from app.domain.operations import OperationState, Submission
from app.domain.points import SearchFilter, SearchMode
from app.domain.search_settings import SearchSettings
from app.domain.sparse_settings import SparseSettings
from tests.api.conftest import Edge
from tests.api.doubles import KEY


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem document of this status and code."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == "about:blank"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": "wrong"}]
)
async def test_without_a_valid_key_nothing_is_said(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A missing, wrong or misplaced key is a 401 that says how to authenticate."""
    del client.headers["Authorization"]

    response = await client.get("/api/v1/collections", headers=headers)

    assert_problem(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_may_come_in_its_own_header(client: httpx.AsyncClient) -> None:
    """``X-API-Key`` is as good as ``Authorization``, a query parameter is not."""
    del client.headers["Authorization"]

    accepted = await client.get("/api/v1/collections", headers={"X-API-Key": KEY})
    refused = await client.get("/api/v1/collections", params={"token": KEY})

    assert accepted.status_code == 200
    assert refused.status_code == 401


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, Chunking(size=120, overlap=30)),
        ({"chunk_strategy": "markdown"}, Chunking(strategy=ChunkingStrategy.MARKDOWN, size=120, overlap=30)),
        ({"chunk_overlap": 100}, Chunking(size=120, overlap=100)),
        ({"chunk_size": 50}, Chunking(size=50, overlap=5)),
    ],
)
async def test_what_is_not_said_of_chunks_is_as_the_server_is_set(
    edge: Edge, client: httpx.AsyncClient, said: dict[str, Any], expected: Chunking
) -> None:
    """One option does not bring back the defaults of this version for the others."""
    edge.operations.default_chunking = Chunking(size=120, overlap=30)

    response = await client.post("/api/v1/collections", json={"name": "notes", **said})
    wrong = await client.post("/api/v1/collections", json={"name": "notes", "chunk_overlap": 120})

    assert response.status_code == 202
    assert edge.operations.asked["chunking"] == expected
    body = assert_problem(wrong, 422, "invalid_request")
    assert body["errors"] == [
        {"location": "body", "message": "Value error, chunk_overlap must be smaller than chunk_size"}
    ]


async def test_a_collection_is_created(edge: Edge, client: httpx.AsyncClient) -> None:
    """The services get what was asked for, the caller gets the collection and its operation."""
    body = {
        "name": "My handbook 2.0",
        "chunk_size": 200,
        "chunk_strategy": "markdown",
        "sources": [{"url": "file:///srv/a", "include": ["*.md"]}],
        "sparse": {"language": "german", "b": 0.5},
    }

    response = await client.post("/api/v1/collections", json=body, headers={"Idempotency-Key": "k1"})

    assert response.status_code == 202
    created = response.json()
    assert created["collection"]["name"] == "My handbook 2.0"
    assert created["collection"]["state"] == "empty"
    assert created["operation"]["kind"] == "INDEX"
    assert edge.operations.asked == {
        "model": None,
        "chunking": Chunking(strategy=ChunkingStrategy.MARKDOWN, size=200, overlap=20),
        "sources": (SourceSpec(url="file:///srv/a", include=("*.md",)),),
        "sparse": SparseSettings(language="german", b=0.5),
        "submission": Submission(idempotency_key="k1"),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": " space first"},
        {"name": "a/b"},
        {"name": "a\n"},
        {"chunk_size": 15},
        {"chunk_size": 8193},
        {"chunk_size": 100, "chunk_overlap": 100},
        {"chunk_overlap": 400},
        {"chunk_overlap": -1},
        {"chunk_strategy": "magic"},
        {"sources": [{"url": ""}]},
        {"sources": [{"url": "file:///a\x00b"}]},
        {"unknown": 1},
        {"run_after": "9999-12-31T23:59:59-23:59"},
        {"run_after": "0001-01-01T00:00:00+23:59"},
        {"run_after": "2026-01-01T00:00:00"},
    ],
)
async def test_a_wrong_collection_is_refused(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    """Every field outside its bounds is named in the problem."""
    response = await client.post("/api/v1/collections", json={"name": "ok", **change})

    body = assert_problem(response, 422, "invalid_request")
    assert all(error["location"].startswith("body") and error["message"] for error in body["errors"])
    assert body["errors"]


async def test_broken_json_is_the_callers_mistake(client: httpx.AsyncClient) -> None:
    """A body that is no JSON is a 422 like any other invalid request."""
    response = await client.post("/api/v1/collections", content=b"{", headers={"Content-Type": "application/json"})

    assert_problem(response, 422, "invalid_request")


async def test_domain_errors_have_their_status_and_code(edge: Edge, client: httpx.AsyncClient) -> None:
    """The class of an error decides the status, its code is passed on."""
    done = edge.add_operation(OperationState.COMPLETED)

    taken = await client.post("/api/v1/collections", json={"name": "taken"})
    missing = await client.get("/api/v1/collections/nothing")
    unknown = await client.get(f"/api/v1/operations/{uuid4()}")
    finished = await client.post(f"/api/v1/operations/{done.id}/cancel")
    not_retryable = await client.post(f"/api/v1/operations/{done.id}/retry")

    assert_problem(taken, 409, "collection_exists")
    assert_problem(missing, 404, "collection_not_found")
    assert_problem(unknown, 404, "operation_not_found")
    assert_problem(finished, 409, "operation_finished")
    assert_problem(not_retryable, 409, "operation_not_retryable")


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    """404 and 405 look like every other error."""
    nowhere = await client.get("/api/v1/nowhere")
    not_allowed = await client.delete("/api/v1/operations")

    assert_problem(nowhere, 404, "not_found")
    assert_problem(not_allowed, 405, "method_not_allowed")
    assert "GET" in not_allowed.headers["allow"]


async def test_a_bug_tells_nothing(edge: Edge, client: httpx.AsyncClient) -> None:
    """An unexpected exception is a 500 without its text."""
    edge.operations.error = RuntimeError("password=hunter2")

    response = await client.get(f"/api/v1/operations/{uuid4()}")

    assert_problem(response, 500, "internal_error")
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text


async def test_a_dead_database_is_a_503(edge: Edge, client: httpx.AsyncClient) -> None:
    """An outside system that does not answer means try again, not a bug."""
    edge.operations.error = ConnectionRefusedError("10.0.0.7:5432")

    response = await client.get(f"/api/v1/operations/{uuid4()}")

    assert_problem(response, 503, "dependency_unavailable")
    assert response.headers["retry-after"] == "5"
    assert "10.0.0.7" not in response.text


async def test_an_append_is_created(edge: Edge, client: httpx.AsyncClient) -> None:
    """The config's source reaches the service."""
    source_id = uuid4()

    response = await client.post(
        "/api/v1/collections/handbook/operations", json={"kind": "APPEND", "config": {"source_id": str(source_id)}}
    )

    assert response.status_code == 202
    assert response.json()["kind"] == "APPEND"
    assert edge.operations.asked == {
        "source_id": source_id,
        "mode": "full",
        "confirmed": False,
        "submission": Submission(),
    }


@pytest.mark.parametrize(("config", "expected"), [({}, (False, False)), ({"repair": True, "deep": True}, (True, True))])
async def test_a_verification_is_created(
    edge: Edge, client: httpx.AsyncClient, config: dict[str, bool], expected: tuple[bool, bool]
) -> None:
    """It repairs nothing unless asked to; the config reaches the service."""
    response = await client.post("/api/v1/collections/handbook/operations", json={"kind": "VERIFY", "config": config})
    wrong = await client.post(
        "/api/v1/collections/handbook/operations", json={"kind": "VERIFY", "config": {"repair": "maybe"}}
    )

    assert response.status_code == 202
    assert response.json()["kind"] == "VERIFY"
    assert (edge.operations.asked["repair"], edge.operations.asked["deep"]) == expected
    assert_problem(wrong, 422, "invalid_request")


async def test_a_plan_is_created(edge: Edge, client: httpx.AsyncClient) -> None:
    """What it is about reaches the service; it has the name of a collection, but none that exists."""
    source = {"url": "file:///srv/handbook", "include": ["**/*.md"]}

    response = await client.post("/api/v1/plans", json={"collection": "notes", "source": source, "chunk_size": 64})
    wrong = await client.post("/api/v1/plans", json={"collection": "", "source": source})

    assert response.status_code == 202
    body = response.json()
    assert (body["kind"], body["collection_id"], body["collection"]) == ("PLAN", None, "notes")
    assert edge.operations.asked["source"] == SourceSpec(url="file:///srv/handbook", include=("**/*.md",))
    assert edge.operations.asked["chunking"] == ChunkingChoice(size=64)
    assert_problem(wrong, 422, "invalid_request")


async def test_other_operations_are_refused(client: httpx.AsyncClient) -> None:
    """Kinds that cannot be created and configs that do not fit are told apart."""
    path = "/api/v1/collections/handbook/operations"

    other_kind = await client.post(path, json={"kind": "ROLLBACK", "config": {}})
    wrong_config = await client.post(path, json={"kind": "APPEND", "config": {"source_id": "x", "mode": "some"}})

    assert_problem(other_kind, 422, "unsupported_operation")
    body = assert_problem(wrong_config, 422, "invalid_request")
    assert [error["location"] for error in body["errors"]] == ["body.config.source_id", "body.config.mode"]


async def test_operations_are_listed(edge: Edge, client: httpx.AsyncClient) -> None:
    """States and the collection restrict the list."""
    running = edge.add_operation(OperationState.RUNNING)
    edge.add_operation(OperationState.COMPLETED)

    response = await client.get(
        "/api/v1/operations", params={"state": ["running", "pending"], "collection": "handbook"}
    )
    too_many = await client.get("/api/v1/operations", params={"limit": 101})

    [listed] = response.json()["operations"]
    assert listed["operation_id"] == str(running.id)
    assert listed["collection"] == "handbook"
    assert_problem(too_many, 422, "invalid_request")


async def test_a_collection_is_described(client: httpx.AsyncClient) -> None:
    """Counts, chunking and state are part of a collection."""
    described = (await client.get("/api/v1/collections/handbook")).json()
    listed = (await client.get("/api/v1/collections")).json()

    assert described["documents"] == {"completed": 2, "failed": 1}
    assert (described["chunks"], described["tokens"], described["busy"]) == (7, 900, None)
    assert described["chunking"] == {"strategy": "recursive", "size": 400, "overlap": 40}
    assert listed == {"collections": [described]}


async def test_sources_are_added_and_listed(client: httpx.AsyncClient) -> None:
    """A source comes back with its globs."""
    added = await client.post(
        "/api/v1/collections/handbook/sources", json={"url": "file:///srv/b", "exclude": ["tmp/**"]}
    )
    listed = await client.get("/api/v1/collections/handbook/sources")

    assert added.status_code == 201
    assert added.json()["exclude"] == ["tmp/**"]
    assert listed.json()["sources"][0]["url"] == "file:///srv/handbook"


async def test_documents_come_in_pages(edge: Edge, client: httpx.AsyncClient) -> None:
    """Filters and the cursor reach the service, and the next cursor comes back."""
    response = await client.get(
        "/api/v1/collections/handbook/documents", params={"state": "failed", "limit": 5, "after": "c"}
    )
    wrong = await client.get("/api/v1/collections/handbook/documents", params={"limit": 0})

    assert response.json() == {"documents": [], "next": "next-page"}
    assert edge.collections.asked == {"state": DocumentState.FAILED, "source_id": None, "limit": 5, "after": "c"}
    assert_problem(wrong, 422, "invalid_request")


async def test_a_search_is_answered(edge: Edge, client: httpx.AsyncClient) -> None:
    """The filter reaches the service, hits come back with their highlights."""
    response = await client.post(
        "/api/v1/collections/handbook/search",
        json={"query": "whale", "mode": "bm25", "limit": 3, "filter": {"folders": ["guides"]}},
    )

    answer = response.json()
    assert (answer["mode"], answer["generation"], answer["took_ms"]) == ("bm25", "g1", 1.5)
    assert answer["hits"][0]["highlights"] == [[2, 7]]
    assert edge.search.asked == {
        "query": "whale",
        "settings": SearchSettings(mode=SearchMode.BM25),
        "limit": 3,
        "filter": SearchFilter(folders=("guides",)),
    }


async def test_a_search_has_all_its_settings(edge: Edge, client: httpx.AsyncClient) -> None:
    """Flat beside the mode, under the names that they have everywhere; null is as usual."""
    said = {
        "mode": "hybrid",
        "fusion_k": 20,
        "dense_weight": 2.5,
        "bm25_weight": 0.5,
        "candidates": 300,
        "score_threshold": 0.01,
        "diversity": 0.25,
        "rerank": True,
        "rerank_depth": 30,
    }

    await client.post("/api/v1/collections/handbook/search", json={"query": "whale", **said})
    full = edge.search.asked["settings"]
    await client.post("/api/v1/collections/handbook/search", json={"query": "whale", "diversity": None})

    assert full == SearchSettings.from_config(said)
    assert full.to_config() == said
    assert edge.search.asked["settings"] == SearchSettings()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"fusion": "sum"}, "invalid_request"),
        ({"fusion_k": 0}, "invalid_request"),
        ({"fusion_k": 1.5}, "invalid_request"),
        ({"dense_weight": -1}, "invalid_request"),
        ({"candidates": 100_000}, "invalid_request"),
        ({"diversity": 1.1}, "invalid_request"),
        ({"rerank": "perhaps"}, "invalid_request"),
        ({"rerank_depth": 201}, "invalid_request"),
        ({"score_threshold": "high"}, "invalid_request"),
        ({"dense_weight": 0, "bm25_weight": 0}, "invalid_search_settings"),
        ({"fusion": "dbsf", "fusion_k": 3}, "invalid_search_settings"),
        ({"mode": "dense", "bm25_weight": 2}, "invalid_search_settings"),
    ],
)
async def test_wrong_settings_of_a_search_are_refused(
    client: httpx.AsyncClient, settings: dict[str, Any], code: str
) -> None:
    """Beyond their bounds, or where two contradict each other."""
    response = await client.post("/api/v1/collections/handbook/search", json={"query": "whale", **settings})

    assert_problem(response, 422, code)


@pytest.mark.parametrize(
    "body",
    [
        {"query": ""},
        {"query": " \t\n"},
        {"query": "x" * 4097},
        {"query": "a\x00"},
        {"query": "a", "limit": 101},
        {"query": "a", "mode": "x"},
    ],
)
async def test_a_wrong_query_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """Queries outside their bounds never reach the search."""
    response = await client.post("/api/v1/collections/handbook/search", json=body)

    assert_problem(response, 422, "invalid_request")


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("handbook", b'{"query": "whale", "limit": 3, "filter": {"folders": ["a"]}}', 200),
        ("handbook", b'{"query": "whale", "limit": "3"}', 200),
        ("handbook", b'{"query": "whale", "colour": "red"}', 422),
        ("handbook", b'{"query": "\\ud800"}', 422),
        ("handbook", b'{"query": 5}', 422),
        ("handbook", b'{"query": ', 422),
        ("handbook", b"\xff", 400),
        ("handbook", b"[]", 422),
        ("handbook", b"", 422),
        ("x" * 101, b'{"query": "whale"}', 422),
        ("a%00", b'{"query": "whale"}', 422),
    ],
)
async def test_the_short_way_of_a_search_answers_as_the_usual_one(
    edge: Edge, client: httpx.AsyncClient, name: str, content: bytes, status: int
) -> None:
    """What says exactly ``application/json`` goes past FastAPI unless something is wrong with it."""
    short, usual = [
        await client.post(f"/api/v1/collections/{name}/search", content=content, headers={"content-type": kind})
        for kind in ("application/json", "application/json; charset=utf-8")
    ]
    del client.headers["Authorization"]
    nobody = await client.post(f"/api/v1/collections/{name}/search", json={"query": "whale"})

    told = [{**answer.json(), "request_id": None} for answer in (short, usual)]
    for hit in (hit for answer in told for hit in answer.get("hits", ())):
        hit |= {"document_id": len(hit["document_id"]), "chunk_id": len(hit["chunk_id"])}  # others each time
    assert short.status_code == usual.status_code == status
    assert short.headers["content-type"] == usual.headers["content-type"]
    assert told[0] == told[1]
    assert nobody.status_code == 401


async def test_health_needs_no_key(edge: Edge, client: httpx.AsyncClient) -> None:
    """Probes work without a key on both paths, and ready turns 503 when a part is away."""
    del client.headers["Authorization"]
    alive = [await client.get(path) for path in ("/health/live", "/api/v1/health/live")]
    ready = await client.get("/health/ready")

    edge.health.found["redis"] = False
    not_ready = await client.get("/api/v1/health/ready")

    assert [response.status_code for response in alive] == [200, 200]
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert not_ready.status_code == 503
    assert not_ready.json() == {
        "status": "not_ready",
        "checks": {"postgres": True, "redis": False},
        "details": {"redis": "does not answer"},
    }


async def test_a_diagnosis_says_what_to_do(edge: Edge, client: httpx.AsyncClient) -> None:
    """Each check by name, with a fix only where something is wrong, and only for a caller with a key."""
    edge.health.found["redis"] = False

    answer = await client.get("/api/v1/diagnosis")
    del client.headers["Authorization"]
    refused = await client.get("/api/v1/diagnosis")

    assert answer.json() == {
        "ok": False,
        "checks": [
            {"name": "postgres", "ok": True, "detail": "answers", "fix": ""},
            {"name": "redis", "ok": False, "detail": "does not answer", "fix": "start redis"},
        ],
    }
    assert_problem(refused, 401, "not_authenticated")


async def test_requests_are_measured_by_route(client: httpx.AsyncClient) -> None:
    """Ids do not become labels, unknown paths share one."""
    await client.get(f"/api/v1/operations/{uuid4()}")
    await client.get("/api/v1/nowhere/at/all")

    metrics = (await client.get("/metrics")).text

    route = "/api/v1/operations/{operation_id}"
    assert f'vecloom_http_requests_total{{method="GET",route="{route}",status="404"}} 1.0' in metrics
    assert 'vecloom_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in metrics
    assert f'vecloom_http_request_seconds_count{{method="GET",route="{route}"}} 1.0' in metrics
    assert "python_info" in metrics


async def test_every_request_model_has_an_example(client: httpx.AsyncClient) -> None:
    """Whoever reads the OpenAPI document sees what to send."""
    document = (await client.get("/api/v1/openapi.json")).json()

    models = {
        method["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for path in document["paths"].values()
        for method in path.values()
        if "application/json" in method.get("requestBody", {}).get("content", {})
    }
    assert len(models) == 26
    assert all(document["components"]["schemas"][name]["examples"] for name in models)


MODELS = [
    collections.SourceCreate,
    collections.SourceBody,
    collections.CollectionCreate,
    collections.CollectionBody,
    documents.DocumentBody,
    operations.OperationBody,
    operations.OperationCreate,
    search.FilterBody,
    search.SearchRequest,
    search.HitBody,
    sources.SourcePatch,
    sources.SourceTestCreate,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_every_example_is_what_it_is_an_example_of(model: type[BaseModel]) -> None:
    """Examples have exactly the model's fields, with values it takes."""
    examples = model.model_json_schema()["examples"]

    read = [model.model_validate(example) for example in examples]

    assert examples
    for example, value in zip(examples, read, strict=True):
        assert set(example) <= set(model.model_fields)
        if model.model_config.get("extra") != "forbid":
            assert set(example) == set(value.model_dump())


async def test_the_page_about_the_api_needs_no_internet(client: httpx.AsyncClient) -> None:
    """``/docs`` loads its scripts and styles from this server, and they are there."""
    page = await client.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    answers = [await client.get(link) for link in links]

    assert page.status_code == 200
    assert len(links) >= 3
    assert all(link.startswith("/docs/static/") for link in links)
    assert {answer.status_code for answer in answers} == {200}
    assert "/api/v1/openapi.json" in page.text

"""Rebuilding a collection and going back, as callers ask for it."""

import httpx
import pytest

from app.domain.documents import Chunking, ChunkingChoice
from app.domain.operations import Priority, Submission
from app.domain.rebuilds import RebuildChoice
from tests.api.conftest import Edge
from tests.api.test_http import assert_problem

REINDEX = "/api/v1/collections/handbook/reindex"


async def test_a_rebuild_is_asked_for_by_what_changes(edge: Edge, client: httpx.AsyncClient) -> None:
    """By its own path and as any operation; what is not said stays as it is."""
    gate = {"base": "strict", "checks": {"latency": {"hard": False}}}
    body = {"chunk_size": 200, "gate": gate, "keep_refused": True, "priority": "low"}
    answer = await client.post(REINDEX, json=body, headers={"Idempotency-Key": "once"})
    asked = dict(edge.rebuilds.asked)
    config = {"model": "bge-m3", "extract": True, "dry_run": True, "max_runtime_seconds": 60}
    general = await client.post("/api/v1/collections/handbook/operations", json={"kind": "REINDEX", "config": config})
    empty = await client.post(REINDEX)

    assert (answer.status_code, answer.json()["kind"]) == (202, "REINDEX")
    assert asked["choice"] == RebuildChoice(chunking=ChunkingChoice(size=200), gate=gate, keep_refused=True)
    assert asked["chunking"] == Chunking(size=200, overlap=20)
    assert asked["submission"] == Submission(idempotency_key="once", priority=Priority.LOW)
    assert (general.status_code, general.json()["kind"]) == (202, "REINDEX")
    assert empty.status_code == 202
    assert edge.rebuilds.asked["choice"] == RebuildChoice(chunking=ChunkingChoice())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"gate": "lenient"}, "invalid_gate_policy"),
        ({"gate": {"checks": {"speed": {}}}}, "invalid_gate_policy"),
        ({"gate": 7}, "invalid_request"),
        ({"chunk_size": 20, "chunk_overlap": 20}, "invalid_request"),
        ({"chunk_size": 9000}, "invalid_request"),
        ({"sparse": False}, "invalid_request"),
    ],
)
async def test_wrong_wishes_are_refused(client: httpx.AsyncClient, body: dict[str, object], code: str) -> None:
    """The same on both ways to ask."""
    answers = [
        await client.post(REINDEX, json=body),
        await client.post("/api/v1/collections/handbook/operations", json={"kind": "REINDEX", "config": body}),
    ]

    for answer in answers:
        assert_problem(answer, 422, code)


async def test_the_way_back_is_asked_for(edge: Edge, client: httpx.AsyncClient) -> None:
    """It takes nothing but the collection, and says so if there is no way."""
    answer = await client.post("/api/v1/collections/handbook/rollback", headers={"Idempotency-Key": "back"})
    refused = await client.post("/api/v1/collections/young/rollback")

    assert (answer.status_code, answer.json()["kind"]) == (202, "ROLLBACK")
    assert edge.rebuilds.asked == {"submission": Submission(idempotency_key="back")}
    assert_problem(refused, 409, "nothing_to_roll_back")

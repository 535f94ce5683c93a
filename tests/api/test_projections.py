"""Projections over HTTP."""

import gzip
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.domain.operations import Priority, Submission
from app.domain.projections import ColourBy, ProjectionMethod
from tests.api.conftest import Edge

PATH = "/api/v1/projections/known"


@pytest.fixture
def files(edge: Edge, tmp_path: Path) -> Path:
    """The folder of the known projection."""
    (tmp_path / "x.f32").write_bytes(bytes(range(100)))
    (tmp_path / "map.html").write_text("<p>map</p>")
    (tmp_path / "map.html.gz").write_bytes(gzip.compress(b"<p>map</p>"))
    edge.projections.folder = tmp_path
    return tmp_path


async def test_a_projection_is_asked_for_with_usual_settings(edge: Edge, client: httpx.AsyncClient) -> None:
    """202 with an operation; what is not said is as usual."""
    answer = await client.post("/api/v1/collections/papers/projections", json={"parameters": {"n_neighbors": 30}})

    choice = edge.projections.asked["choice"]
    assert (answer.status_code, answer.json()["kind"]) == (202, "PROJECTION")
    assert (choice.method, choice.dimensions, choice.sample) == (ProjectionMethod.UMAP, 2, 200_000)
    assert (choice.colour_by, choice.parameters) == (ColourBy.CLUSTER, {"n_neighbors": 30})


async def test_a_projection_that_is_there_is_given(edge: Edge, client: httpx.AsyncClient) -> None:
    """200 with the projection itself."""
    edge.projections.reused = True

    answer = await client.post("/api/v1/collections/papers/projections", json={})

    assert (answer.status_code, answer.json()["state"], answer.json()["bytes"]) == (200, "completed", 22)


async def test_a_projection_is_asked_for_as_any_operation(edge: Edge, client: httpx.AsyncClient) -> None:
    """By its kind, with the same answers."""
    path, config = "/api/v1/collections/handbook/operations", {"method": "tsne", "dimensions": 3}
    body = {"kind": "PROJECTION", "config": {**config, "max_runtime_seconds": 60}, "priority": "low"}
    queued = await client.post(path, json=body, headers={"Idempotency-Key": "once"})
    asked = dict(edge.projections.asked)
    wrong = await client.post(path, json={"kind": "PROJECTION", "config": {"method": "best"}})
    edge.projections.reused = True
    there = await client.post(path, json=body)

    assert (queued.status_code, queued.json()["kind"]) == (202, "PROJECTION")
    assert (asked["choice"].method, asked["choice"].dimensions) == (ProjectionMethod.TSNE, 3)
    assert asked["submission"] == Submission(idempotency_key="once", priority=Priority.LOW, max_runtime_seconds=60)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
    assert (there.status_code, there.json()["state"], there.json()["bytes"]) == (200, "completed", 22)


@pytest.mark.parametrize(
    "body", [{"method": "best"}, {"colour_by": "taste"}, {"sample": "all"}, {"unknown": 1}, {"parameters": [1]}]
)
async def test_a_wrong_request_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """422, with a code."""
    answer = await client.post("/api/v1/collections/papers/projections", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_projections_are_listed_shown_and_deleted(client: httpx.AsyncClient) -> None:
    """Why one is stale is said with it."""
    listed = await client.get("/api/v1/collections/papers/projections")
    shown = await client.get(PATH)
    gone = await client.delete(PATH)
    unknown = await client.get("/api/v1/projections/other")

    assert len(listed.json()["projections"]) == 1
    assert shown.json()["stale"] == "documents_changed"
    assert gone.status_code == 204
    assert (unknown.status_code, unknown.json()["code"]) == (404, "projection_not_found")


async def test_a_file_is_not_sent_again_to_who_has_it(client: httpx.AsyncClient, files: Path) -> None:
    """By its tag, which is another one for the compressed copy."""
    whole = await client.get(f"{PATH}/files/x.f32")
    known = await client.get(f"{PATH}/files/x.f32", headers={"If-None-Match": f'"other", {whole.headers["etag"]}'})
    page = await client.get(f"{PATH}/files/map.html", headers={"Accept-Encoding": "identity"})
    unpacked = await client.get(f"{PATH}/files/map.html", headers={"Accept-Encoding": "gzip;q=0, identity"})
    head = await client.head(f"{PATH}/files/map.html", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in unpacked.headers
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == unpacked.headers["content-length"]
    packed = await client.get(f"{PATH}/files/map.html", headers={"Accept-Encoding": "gzip"})

    assert (whole.status_code, whole.content) == (200, (files / "x.f32").read_bytes())
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", whole.headers["etag"])
    assert page.text == packed.text == "<p>map</p>"
    assert (packed.headers["content-encoding"], "content-encoding" in page.headers) == ("gzip", False)
    assert page.headers["etag"] != packed.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"


async def test_a_part_of_a_file_is_sent(client: httpx.AsyncClient, files: Path) -> None:
    """Of its own bytes, not of a compressed copy's."""
    part = await client.get(f"{PATH}/files/x.f32", headers={"Range": "bytes=10-19"})
    of_page = await client.get(f"{PATH}/files/map.html", headers={"Range": "bytes=0-2", "Accept-Encoding": "gzip"})
    beyond = await client.get(f"{PATH}/files/x.f32", headers={"Range": "bytes=500-"})

    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    assert (of_page.status_code, of_page.content) == (206, b"<p>")
    assert beyond.status_code == 416


async def test_a_page_cannot_reach_its_server(client: httpx.AsyncClient, files: Path) -> None:
    """What it shows are texts of strangers."""
    page = await client.get(f"{PATH}/files/map.html")

    assert page.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["..%2Fsecret", "nothing.bin", "%2e%2e", "a%00b"])
async def test_other_files_are_not_served(client: httpx.AsyncClient, files: Path, name: str) -> None:
    """Whatever they are called."""
    answer = await client.get(f"{PATH}/files/{name}")

    assert answer.status_code in {404, 422}


async def test_points_are_asked_for_by_lasso_or_by_ids(edge: Edge, client: httpx.AsyncClient) -> None:
    """Not by both, and not by too many."""
    inside = await client.post(f"{PATH}/points", json={"polygon": [[0, 0], [1, 0], [1, 1]], "limit": 1})
    selection = edge.projections.asked["selection"]
    wrong = [
        await client.post(f"{PATH}/points", json=body)
        for body in (
            {},
            {"polygon": [[0, 0], [1, 1]]},
            {"polygon": [[0, 0], [1, 1], [1, 2]], "ids": [str(uuid4())]},
            {"ids": [str(uuid4())] * 1001},
            {"polygon": [[0, 0]] * 1001},
            {"ids": ["a"]},
            {"ids": [str(uuid4())], "limit": 0},
        )
    ]

    assert (inside.json()["total"], inside.json()["points"][0]["place"]) == (5, [1.0, 2.0])
    assert (selection.polygon, selection.limit) == ([(0, 0), (1, 0), (1, 1)], 1)
    assert {answer.status_code for answer in wrong} == {422}


async def test_neighbours_and_newer_points_are_given(client: httpx.AsyncClient) -> None:
    """Those that were placed are marked."""
    neighbours = await client.get(f"{PATH}/points/{uuid4()}/neighbours")
    live = await client.get(f"{PATH}/live")

    assert neighbours.json()["points"][0]["placed"] is False
    assert live.json()["points"][0]["placed"] is True
    assert live.json()["left_out"] is False

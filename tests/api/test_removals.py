"""What the edge asks of the service that takes things away."""

from uuid import uuid4

import httpx

from app.domain.operations import Priority, Submission
from tests.api.conftest import Edge


async def test_deleting_a_collection_is_an_operation(client: httpx.AsyncClient, edge: Edge) -> None:
    """The answer is 202 with the operation; the idempotency key goes with it."""
    answer = await client.delete("/api/v1/collections/handbook", headers={"Idempotency-Key": "once"})

    assert (answer.status_code, answer.json()["kind"]) == (202, "DELETE")
    assert edge.removals.asked == {"submission": Submission(idempotency_key="once")}


async def test_a_collection_that_is_gone_cannot_be_deleted_again(client: httpx.AsyncClient) -> None:
    """It is not found, as in every other place."""
    answer = await client.delete("/api/v1/collections/gone")

    assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_found")


async def test_removing_a_source_is_an_operation(client: httpx.AsyncClient, edge: Edge) -> None:
    """The source is named by its id."""
    source = uuid4()

    answer = await client.delete(f"/api/v1/collections/handbook/sources/{source}")

    assert (answer.status_code, answer.json()["kind"]) == (202, "REMOVE_SOURCE")
    assert edge.removals.asked["source_id"] == source


async def test_retrying_documents_needs_no_body(client: httpx.AsyncClient, edge: Edge) -> None:
    """Without one it is about all that failed for a reason that may be gone."""
    answer = await client.post("/api/v1/collections/handbook/documents/retry")

    assert (answer.status_code, answer.json()["kind"]) == (202, "RETRY_DOCUMENTS")
    assert edge.removals.asked == {"ids": [], "include_needs_ocr": False, "submission": Submission()}


async def test_retrying_some_documents(client: httpx.AsyncClient, edge: Edge) -> None:
    """Ids, priority and the wish for OCR reach the service; an id that is none is named in the answer."""
    document = uuid4()
    path = "/api/v1/collections/handbook/documents/retry"

    answer = await client.post(path, json={"ids": [str(document)], "include_needs_ocr": True, "priority": "high"})
    wrong = await client.post(path, json={"ids": ["x"]})

    assert answer.status_code == 202
    assert edge.removals.asked == {
        "ids": [document],
        "include_needs_ocr": True,
        "submission": Submission(priority=Priority.HIGH),
    }
    assert (wrong.status_code, wrong.json()["errors"][0]["location"]) == (422, "body.ids.0")

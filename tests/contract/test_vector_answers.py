"""The bytes on the wire: what a vector store answers, seen without the adapter."""

from uuid import UUID

import httpx
import pytest
from qdrant_client import models
from qdrant_client.http.models import models as http_models

from app.stores.qdrant import QdrantStore
from tests.contract.conftest import Address
from tests.contract.vector_server import DIMENSION, make_points

QUESTIONS: dict[str, tuple[str, str, dict[str, object], type]] = {
    "describe": ("GET", "", {}, http_models.InlineResponse2007),
    "retrieve": ("POST", "/points", {"ids": [str(UUID(int=1))], "with_vector": True}, http_models.InlineResponse20017),
    "scroll": ("POST", "/points/scroll", {"limit": 1, "with_vector": ["dense"]}, http_models.InlineResponse20019),
    "count": ("POST", "/points/count", {"exact": True}, http_models.InlineResponse20020),
    "query": (
        "POST",
        "/points/query",
        {"query": {"text": "whales", "model": "qdrant/bm25"}, "using": "bm25", "with_payload": True},
        http_models.InlineResponse20022,
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_answers_are_what_the_client_expects(
    store: QdrantStore, name: str, address: Address, question: str
) -> None:
    """Answers as they come over the wire fit the models of Qdrant's own client."""
    method, path, body, model = QUESTIONS[question]
    await store.upsert(name, make_points(["Whales sing"] * 3, ids=[UUID(int=number + 1) for number in range(3)]))

    async with address.open_raw() as client:
        response = await client.request(method, f"/collections/{name}{path}", json=body or None)

    answer = model.model_validate(response.json())  # type: ignore[attr-defined]  # pydantic, by another name
    assert response.status_code == 200
    assert answer.status == "ok"
    assert answer.time >= 0
    assert answer.result


async def test_indexes_are_there_before_the_data(store: QdrantStore, name: str, address: Address) -> None:
    """A new collection has its payload indexes."""
    async with address.open_raw() as client:
        response = await client.get(f"/collections/{name}")

    schema = http_models.InlineResponse2007.model_validate(response.json()).result
    assert schema is not None
    assert {field: index.data_type for field, index in schema.payload_schema.items()} == dict.fromkeys(
        ("document_id", "source_id", "file_type", "folders"), models.PayloadSchemaType.KEYWORD
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/collections/contract-missing/points/count", {}, 404),
        ("PUT", "/collections/{name}", {"vectors": {"dense": {"size": DIMENSION, "distance": "Cosine"}}}, 409),
        ("PUT", "/collections/{name}/points", {"points": [{"id": "no id", "vector": {}}]}, 400),
        ("PUT", "/collections/{name}/points", {"points": [{"id": 1, "vector": {"other": [1.0]}}]}, 400),
    ],
)
async def test_refusals_have_status_and_reason(
    name: str, address: Address, *, method: str, path: str, body: dict[str, object], code: int
) -> None:
    """What is wrong is said by status and in Qdrant's own words for an error."""
    async with address.open_raw() as client:
        response: httpx.Response = await client.request(method, path.format(name=name), json=body)

    answer = http_models.ErrorResponse.model_validate(response.json())
    assert response.status_code == code
    assert answer.status is not None
    assert answer.status.error

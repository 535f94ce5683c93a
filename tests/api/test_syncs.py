"""The edge of continuous sync."""

from uuid import uuid4

import httpx
import pytest
from pydantic import BaseModel

from app.api import syncs
from app.domain.syncs import OnGone
from tests.api.conftest import Edge

SYNC = "/api/v1/collections/handbook/sync"


async def test_an_interval_is_set_paused_and_ended(client: httpx.AsyncClient) -> None:
    """Each answer says how it stands then."""
    before = (await client.get(SYNC)).json()
    held_before = await client.post(f"{SYNC}/pause")
    given = await client.put(SYNC, json={"interval_seconds": 900, "mode": "incremental", "paused": True})
    resumed = await client.post(f"{SYNC}/resume")
    ended = await client.delete(SYNC)

    assert (before["interval_seconds"], before["next_due"]) == (None, None)
    assert (held_before.status_code, held_before.json()["code"]) == (409, "sync_not_set")
    assert (given.status_code, given.json()["interval_seconds"], given.json()["mode"]) == (200, 900, "incremental")
    assert given.json()["paused_at"]
    assert resumed.status_code == 200
    assert ended.json()["interval_seconds"] is None


@pytest.mark.parametrize("body", [{"interval_seconds": 59}, {}, {"interval_seconds": 10**9}, {"interval_seconds": "x"}])
async def test_an_interval_has_bounds(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    """The answer names the field."""
    answer = await client.put(SYNC, json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "interval_seconds" in answer.json()["detail"]


async def test_a_run_needs_no_body(client: httpx.AsyncClient, edge: Edge) -> None:
    """Nothing is confirmed unless somebody says so."""
    plain = await client.post(f"{SYNC}/run")
    asked = dict(edge.syncs.asked)
    confirmed = await client.post(f"{SYNC}/run", json={"confirm_removals": True})

    assert (plain.status_code, plain.json()["state"], asked) == (202, "running", {"confirm_removals": False})
    assert confirmed.json()["confirm_removals"]
    assert edge.syncs.asked == {"confirm_removals": True}


async def test_runs_are_listed_and_read(client: httpx.AsyncClient, edge: Edge) -> None:
    """A run that is not there is told from one that is."""
    listed = await client.get(f"{SYNC}/runs", params={"limit": 7})
    missing = await client.get(f"{SYNC}/runs/{uuid4()}")

    assert (listed.json(), edge.syncs.asked) == ({"runs": []}, {"limit": 7})
    assert (missing.status_code, missing.json()["code"]) == (404, "sync_run_not_found")


async def test_a_source_says_what_becomes_of_gone_documents(client: httpx.AsyncClient, edge: Edge) -> None:
    """Only what there is can be chosen."""
    path = f"/api/v1/collections/handbook/sources/{uuid4()}"

    kept = await client.patch(path, json={"on_gone": "keep"})
    wrong = await client.patch(path, json={"on_gone": "burn"})

    assert (kept.status_code, kept.json()["code"]) == (404, "source_unknown")
    assert edge.sources.asked["change"].on_gone is OnGone.KEEP
    assert wrong.status_code == 422


@pytest.mark.parametrize(
    "model", [syncs.SyncSet, syncs.SyncRunCreate, syncs.SyncRunBody], ids=lambda m: str(m.__name__)
)
def test_examples_are_what_they_are_examples_of(model: type[BaseModel]) -> None:
    """Each has only fields of its model, with values it takes."""
    for example in model.model_json_schema()["examples"]:
        assert set(example) <= set(model.model_fields)
        assert model.model_validate(example)

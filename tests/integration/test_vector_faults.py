"""INDEX in front of a vector store that refuses, cuts, dawdles or answers nonsense, at any of its writes."""

from pathlib import Path

import pytest

from app.settings import Settings
from tests.harness import Api
from tests.vector_proxy import Plan, Spoil, VectorProxy

pytestmark = pytest.mark.usefixtures("worker")
DOCUMENTS = 500
"""Five groups of writes."""

PASSING = {
    "500": Plan(spoil=Spoil.REFUSED, status=500),
    "503": Plan(spoil=Spoil.REFUSED, status=503),
    "429": Plan(spoil=Spoil.REFUSED, status=429, headers={"Retry-After": "1"}),
    "507": Plan(spoil=Spoil.REFUSED, status=507),
    "page": Plan(spoil=Spoil.PAGE),
    "hollow": Plan(spoil=Spoil.HOLLOW),
    "cut before": Plan(spoil=Spoil.CUT_BEFORE),
    "cut after": Plan(spoil=Spoil.CUT_AFTER),
    "slow": Plan(spoil=Spoil.SLOW, delay_seconds=0.3),
}
CODES = {
    "507": "disk_full",
    "page": "vector_store_garbage",
    "cut after": "vector_store_unavailable",
}


@pytest.fixture
def settings(settings: Settings, proxy: VectorProxy) -> Settings:
    """Settings that reach the vector server through the proxy, with few tries."""
    changes = {"qdrant_url": proxy.url, "default_max_retries": 2}
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of short documents."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(DOCUMENTS):
        (root / f"{number:03}.txt").write_text(f"Entry {number} of the list of comets.")
    return root


@pytest.mark.parametrize("fault", PASSING)
async def test_a_fault_that_passes_costs_nothing(api: Api, many: Path, proxy: VectorProxy, fault: str) -> None:
    """Whatever happened to some writes, the operation completes with every point, once."""
    proxy.spoil_next(PASSING[fault], times=2)

    ended = await api.wait(await api.create("comets", many))

    assert proxy.spoiled == 2
    assert (ended["state"], ended["result"]["documents"]) == ("completed", DOCUMENTS), ended
    assert ended["result"]["documents_failed"] == 0
    assert await api.assert_consistent("comets") == DOCUMENTS


@pytest.mark.parametrize("fault", CODES)
async def test_a_fault_that_stays_is_named_and_a_retry_completes(
    api: Api, many: Path, proxy: VectorProxy, fault: str
) -> None:
    """When the tries are used up the operation fails with the fault's code; no document is blamed for it."""
    proxy.spoil_next(PASSING[fault], times=1_000_000)
    operation = await api.create("comets", many)
    failed = await api.wait(operation)
    blamed = await api.client.get("/api/v1/collections/comets/documents", params={"state": "failed"})
    proxy.mend()
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",))

    assert (failed["state"], failed["error_code"], failed["retryable"]) == ("failed", CODES[fault], True)
    assert blamed.json()["documents"] == []
    assert ended["result"]["documents"] == DOCUMENTS
    assert await api.assert_consistent("comets") == DOCUMENTS


async def test_a_refusal_fails_at_once(api: Api, many: Path, proxy: VectorProxy) -> None:
    """A 4xx would come back, so nothing is tried again until somebody asks for it."""
    proxy.spoil_next(Plan(spoil=Spoil.REFUSED, status=403), times=1_000_000)
    operation = await api.create("comets", many)
    failed = await api.wait(operation)
    proxy.mend()
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    ended = await api.wait(operation, states=("completed",))

    assert (failed["error_code"], failed["attempt"]) == ("vector_store_rejected", 1)
    assert ended["result"]["documents"] == DOCUMENTS
    assert await api.assert_consistent("comets") == DOCUMENTS


@pytest.mark.parametrize("fault", ["hollow", "cut after"])
async def test_changed_documents_lose_their_old_points_all_the_same(
    api: Api, many: Path, proxy: VectorProxy, fault: str
) -> None:
    """A fault between new points and the removal of old ones leaves neither a hole nor a leftover."""
    await api.wait(await api.create("comets", many))
    for number in range(150):
        (many / f"{number:03}.txt").write_text(f"Another text for {number}.")
    proxy.spoil_next(PASSING[fault], times=4)

    ended = await api.wait(await api.append("comets"), states=("completed", "failed"))
    proxy.mend()
    if ended["state"] == "failed":
        await api.client.post(f"/api/v1/operations/{ended['operation_id']}/retry")
        ended = await api.wait(ended, states=("completed",))

    assert proxy.spoiled >= 3
    assert ended["state"] == "completed"
    assert await api.assert_consistent("comets") == DOCUMENTS

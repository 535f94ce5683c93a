"""An INDEX while the disk of one of its stores is full, down to the last byte, and after room was made."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import configured_endpoints, open_parts, running_worker
from app.embedded.folder import DataFolder
from app.embedded.stack import EmbeddedStack
from tests.harness import Api, make_template, open_client, settings_for, wait_until
from tests.integration.disk import CAN_MOUNT, Disk, mounted_disk
from tests.model_server import FakeModelServer

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not CAN_MOUNT, reason="needs the right to mount a tmpfs: run as root with CAP_SYS_ADMIN"),
]
DOCUMENTS = 1200
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """A running system whose disks can be filled one by one."""

    api: Api
    disks: dict[str, Disk]
    stack: EmbeddedStack


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[dict[str, Disk]]:
    """A disk for the data folder, with Postgres on it, and one each for Valkey and the vector server."""
    tmp_path.chmod(0o755)
    data = tmp_path / "small"
    with ExitStack() as mounts:
        disks = {"postgres": mounts.enter_context(mounted_disk(data, mebibytes=512))}
        with DataFolder(data).lock():
            pass
        for name in ("valkey", "vectors"):
            disks[name] = mounts.enter_context(mounted_disk(data / name, mebibytes=160))
        yield disks


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model that takes its time, so that a disk can be filled meanwhile."""
    with FakeModelServer().running() as running:
        running.delay_seconds = 0.1
        yield running


@pytest.fixture
async def site(disks: dict[str, Disk], server: FakeModelServer, tmp_path: Path) -> AsyncIterator[Site]:
    """The embedded stack on these disks, with an API and a worker."""
    async with EmbeddedStack(disks["postgres"].path) as stack:
        await make_template(stack)
        settings = settings_for(
            stack,
            database="vecloom_template",
            namespace="disk",
            data=tmp_path / "data",
            embedding_url=server.url,
            embedding_model=server.model,
            embedding_batch_size=10,
            default_retry_delay=1,
        )
        async with (
            open_parts(settings, configured_endpoints(settings)) as parts,
            running_worker(parts),
            open_client(parts) as api,
        ):
            yield Site(api=api, disks=disks, stack=stack)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Enough documents for several groups of writes."""
    root = tmp_path / "documents"
    root.mkdir()
    for number in range(DOCUMENTS):
        text = f"Entry {number} of the list of comets. " + " ".join(f"star{number}x{index}" for index in range(10))
        (root / f"{number:04}.txt").write_text(text)
    return root


async def wait_for_writes(site: Site) -> None:
    """Until the first documents are stored, with most of them still to come."""

    async def has_stored() -> bool:
        body = {"query": "comets", "mode": "bm25", "limit": 1}
        answer = await site.api.client.post("/api/v1/collections/comets/search", json=body)
        return answer.status_code == 200 and bool(answer.json()["hits"])

    await wait_until(has_stored)


async def go_on(site: Site, operation: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end; an operation whose retries were used up before there was room is retried by its user."""
    ended = await site.api.wait(operation, seconds=PATIENCE_SECONDS)
    if ended["state"] == "failed" and ended["retryable"]:
        await site.api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
        ended = await site.api.wait(operation, states=("completed", "cancelled"), seconds=PATIENCE_SECONDS)
    return ended


async def is_ready(site: Site) -> bool:
    """Whether every store answers."""
    return (await site.api.client.get("/health/ready")).status_code == 200


async def assert_whole(site: Site, ended: dict[str, Any]) -> None:
    """Everything is there, once."""
    assert (ended["state"], ended["result"]["documents"]) == ("completed", DOCUMENTS), ended
    assert ended["result"]["documents_failed"] == 0
    assert await site.api.assert_consistent("comets") == DOCUMENTS


async def test_vectors_on_a_full_disk_are_waited_for(site: Site, documents: Path) -> None:
    """The vector server refuses to write and stays alive; the operation says why it waits, and completes."""
    operation = await site.api.create("comets", documents)
    await wait_for_writes(site)
    before = site.stack.pids["vectors"]
    site.disks["vectors"].fill()

    async def says_so() -> dict[str, Any] | None:
        now = await site.api.get(operation)
        return now if now["error_code"] else None

    waiting = await wait_until(says_so)
    found = await site.api.search("comets", "comets", mode="bm25", limit=1)
    site.disks["vectors"].make_room()
    ended = await go_on(site, operation)

    assert (waiting["error_code"], waiting["state"] != "completed") == ("disk_full", True)
    assert "make room" in waiting["error_message"]
    assert found
    assert site.stack.pids["vectors"] == before
    await assert_whole(site, ended)


async def test_redis_on_a_full_disk_stops_nothing(site: Site, documents: Path) -> None:
    """An operation that runs goes on without its progress; one that was created meanwhile runs when there is room."""
    operation = await site.api.create("comets", documents)
    await wait_for_writes(site)
    site.disks["valkey"].fill()
    ended = await site.api.wait(operation, seconds=PATIENCE_SECONDS)
    later = await site.api.append("comets")
    waiting = await site.api.get(later)
    site.disks["valkey"].make_room()
    done = await site.api.wait(later, states=("completed",), seconds=PATIENCE_SECONDS)

    await assert_whole(site, ended)
    assert waiting["state"] != "failed"
    assert done["result"]["unchanged"] == DOCUMENTS


async def test_postgres_on_a_full_disk_completes_nothing_by_mistake(site: Site, documents: Path) -> None:
    """Nothing can be written down, so nothing is; the operation goes on when there is room."""
    operation = await site.api.create("comets", documents)
    await wait_for_writes(site)
    before = site.stack.pids["postgres"]
    site.disks["postgres"].fill()

    async def has_met_it() -> dict[str, Any] | None:
        answer = await site.api.client.get(f"/api/v1/operations/{operation['operation_id']}")
        now: dict[str, Any] = answer.json()
        restarted = site.stack.pids["postgres"] != before
        return now if answer.status_code != 200 or now["error_code"] or now["attempt"] > 1 or restarted else None

    met = await wait_until(has_met_it)
    site.disks["postgres"].make_room()
    await wait_until(lambda: is_ready(site), seconds=PATIENCE_SECONDS)
    ended = await go_on(site, operation)

    assert met.get("state") != "completed"
    assert met.get("error_code") in {None, "disk_full", "database_unavailable"}
    await assert_whole(site, ended)


@pytest.mark.parametrize("name", ["postgres", "valkey", "vectors"])
async def test_a_server_that_dies_on_a_full_disk_is_started_again(site: Site, documents: Path, name: str) -> None:
    """It cannot even sign its lock file; when there is room it runs again, and the operation completes."""
    operation = await site.api.create("comets", documents)
    await wait_for_writes(site)
    before = site.stack.pids[name]
    assert before is not None
    for disk in site.disks.values():
        disk.fill()
    os.kill(before, signal.SIGKILL)
    ended = await site.stack.wait_for_failure()
    for disk in site.disks.values():
        disk.make_room()
    await wait_until(lambda: is_ready(site), seconds=PATIENCE_SECONDS)
    done = await go_on(site, operation)

    assert ended == name
    assert site.stack.pids[name] != before
    await assert_whole(site, done)

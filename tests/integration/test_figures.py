"""The gauges over all operations, and what a worker process tells over HTTP."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from app.bootstrap import Parts
from app.jobs.figures import FiguresReader
from app.settings import Settings
from tests.harness import Api, WorkerProcess, environment_of, wait_until
from tests.test_logs import running


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A worker process with an endpoint of its own."""
    return settings.model_copy(update={"metrics_port": free_port()})


@pytest.fixture
async def endpoint(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the worker's endpoint."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.metrics_port}", timeout=10) as client:
        yield client


async def status_of(client: httpx.AsyncClient, path: str) -> int:
    """Status of the answer; 0 if nobody listens."""
    try:
        return (await client.get(path)).status_code
    except httpx.TransportError:
        return 0


def value(name: str, **labels: str) -> float | None:
    """What a gauge of this process says."""
    return REGISTRY.get_sample_value(name, labels)


async def test_gauges_follow_the_rows(api: Api, parts: Parts, folder: Path) -> None:
    """They count by kind and state, what waits in the queue and for how long; what is gone counts as none."""
    reader = FiguresReader(parts.database)
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """UPDATE operations SET run_after = run_after - interval '1 hour',
                       created_at = created_at - interval '1 hour'"""
            )
        )

    await reader.read()
    waiting = value("vecloom_operations", kind="INDEX", state="pending"), value("vecloom_queue_depth")
    oldest = value("vecloom_oldest_due_operation_seconds")
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    await reader.read()

    assert waiting == (1, 1)
    assert oldest is not None
    assert 3600 <= oldest < 3700
    assert value("vecloom_operations", kind="INDEX", state="pending") == 0
    assert value("vecloom_operations", kind="INDEX", state="cancelled") == 1
    assert value("vecloom_queue_depth") == 0
    assert value("vecloom_oldest_due_operation_seconds") == 0
    assert value("vecloom_workers_alive") == 0


async def test_an_operation_of_last_week_counts_no_more(api: Api, parts: Parts, folder: Path) -> None:
    """Finished operations count for a day."""
    reader = FiguresReader(parts.database)
    operation = await api.create("notes", folder)
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    await reader.read()
    before = value("vecloom_operations", kind="INDEX", state="cancelled")
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE operations SET finished_at = now() - interval '25 hours'"))

    await reader.read()

    assert before == 1
    assert value("vecloom_operations", kind="INDEX", state="cancelled") == 0


async def test_the_api_tells_that_no_worker_lives(api: Api, folder: Path) -> None:
    """Its own metrics say so, and that an operation waits: with all workers dead nobody else could."""
    await api.create("notes", folder)

    async def is_told() -> bool:
        metrics = (await api.client.get("/metrics")).text
        waits = 'vecloom_operations{kind="INDEX",state="pending"} 1.0' in metrics
        return waits and "vecloom_workers_alive 0.0" in metrics

    await wait_until(is_told)


async def test_stages_and_tokens_are_counted(api: Api, worker: None, folder: Path) -> None:
    """The result of an operation and the counters of its worker grow by the same."""
    stages = ("read", "extract", "chunk", "embed", "store", "commit")
    before = {stage: value("vecloom_stage_seconds_total", stage=stage) or 0.0 for stage in stages}
    tokens = value("vecloom_tokens_total") or 0.0

    result = (await api.wait(await api.create("notes", folder)))["result"]

    assert (value("vecloom_tokens_total") or 0.0) - tokens == result["tokens"] > 0
    for stage in stages:
        grown = (value("vecloom_stage_seconds_total", stage=stage) or 0.0) - before[stage]
        assert grown == pytest.approx(result["stages"][stage]["seconds"], abs=0.001)
        assert grown > 0


@pytest.mark.parametrize(
    "arguments", [["arq", "app.worker.WorkerSettings"], ["app.cli.main", "worker"]], ids=["arq", "vecloom worker"]
)
async def test_a_worker_tells_of_itself(
    api: Api, endpoint: httpx.AsyncClient, folder: Path, tmp_path: Path, arguments: list[str]
) -> None:
    """Either command serves metrics and health on the port of its setting, on its own machine only."""
    async with running(arguments, api.parts.settings, tmp_path / "log"):
        await wait_until(lambda: _is(endpoint, "/health/ready", 200))
        await api.wait(await api.create("notes", folder))

        async def is_counted() -> bool:
            metrics = (await endpoint.get("/metrics")).text
            return (
                'vecloom_attempts_total{kind="INDEX",outcome="completed"} 1.0' in metrics
                and 'vecloom_operations{kind="INDEX",state="completed"} 1.0' in metrics
                and "vecloom_workers_alive 1.0" in metrics
            )

        await wait_until(is_counted)
        live, ready = await endpoint.get("/health/live"), await endpoint.get("/health/ready")

    assert live.json() == {"status": "ok"}
    assert ready.json() == {
        "status": "ready",
        "checks": {"postgres": True, "migrations": True, "redis": True, "vector_store": True, "heartbeat": True},
        "details": {},
    }
    assert await status_of(endpoint, "/health/live") == 0


async def test_a_worker_whose_database_is_taken_away_is_not_ready(
    settings: Settings, endpoint: httpx.AsyncClient, worker_process: WorkerProcess, parts: Parts
) -> None:
    """It lives, and says what is missing, also that its heartbeats do not arrive; it is ready again afterwards."""
    worker_process.start()
    await wait_until(lambda: _is(endpoint, "/health/ready", 200))

    async with parts.database.begin() as connection:
        await connection.execute(text("ALTER TABLE workers RENAME TO workers_away"))
        await connection.execute(text("ALTER TABLE alembic_version RENAME TO alembic_version_away"))
    await wait_until(lambda: _is_wrong(endpoint, {"migrations", "heartbeat"}))
    live = await status_of(endpoint, "/health/live")
    async with parts.database.begin() as connection:
        await connection.execute(text("ALTER TABLE workers_away RENAME TO workers"))
        await connection.execute(text("ALTER TABLE alembic_version_away RENAME TO alembic_version"))

    await wait_until(lambda: _is(endpoint, "/health/ready", 200))
    assert live == 200


async def test_a_stopped_worker_does_not_live(
    settings: Settings, endpoint: httpx.AsyncClient, worker_process: WorkerProcess
) -> None:
    """Live is an answer of the event loop itself: where that stands still, there is none."""
    worker_process.start()
    await wait_until(lambda: _is(endpoint, "/health/live", 200))

    worker_process.send(signal.SIGSTOP)
    try:
        with pytest.raises(httpx.ReadTimeout):
            await endpoint.get("/health/live", timeout=1)
    finally:
        worker_process.send(signal.SIGCONT)

    await wait_until(lambda: _is(endpoint, "/health/live", 200))


async def test_a_taken_port_is_one_clear_line(settings: Settings, tmp_path: Path) -> None:
    """A worker whose port is taken ends and says which setting to change."""
    with socket.create_server(("127.0.0.1", settings.metrics_port)):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "app.cli.main",
            "worker",
            env=environment_of(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, err = await process.communicate()

    assert process.returncode == 1
    assert "VECLOOM_METRICS_PORT" in err.decode()
    assert "Traceback" not in err.decode()


async def _is(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return await status_of(client, path) == status


async def _is_wrong(client: httpx.AsyncClient, names: set[str]) -> bool:
    answer = await client.get("/health/ready")
    return answer.status_code == 503 and set(answer.json()["details"]) == names

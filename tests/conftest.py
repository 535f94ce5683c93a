"""Fixtures every test may use. Services start when the first test asks for them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.embedded.stack import EmbeddedStack
from app.settings import Settings
from tests.harness import (
    Api,
    WorkerProcess,
    create_database,
    drop_database,
    make_template,
    open_client,
    server_folder,
    settings_for,
)
from tests.warm import find_warm


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """Log lines as people read them; the tracebacks that they have unless told show all local variables, in seconds."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


@pytest.fixture(scope="session")
async def services() -> AsyncIterator[EmbeddedStack]:
    """Real Postgres, Valkey and vector server for the whole session."""
    # it imports while the servers start
    find_warm()
    with server_folder() as folder:
        async with EmbeddedStack(folder / "data") as stack:
            await make_template(stack)
            yield stack


@pytest.fixture
async def settings(services: EmbeddedStack, tmp_path: Path) -> AsyncIterator[Settings]:
    """Settings with a database of this test's own."""
    name = f"t_{uuid4().hex[:12]}"
    await create_database(services, name)
    yield settings_for(services, database=name, namespace=name, data=tmp_path / "data")
    await drop_database(services, name)


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """Opened parts of this test's settings."""
    async with open_parts(settings, configured_endpoints(settings)) as opened:
        yield opened


@pytest.fixture
async def api(parts: Parts) -> AsyncIterator[Api]:
    """The API with a valid key, and no worker."""
    async with open_client(parts) as client:
        yield client


@pytest.fixture
async def worker(parts: Parts) -> AsyncIterator[None]:
    """A worker on the test's event loop."""
    async with running_worker(parts):
        yield


@pytest.fixture
def worker_process(settings: Settings, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker process that may be killed; not started yet."""
    process = WorkerProcess(settings, tmp_path / "worker.log")
    yield process
    process.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of documents."""
    root = tmp_path / "documents"
    (root / "guides").mkdir(parents=True)
    (root / "guides" / "whales.md").write_text("# Whales\n\nWhales are large mammals that live in the ocean.\n")
    (root / "guides" / "rockets.txt").write_text("Rockets burn fuel and oxidiser to leave the atmosphere.\n")
    (root / "bread.html").write_text("<html><title>Bread</title><body><p>Bake the dough for an hour.</p></body></html>")
    return root

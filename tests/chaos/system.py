"""Everything that runs: the stack, two API processes, three workers, a model server, and the lines between them."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from app.bootstrap import Parts, configured_endpoints, open_parts
from app.db.migrate import migrate
from app.embedded.stack import EmbeddedStack
from app.settings import Settings
from benchmarks.forwarder import Forwarder
from tests.chaos.client import Client
from tests.chaos.journal import Journal
from tests.chaos.processes import MARKER, Supervised
from tests.harness import environment_of
from tests.model_server import FakeModelServer

HERE = Path(__file__).parents[2]
NAMESPACE = "chaos"
MODEL = "fake-model"
MODEL_SECONDS = 0.15
"""How long the model server takes for a batch, so that there is always something under way to break."""
WORKERS = 3
CUT_OFF_WORKER = WORKERS - 1
"""The worker whose connections to Postgres and Valkey can be cut."""

LEASE_SECONDS = 5
LONGEST_SERVER_RESTART_SECONDS = 1.0
READY_SECONDS = 60.0
CONNECT_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class System:
    """The parts of a run that faults and users reach for."""

    token: str
    folder: Path
    journal: Journal
    stack: EmbeddedStack
    settings: Settings
    parts: Parts
    client: Client
    apis: list[Supervised]
    workers: list[Supervised]
    lines: list[Forwarder]
    model: FakeModelServer
    model_line: Forwarder
    has_two_versions: bool
    cuts_alike: bool

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection to Postgres that nothing is between."""
        url = self.stack.database_url.replace("postgresql+asyncpg", "postgresql")
        return await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=CONNECT_SECONDS)


def _settings(stack: EmbeddedStack, folder: Path, *, model_url: str) -> Settings:
    return Settings(
        ocr="off",
        projection_compile=False,
        database_url=stack.database_url,
        redis_url=stack.redis_url,
        qdrant_url=stack.qdrant_url,
        qdrant_api_key=stack.qdrant_api_key,
        redis_namespace=NAMESPACE,
        data=folder / "data",
        api_key=secrets.token_urlsafe(32),
        source_roots=(folder / "sources",),
        lease=LEASE_SECONDS,
        heartbeat=1,
        reconcile=2,
        operation_soft_time_limit=4,
        operation_hard_time_limit=120,
        default_max_retries=6,
        default_retry_delay=0.3,
        max_interruptions=1000,
        shutdown_grace=2,
        worker_slots=4,
        process_slots=1,
        document_max_attempts=1000,
        chunk_size=120,
        chunk_overlap=12,
        embedding_url=model_url,
        embedding_model=MODEL,
        embedding_timeout=3,
        embedding_batch_size=8,
        embedding_concurrency_per_worker=2,
        websockets_per_user=1000,
    )


def _environment(settings: Settings, token: str) -> dict[str, str]:
    values = environment_of(settings)
    values["VECLOOM_SOURCE_ROOTS"] = os.pathsep.join(str(path) for path in settings.source_roots)
    return {**values, MARKER: token}


def _cut_off(stack: EmbeddedStack, folder: Path) -> tuple[list[Forwarder], dict[str, str]]:
    """Lines to Postgres and Valkey that can be cut, and the settings of who uses them."""
    address, _, query = stack.database_url.partition("?host=")
    postgres = Path(query.partition("&")[0])
    valkey = Path(stack.redis_url.removeprefix("unix://"))
    folder.mkdir()
    lines = [
        Forwarder(folder / ".s.PGSQL.5432", postgres / ".s.PGSQL.5432"),
        Forwarder(folder / "valkey.sock", valkey),
    ]
    url = f"{address}?host={folder}&port=5432"
    return lines, {"VECLOOM_DATABASE_URL": url, "VECLOOM_REDIS_URL": f"unix://{folder / 'valkey.sock'}"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _api(number: int, port: int, environment: dict[str, str], folder: Path, journal: Journal) -> Supervised:
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--timeout-graceful-shutdown", "3")
    return Supervised(
        f"api {number}",
        (sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *arguments),
        environment=environment,
        log=folder / f"api-{number}.log",
        journal=journal,
        versions=[HERE],
        # uvicorn shuts down in good order and then ends by the signal it was sent
        good_ends=(0, -signal.SIGTERM),
    )


def _worker(
    number: int, environment: dict[str, str], folder: Path, journal: Journal, versions: Sequence[Path]
) -> Supervised:
    turn = number % len(versions)
    return Supervised(
        f"worker {number}",
        # by its path and without the folder it lies in, so that whatever it imports is of its version
        (sys.executable, "-P", str(Path(__file__).with_name("worker.py"))),
        environment=environment,
        log=folder / f"worker-{number}.log",
        journal=journal,
        versions=[*versions[turn:], *versions[:turn]],
    )


def _read_cutting(version: Path) -> bytes:
    """The code that decides which chunks a version makes of a file, and their ids."""
    pipeline, domain = version / "app" / "pipeline", version / "app" / "domain"
    files = [*pipeline.rglob("chunk*.py"), *pipeline.rglob("chunking/*.py"), *pipeline.rglob("extract*.py")]
    files += [*pipeline.rglob("extract/*.py"), domain / "identity.py", domain / "documents.py"]
    return b"".join(path.read_bytes() for path in sorted(set(files)))


@asynccontextmanager
async def open_system(folder: Path, journal: Journal, *, beside: Path | None = None) -> AsyncIterator[System]:
    """Everything started and answering; whatever still runs at the end is killed.

    ``beside`` is a checkout of another version, which every second worker runs at first.
    """
    versions = [HERE] if beside is None else [HERE, beside]
    token = secrets.token_hex(8)
    async with AsyncExitStack() as closing:
        opened = EmbeddedStack(folder / "data", longest_restart_seconds=LONGEST_SERVER_RESTART_SECONDS)
        stack = await closing.enter_async_context(opened)
        await migrate(stack.database_url)
        model = closing.enter_context(FakeModelServer(model=MODEL).running())
        model.delay_seconds = MODEL_SECONDS
        model_port = _free_port()
        model_line = Forwarder(("127.0.0.1", model_port), ("127.0.0.1", model.port))
        settings = _settings(stack, folder, model_url=f"http://127.0.0.1:{model_port}/v1")
        lines, through_lines = _cut_off(stack, folder / "line")
        for line in (*lines, model_line):
            await line.open()
            closing.push_async_callback(line.close)
        parts = await closing.enter_async_context(open_parts(settings, configured_endpoints(settings)))
        environment = _environment(settings, token)
        ports = [_free_port(), _free_port()]
        apis = [_api(number, port, environment, folder, journal) for number, port in enumerate(ports)]
        places = [environment | (through_lines if number == CUT_OFF_WORKER else {}) for number in range(WORKERS)]
        workers = [_worker(number, place, folder, journal, versions) for number, place in enumerate(places)]
        for process in (*apis, *workers):
            process.start()
            closing.callback(process.kill)
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        client = Client([f"http://127.0.0.1:{port}" for port in ports], key=key, journal=journal)
        closing.push_async_callback(client.aclose)
        system = System(
            token=token,
            folder=folder,
            journal=journal,
            stack=stack,
            settings=settings,
            parts=parts,
            client=client,
            apis=apis,
            workers=workers,
            lines=lines,
            model=model,
            model_line=model_line,
            has_two_versions=len(versions) > 1,
            cuts_alike=len({_read_cutting(version) for version in versions}) == 1,
        )
        await wait_until_ready(system)
        yield system


async def wait_until_ready(system: System) -> None:
    """Return when every API process says that everything behind it answers."""
    async with httpx.AsyncClient(timeout=CONNECT_SECONDS) as http, asyncio.timeout(READY_SECONDS):
        for url in system.client.urls:
            while not await _is_ready(http, url):  # noqa: ASYNC110 — another process becomes ready
                await asyncio.sleep(0.1)


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/health/ready")).status_code == 200
    except httpx.TransportError:
        return False

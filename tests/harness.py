"""What integration and end-to-end tests share: real services once, a database and a namespace for each test."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson
from sqlalchemy import text

from app.bootstrap import Parts, open_api
from app.db.migrate import migrate
from app.embedded.stack import EmbeddedStack
from app.operations.collections import IdentityService
from app.settings import Settings
from tests.warm import find_warm

VECLOOM = [sys.executable, "-m", "app.cli.main"]
TEMPLATE = "vecloom_template"
DEADLINE_SECONDS = 60.0
ENDS = ("completed", "failed", "cancelled")
LISTS = ("secret_keys", "trusted_proxies")
"""Settings of several values, with commas between them."""
SECRET_KEYS = "J3yQ_xAC67afRNAKxBWNTIKgJ2GDxGtCVp3Fq8-8O3Y="


async def wait_until(
    predicate: Callable[[], Awaitable[Any]], *, seconds: float = DEADLINE_SECONDS, pause_seconds: float = 0.02
) -> Any:
    """The first truthy answer of ``predicate``; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = await predicate()
        if answer:
            return answer
        await asyncio.sleep(pause_seconds)
    raise AssertionError(f"{predicate} was not true within {seconds} s")


async def run_cli(*arguments: str, data: Path, **variables: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, stdout, stderr."""
    environment = {**os.environ, "VECLOOM_DATA": str(data), **variables}
    process = await asyncio.create_subprocess_exec(
        *VECLOOM, *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run_sql(url: str, sql: str) -> None:
    """Run one statement outside any transaction, on the server's own database."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def database_named(url: str, name: str) -> str:
    """The same server's database of another name."""
    address, _, query = url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{query}"


MEMORY = Path("/dev/shm")  # noqa: S108 — folders in it are made by tempfile
MEMORY_BYTES = 8 * 1024**3
"""What must be free there: a container often has 64 MiB."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for the data of servers, in memory where there is room: each test makes and drops a database."""
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    with tempfile.TemporaryDirectory(prefix="vecloom-tests-", dir=MEMORY if has_room else None) as folder:
        yield Path(folder)


FORGETFUL = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
"""Tests kill processes, not machines: what Postgres was told survives without being on disk."""


async def make_template(stack: EmbeddedStack) -> None:
    """A migrated database that tests copy."""
    for setting in FORGETFUL:
        await run_sql(stack.database_url, f"ALTER SYSTEM SET {setting}")
    await run_sql(stack.database_url, "SELECT pg_reload_conf()")
    await run_sql(stack.database_url, f"CREATE DATABASE {TEMPLATE}")
    await migrate(database_named(stack.database_url, TEMPLATE))


async def create_database(stack: EmbeddedStack, name: str) -> None:
    """A copy of the template, file by file, which is cheaper than through the log."""
    await run_sql(stack.database_url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")


async def drop_database(stack: EmbeddedStack, name: str) -> None:
    """Remove it, whoever is connected."""
    await run_sql(stack.database_url, f"DROP DATABASE {name} WITH (FORCE)")


def settings_for(stack: EmbeddedStack, *, database: str, namespace: str, data: Path, **changes: Any) -> Settings:
    """Settings of a test: short leases, one child process, its own database and namespace."""
    return Settings(
        database_url=database_named(stack.database_url, database),
        redis_url=stack.redis_url,
        qdrant_url=stack.qdrant_url,
        qdrant_api_key=stack.qdrant_api_key,
        redis_namespace=namespace,
        data=data,
        upload_folder=data / "uploads",
        projection_folder=data / "projections",
        secret_keys=SECRET_KEYS,
        # whatever is installed and compiled on this machine
        **{
            "lease": 3,
            "heartbeat": 0.5,
            "reconcile": 1,
            "default_retry_delay": 0.1,
            "process_slots": 1,
            "ocr": "off",
            "projection_compile": False,
            **changes,
        },
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """The same settings for a child process."""
    values: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if name == "embedding_others":
            values["VECLOOM_EMBEDDING_OTHERS"] = orjson.dumps(
                [server.model_dump(exclude_none=True) for server in value]
            ).decode()
            continue
        values[f"VECLOOM_{name.upper()}"] = ",".join(_plain(part) for part in value) if name in LISTS else _plain(value)
    return {**os.environ, **values}


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


@dataclass(frozen=True, kw_only=True)
class Api:
    """An HTTP client of the API with a valid key."""

    client: httpx.AsyncClient
    parts: Parts
    user_id: UUID

    async def create(self, name: str, folder: Path, **options: Any) -> dict[str, Any]:
        """Create a collection over a folder; gives the operation."""
        body = {"name": name, "sources": [{"url": folder.as_uri(), **options.pop("source", {})}], **options}
        response = await self.client.post("/api/v1/collections", json=body)
        assert response.status_code == 202, response.text
        operation: dict[str, Any] = response.json()["operation"]
        return operation

    async def append(self, name: str) -> dict[str, Any]:
        """Append the collection's first source again; gives the operation."""
        sources = (await self.client.get(f"/api/v1/collections/{name}/sources")).json()["sources"]
        body = {"kind": "APPEND", "config": {"source_id": sources[0]["id"], "mode": "full"}}
        response = await self.client.post(f"/api/v1/collections/{name}/operations", json=body)
        assert response.status_code == 202, response.text
        operation: dict[str, Any] = response.json()
        return operation

    async def get(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The operation as it is now."""
        answer = await self.client.get(f"/api/v1/operations/{operation['operation_id']}")
        now: dict[str, Any] = answer.json()
        return now

    async def wait(
        self,
        operation: dict[str, Any],
        *,
        states: Sequence[str] = ENDS,
        seconds: float = DEADLINE_SECONDS,
    ) -> dict[str, Any]:
        """Wait until the operation is in one of these states."""

        async def reached() -> dict[str, Any] | None:
            now = await self.get(operation)
            # while Postgres is away the API says so
            return now if now.get("state") in states else None

        # an end stays, so that a request now and then is enough
        pause_seconds = 0.05 if states == ENDS else 0.02
        reached_operation: dict[str, Any] = await wait_until(reached, seconds=seconds, pause_seconds=pause_seconds)
        return reached_operation

    async def documents(self, name: str) -> dict[str, dict[str, Any]]:
        """All documents of a collection by path."""
        answer = await self.client.get(f"/api/v1/collections/{name}/documents", params={"limit": 100})
        return {document["path"]: document for document in answer.json()["documents"]}

    async def search(self, name: str, query: str, **options: Any) -> list[dict[str, Any]]:
        """Hits of a query."""
        answer = await self.client.post(f"/api/v1/collections/{name}/search", json={"query": query, **options})
        assert answer.status_code == 200, answer.text
        hits: list[dict[str, Any]] = answer.json()["hits"]
        return hits

    async def assert_consistent(self, name: str, *, may_be_dirty: bool = False) -> int:
        """Fail unless manifest and store hold exactly the same points; gives their number.

        With ``may_be_dirty`` documents that are marked as dirty may have points that the manifest does not know: what a
        lane had sent when its attempt ended may arrive later, and the next attempt deletes it.
        """
        collection = (await self.client.get(f"/api/v1/collections/{name}")).json()
        async with self.parts.database.begin() as connection:
            rows = await connection.execute(
                text(
                    """SELECT c.id FROM chunks c JOIN generations g ON g.id = c.generation_id AND g.state = 'active'
                       WHERE c.collection_id = :id"""
                ),
                {"id": collection["id"]},
            )
            manifest = {row.id for row in rows}
            generation = await connection.scalar(
                text("SELECT name FROM generations WHERE collection_id = :id AND state = 'active'"),
                {"id": collection["id"]},
            )
            dirty = set()
            if may_be_dirty:
                rows = await connection.execute(text("SELECT id FROM documents WHERE points_dirty"))
                dirty = {row.id for row in rows}
        stored = [pair for batch in [b async for b in self.parts.store.stream_ids(generation)] for pair in batch]
        points = {point for point, document in stored if document not in dirty or point in manifest}
        assert len(stored) == len({point for point, _ in stored})
        assert points == manifest
        return len(points)


@asynccontextmanager
async def open_client(parts: Parts) -> AsyncIterator[Api]:
    """The API on this event loop, called in-process."""
    async with open_api(parts) as application:
        identity = IdentityService(parts.database)
        key = await identity.issue_key("tester", name="test")
        caller = await identity.authenticate(key)
        transport = httpx.ASGITransport(app=application)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            yield Api(client=client, parts=parts, user_id=caller.user_id)


class WorkerProcess:
    """A worker in its own process, which may be killed.

    Args:
        module: what it runs instead of the worker's own entry point.
        variables: more of its environment.
    """

    def __init__(self, settings: Settings, log: Path, *, module: str | None = None, **variables: str) -> None:
        self._module = module
        self._environment = environment_of(settings) | variables
        self._log = log
        self._pid: int | None = None

    def start(self) -> None:
        """Start the worker."""
        self._pid = find_warm().start(module=self._module, environment=self._environment, log=self._log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal without waiting for anything."""
        os.kill(self.pid, number)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; gives the exit status."""
        if self._pid is None:
            raise AssertionError("the worker was not started")
        self.send(number)
        return self._wait(seconds=30)

    def wait(self) -> int:
        """Wait until it ends by itself; gives the exit status."""
        return self._wait(seconds=60)

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._pid is not None
        return self._pid

    def close(self) -> None:
        """Kill what is left."""
        if self._pid is not None:
            self.end(signal.SIGKILL)

    def _wait(self, *, seconds: float) -> int:
        status = find_warm().wait(self.pid, seconds=seconds)
        self._pid = None
        return status

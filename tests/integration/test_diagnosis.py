"""Health and diagnosis of a server: what is broken is named, with what to do, in time."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, open_reranker, running_worker
from app.db.figures import LineFigures, ServerFigures
from app.db.migrate import migrate
from app.domain.checks import Check
from app.domain.operations import Worker
from app.embedded.stack import EmbeddedStack
from app.operations.diagnosis import judge_operations, judge_postgres, judge_workers
from app.settings import Settings
from tests.harness import Api, open_client, server_folder, wait_until
from tests.reranker_server import FakeReranker

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "observability.md"
TABLE_ROW = re.compile(r"^\| (`[^|]+`) \| [^|]+ \|$", re.MULTILINE)
ON_THIS_MACHINE = {"python", "embedded packages", "data folder", "open files", "server", "diagnosis"}

SERVER = ServerFigures(version="17.2", version_number=170002, connections=97, connections_used=10, clock=1000.0)
LINE = LineFigures(
    dispatched=0,
    running=1,
    abandoned=0,
    failing=0,
    interrupted=0,
    oldest_due_seconds=0,
    oldest_undispatched_seconds=0,
    oldest_unclaimed_seconds=0,
    workers_alive=1,
    slots=10,
)
WORKER = Worker(
    id=uuid4(),
    name="host:1",
    version="1.0",
    kinds=("INDEX",),
    slots=10,
    started_at=datetime.now(UTC),
    heartbeat_at=datetime.now(UTC),
    stopped_at=None,
    is_alive=True,
    holds_lock=True,
    running=2,
)


def wrong(checks: Sequence[Check]) -> dict[str, str]:
    """What is not well, by name."""
    assert all(check.ok or check.fix for check in checks)
    return {check.name: check.detail for check in checks if not check.ok}


async def diagnose(api: Api) -> dict[str, dict[str, Any]]:
    """The server's checks by name."""
    answer = (await api.client.get("/api/v1/diagnosis")).json()
    assert answer["ok"] == all(check["ok"] for check in answer["checks"])
    return {check["name"]: check for check in answer["checks"]}


def bad(checks: dict[str, dict[str, Any]]) -> set[str]:
    """Names of what is not well, each with a fix."""
    names = {name for name, check in checks.items() if not check["ok"]}
    assert all(checks[name]["fix"] for name in names)
    return names


@asynccontextmanager
async def private_stack() -> AsyncIterator[tuple[Api, EmbeddedStack]]:
    """An API over servers of its own, which may be broken."""
    with server_folder() as folder:
        async with EmbeddedStack(folder / "data") as stack:
            await migrate(stack.database_url)
            settings = Settings(
                database_url=stack.database_url,
                redis_url=stack.redis_url,
                qdrant_url=stack.qdrant_url,
                qdrant_api_key=stack.qdrant_api_key,
                data=folder / "data",
            )
            async with open_parts(settings, configured_endpoints(settings)) as parts, open_client(parts) as api:
                yield api, stack


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """A server and its children that stand still while the block runs: they take connections and never answer."""
    assert pid is not None
    server = psutil.Process(pid)
    family = [server, *server.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


async def test_a_healthy_server_is_well_in_every_way(api: Api, worker: None) -> None:
    """Every check is ok and has no fix; together with those of this machine they are the documented ones."""
    api.parts.settings.data.mkdir()
    documented = {name for row in TABLE_ROW.findall(DOCUMENT.read_text()) for name in re.findall(r"`([a-z ]+)`", row)}

    checks = await diagnose(api)

    assert {name: check["detail"] for name, check in checks.items() if not check["ok"]} == {}
    assert {check["fix"] for check in checks.values()} == {""}
    assert set(checks) | ON_THIS_MACHINE == documented
    assert not [name for name in await api.parts.store.list_collections() if "diagnosis" in name]


async def test_no_worker_is_named(api: Api) -> None:
    """Without a worker the diagnosis says how to start one."""
    checks = await diagnose(api)

    assert bad(checks) == {"workers"}
    assert "vecloom worker" in checks["workers"]["fix"]


async def test_a_wrong_model_server_is_named(parts: Parts) -> None:
    """An address nobody listens at, and a model nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    changes = {"embedding_url": url, "embedding_model": "m"}, {"embedding_model": "unknown"}
    details = []

    for change in changes:
        settings = parts.settings.model_copy(update=change)
        async with running_worker(parts), open_client(replace(parts, settings=settings)) as api:
            checks = await diagnose(api)
        assert bad(checks) == {"embedder"}
        details.append(checks["embedder"]["detail"])

    assert "does not answer" in details[0]
    assert "unknown" in details[1]


async def test_a_reranker_is_looked_at_where_there_is_one(parts: Parts) -> None:
    """One that answers and one that has gone."""
    found = []
    with FakeReranker().running() as gone:
        pass
    with FakeReranker().running() as well:
        for url in (well.url, gone.url):
            reranker = open_reranker(parts.settings.model_copy(update={"reranker_url": url}))
            assert reranker is not None
            async with running_worker(parts), open_client(replace(parts, reranker=reranker)) as api:
                found.append(await diagnose(api))
            await reranker.aclose()

    assert [checks["reranker"]["ok"] for checks in found] == [True, False]
    assert bad(found[1]) == {"reranker"}
    assert "VECLOOM_RERANKER_URL" in found[1]["reranker"]["fix"]


async def test_missing_migrations_are_named_and_a_newer_schema_is_not(api: Api) -> None:
    """A server behind its database serves on; one before it does not, and says what to run."""
    answers = []
    for revision in ("9999_from_the_future", "0001", None):
        async with api.parts.database.begin() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
            if revision is not None:
                await connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
        answers.append(await api.client.get("/api/v1/health/ready"))
    checks = await diagnose(api)

    assert [answer.status_code for answer in answers] == [200, 503, 503]
    assert "0001" in answers[1].json()["details"]["migrations"]
    assert "empty" in answers[2].json()["details"]["migrations"]
    assert "vecloom migrate" in checks["postgres schema"]["fix"]


async def test_stuck_operations_are_named(api: Api, worker: None, folder: Path) -> None:
    """One that runs under a lease long ended, one with no retry left and one that kills its workers."""
    operation = await api.create("notes", folder)
    await api.wait(operation)
    async with api.parts.database.begin() as connection:
        # in the future for the dispatcher, in the past for whoever looks: nobody will touch it
        await connection.execute(
            text(
                "UPDATE operations SET state = 'pending', run_after = now() + interval '1 hour',"
                " failures = 3, interruptions = 5, finished_at = NULL"
            )
        )

    checks = await diagnose(api)

    assert bad(checks) == {"operation retries", "operation interruptions"}
    assert checks["operation retries"]["detail"] == "1 have no retry left"


async def test_a_redis_that_forgets_or_refuses_is_named(api: Api, worker: None) -> None:
    """One that may evict, and one that takes no writes; the settings of the real server are put back."""
    redis = api.parts.redis
    await redis.config_set("maxmemory", 1 << 30)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        evicting = await diagnose(api)
        await redis.config_set("maxmemory", 0)
        await redis.config_set("min-replicas-to-write", 1)
        refusing = await diagnose(api)
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("min-replicas-to-write", 0)

    assert bad(evicting) == {"redis memory policy"}
    assert bad(refusing) == {"redis writes"}
    assert refusing["redis writes"]["detail"] == "refused (NOREPLICAS)"


async def test_servers_that_hang_are_named_in_time() -> None:
    """Valkey, the vector server and Postgres stand still in turn: each is named, and no answer waits for it."""
    async with private_stack() as (api, stack):
        healthy = (await api.client.get("/health/ready")).json()
        with frozen(stack.pids["valkey"]):
            hung = (await api.client.get("/health/ready")).json()
            redis = await diagnose(api)
        await wait_until(lambda: _is_ready(api))
        with frozen(stack.pids["vectors"]):
            store = await diagnose(api)
        await wait_until(lambda: _is_ready(api))
        with frozen(stack.pids["postgres"]):
            async with asyncio.timeout(20):
                postgres = [(await api.client.get("/health/ready")).json() for _ in range(3)]
        await wait_until(lambda: _is_ready(api))

    assert healthy["status"] == "ready"
    assert hung["checks"] == {"postgres": True, "migrations": True, "redis": False, "vector_store": True}
    assert "2 s" in hung["details"]["redis"]
    assert bad(redis) - {"workers"} == {"redis"}
    assert bad(store) - {"workers"} == {"vector store"}
    assert [answer["checks"]["redis"] for answer in postgres] == [True] * 3
    assert [answer["checks"]["postgres"] for answer in postgres] == [False] * 3


async def _is_ready(api: Api) -> bool:
    return (await api.client.get("/health/ready")).status_code == 200


def test_postgres_is_judged() -> None:
    """Too old, too few connections, another time."""
    bad_server = replace(SERVER, version_number=120010, connections_used=95, clock=1010.0)

    assert wrong(judge_postgres(SERVER, before=999.9, after=1000.1)) == {}
    assert wrong(judge_postgres(bad_server, before=1000.0, after=1007.0)) == {
        "postgres": "version 17.2",
        "postgres connections": "2 of 97 left",
        "postgres clock": "3.0 s apart from this server's",
    }
    assert "postgres clock" in wrong(judge_postgres(SERVER, before=1003.0, after=1004.0))


def test_workers_are_judged() -> None:
    """None, several versions, deaths that nobody would notice."""
    other = replace(WORKER, name="host:2", version="1.1", holds_lock=False)

    assert wrong(judge_workers([WORKER], "1.0")) == {}
    assert wrong(judge_workers([], "1.0")) == {"workers": "none is alive"}
    assert wrong(judge_workers([WORKER, other], "1.0")) == {
        "worker versions": "1.0, 1.1",
        "worker deaths": "not noticed at once: host:2",
    }


def test_the_line_is_judged() -> None:
    """What waits while nobody is free to take it is no trouble; what waits beside free slots is."""
    waiting = replace(LINE, oldest_due_seconds=900, oldest_undispatched_seconds=900)

    assert wrong(judge_operations(LINE)) == {}
    assert wrong(judge_operations(replace(waiting, running=10))) == {}
    assert "due for 900 s while 9 slots are free" in wrong(judge_operations(waiting))["operations"]
    assert "nobody took it" in wrong(judge_operations(replace(LINE, oldest_unclaimed_seconds=61)))["operations"]
    assert "lease" in wrong(judge_operations(replace(LINE, abandoned=1)))["operations"]

"""Diagnosis: every part looked at closely, with what to do about what is wrong."""

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.db.database import Database
from app.db.figures import FiguresRepository, LineFigures, ServerFigures
from app.db.leftovers import diagnosis_name, read_marker
from app.db.schema import Schema
from app.db.workers import WorkerRepository
from app.domain.checks import Check, Probe
from app.domain.operations import Worker
from app.domain.points import PointBatch
from app.domain.ports import Embedder, Reranker, VectorStore
from app.operations.health import MIGRATE
from app.settings import Settings

OLDEST_POSTGRES = 130000
FEWEST_CONNECTIONS = 5
MOST_SKEW_SECONDS = 2.0
STUCK_SECONDS = 60.0
MOST_LAG_SECONDS = 0.5
LAG_SAMPLES = 5
LAG_SAMPLE_SECONDS = 0.02
FEWEST_FREE_BYTES = 1024**3
REDIS_KEY_SECONDS = 10
MARKER_SECONDS = 2.0


def diagnosis_probes(
    database: Database,
    redis: Redis,
    store: VectorStore,
    find_embedder: Callable[[str], Embedder],
    settings: Settings,
) -> list[Probe]:
    """All probes. One of them writes to the vector store, one to Redis; both clean up after themselves."""
    schema = Schema()

    async def look_at_postgres() -> Sequence[Check]:
        async with database.begin() as connection:
            before = time.time()
            server = await FiguresRepository(connection).read_server()
            after = time.time()
            trouble = await schema.find_trouble(connection)
        migrations = Check(name="postgres schema", ok=trouble is None, detail=trouble or "current", fix=MIGRATE)
        return [*judge_postgres(server, before=before, after=after), migrations]

    async def look_at_workers() -> Sequence[Check]:
        async with database.begin() as connection:
            workers = await WorkerRepository(connection).list_recent()
        return judge_workers([worker for worker in workers if worker.is_alive], version("vecloom"))

    async def look_at_operations() -> Sequence[Check]:
        async with database.begin() as connection:
            line = await FiguresRepository(connection).read_line(
                failures=max(1, settings.default_max_retries),
                interruptions=max(1, settings.max_interruptions // 2),
                patience_seconds=STUCK_SECONDS,
            )
        return judge_operations(line)

    postgres = "check that Postgres runs and VECLOOM_DATABASE_URL is right"
    first = "see the check of Postgres"
    return [
        Probe(name="postgres", look=look_at_postgres, fix=postgres),
        Probe(
            name="redis",
            look=lambda: look_at_redis(redis, settings.redis_namespace),
            fix="check that Redis runs and VECLOOM_REDIS_URL is right; operations wait until then, none is lost",
        ),
        Probe(
            name="vector store",
            look=lambda: look_at_store(store, database),
            fix="check that Qdrant runs, has room on its disk, and VECLOOM_QDRANT_URL and its key are right",
        ),
        Probe(
            name="embedder",
            look=lambda: look_at_embedder(find_embedder, settings.embedding_model),
            fix="check that the model server runs, and VECLOOM_EMBEDDING_URL and VECLOOM_EMBEDDING_MODEL are right",
        ),
        Probe(name="workers", look=look_at_workers, fix=first),
        Probe(name="operations", look=look_at_operations, fix=first),
        Probe(name="event loop", look=look_at_loop, fix="the process is overloaded; give it more CPU"),
        Probe(
            name="server disk", look=lambda: asyncio.to_thread(look_at_disk, settings.data), fix="see the server's disk"
        ),
    ]


def judge_postgres(server: ServerFigures, *, before: float, after: float) -> list[Check]:
    """What is wrong with Postgres itself. Its clock was read between ``before`` and ``after`` of ours."""
    left = server.connections - server.connections_used
    skew = max(before - server.clock, server.clock - after, 0.0)
    return [
        Check(
            name="postgres",
            ok=server.version_number >= OLDEST_POSTGRES,
            detail=f"version {server.version}",
            fix="use Postgres 13 or newer",
        ),
        Check(
            name="postgres connections",
            ok=left >= FEWEST_CONNECTIONS,
            detail=f"{left} of {server.connections} left",
            fix="raise max_connections, run fewer workers, or lower VECLOOM_WORKER_SLOTS",
        ),
        Check(
            name="postgres clock",
            ok=skew <= MOST_SKEW_SECONDS,
            detail=f"{skew:.1f} s apart from this server's",
            fix="synchronise the clocks of both machines, for example with chrony",
        ),
    ]


async def look_at_redis(redis: Redis, namespace: str) -> list[Check]:
    """Whether Redis answers, keeps what it is given, and takes it."""
    info = await redis.info("everything")
    policy, limit = str(info.get("maxmemory_policy", "unknown")), int(info.get("maxmemory", 0))
    failed = [name for name in ("rdb_last_bgsave_status", "aof_last_write_status") if info.get(name, "ok") != "ok"]
    kept = "append-only file" if info.get("aof_enabled") else "snapshots, or nothing"
    key = f"{namespace}:doctor"
    try:
        await redis.set(key, b"1", ex=REDIS_KEY_SECONDS)
        refusal = ""
    except RedisError as error:
        code = str(error).partition(" ")[0]
        refusal = code if code.isupper() else type(error).__name__
    return [
        Check(name="redis", ok=True, detail=f"version {info.get('valkey_version') or info.get('redis_version')}"),
        Check(
            name="redis memory policy",
            ok=policy == "noeviction" or limit == 0,
            detail=policy if limit else f"{policy}, memory without a limit",
            fix="set maxmemory-policy to noeviction; evicted entries are enqueued again, which takes time",
        ),
        Check(
            name="redis persistence",
            ok=not failed,
            detail=f"failed: {', '.join(failed)}" if failed else f"{kept}; losing it loses no operation",
            fix="make room on the disk of Redis; see its log",
        ),
        Check(
            name="redis writes",
            ok=not refusal,
            detail=f"refused ({refusal})" if refusal else "taken",
            fix="on MISCONF make room on its disk, on OutOfMemory raise maxmemory, on ReadOnly use the primary",
        ),
    ]


async def _name_diagnosis(database: Database) -> str:
    """A name that says whose it is, so that it is cleaned up if this process dies; without Postgres nobody's."""
    try:
        async with asyncio.timeout(MARKER_SECONDS), database.begin() as connection:
            marker = await read_marker(connection)
    except (SQLAlchemyError, OSError, TimeoutError):
        marker = "any"
    return diagnosis_name(marker, uuid4().hex[:12])


async def look_at_store(store: VectorStore, database: Database) -> list[Check]:
    """Whether the vector store takes a point, with its text, and gives it back."""
    name = await _name_diagnosis(database)
    started = time.perf_counter()
    point = PointBatch(ids=[uuid4()], vectors=np.ones((1, 2), dtype=np.float32), texts=["a whale"], payloads=[{}])
    try:
        await store.create_collection(name, dimension=2)
        await store.upsert(name, point)
        stored = await store.count(name)
    finally:
        await store.drop_collection(name)
    took = time.perf_counter() - started
    return [
        Check(
            name="vector store",
            ok=stored == 1,
            detail=f"took a point and {'gave it back' if stored == 1 else 'lost it'} in {took * 1000:.0f} ms",
            fix="see the vector store's log",
        )
    ]


def reranker_probe(reranker: Reranker) -> Probe:
    """Whether the reranker answers."""

    async def look() -> list[Check]:
        started = time.perf_counter()
        await reranker.score("a whale", ["a whale"])
        took = time.perf_counter() - started
        return [Check(name="reranker", ok=True, detail=f"answers in {took * 1000:.0f} ms")]

    return Probe(
        name="reranker",
        look=look,
        fix="check that the reranker runs, and VECLOOM_RERANKER_URL and VECLOOM_RERANKER_MODEL are right",
    )


async def look_at_embedder(find_embedder: Callable[[str], Embedder], model: str) -> list[Check]:
    """Whether the model of new collections answers."""
    embedder = find_embedder(model)
    started = time.perf_counter()
    vector = await embedder.embed_query("a whale")
    took = time.perf_counter() - started
    detail = f"{model} answers with {len(vector)} dimensions in {took * 1000:.0f} ms"
    return [Check(name="embedder", ok=True, detail=detail)]


def judge_workers(alive: Sequence[Worker], own_version: str) -> list[Check]:
    """Whether somebody works, in one version, and would be missed at once."""
    if not alive:
        return [Check(name="workers", ok=False, detail="none is alive", fix="start one with `vecloom worker`")]
    versions = {own_version, *(worker.version for worker in alive)}
    unlocked = [worker.name for worker in alive if not worker.holds_lock]
    slots, running = sum(worker.slots for worker in alive), sum(worker.running for worker in alive)
    return [
        Check(name="workers", ok=True, detail=f"{len(alive)} alive, {running} of {slots} slots taken"),
        Check(
            name="worker versions",
            ok=len(versions) == 1,
            detail=", ".join(sorted(versions)),
            fix="bring all workers and servers to the same version",
        ),
        Check(
            name="worker deaths",
            ok=not unlocked,
            detail=f"not noticed at once: {', '.join(unlocked)}" if unlocked else "noticed at once",
            fix="connect workers to Postgres itself, not to a pooler in transaction mode; their leases still end",
        ),
    ]


def judge_operations(line: LineFigures) -> list[Check]:
    """Whether operations get on."""
    free = line.slots - line.running - line.dispatched
    troubles = []
    if line.oldest_undispatched_seconds > STUCK_SECONDS and free > 0:
        troubles.append(f"one is due for {line.oldest_undispatched_seconds:.0f} s while {free} slots are free")
    if line.oldest_unclaimed_seconds > STUCK_SECONDS and line.workers_alive:
        troubles.append(f"one was dispatched {line.oldest_unclaimed_seconds:.0f} s ago and nobody took it")
    if line.abandoned:
        troubles.append(f"{line.abandoned} run under a lease that has ended")
    well = f"{line.running} running, the oldest one that may start waits for {line.oldest_due_seconds:.0f} s"
    return [
        Check(
            name="operations",
            ok=not troubles,
            detail="; ".join(troubles) or well,
            fix="see `vecloom ops list` for why they wait, and the workers' logs; restart the workers",
        ),
        Check(
            name="operation retries",
            ok=line.failing == 0,
            detail=f"{line.failing} have no retry left" if line.failing else "none is at its last attempt",
            fix="see their error codes in `vecloom ops list`, and mend the cause before the last attempt ends",
        ),
        Check(
            name="operation interruptions",
            ok=line.interrupted == 0,
            detail=f"{line.interrupted} lost their worker many times" if line.interrupted else "none loses its workers",
            fix="see why workers die: their logs, the kernel's out-of-memory messages, the supervisor",
        ),
    ]


async def look_at_loop() -> list[Check]:
    """How late the event loop of this process is."""
    late = 0.0
    for _ in range(LAG_SAMPLES):
        due = time.perf_counter() + LAG_SAMPLE_SECONDS
        await asyncio.sleep(LAG_SAMPLE_SECONDS)
        late = max(late, time.perf_counter() - due)
    detail = f"at most {late * 1000:.0f} ms late"
    return [Check(name="event loop", ok=late < MOST_LAG_SECONDS, detail=detail, fix="give the process more CPU")]


def look_at_disk(folder: Path) -> list[Check]:
    """Whether the disk under the server's data folder has room, where it has one."""
    if not folder.exists():
        return []
    free = shutil.disk_usage(folder).free
    detail = f"{free // 1024**2} MiB free under the data folder"
    return [Check(name="server disk", ok=free > FEWEST_FREE_BYTES, detail=detail, fix="make room on it")]

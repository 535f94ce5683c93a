"""Everything that breaks, each under the name it has in the plan; one that holds for a while undoes itself."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import asyncpg
import psutil

from app.jobs.queue import RUN_OPERATION, queue_name
from tests.chaos.plan import Step
from tests.chaos.processes import Supervised, list_pool_children
from tests.chaos.system import CUT_OFF_WORKER, LEASE_SECONDS, MODEL_SECONDS, NAMESPACE, System
from tests.model_server import Fault as Answer

CALL_SECONDS = 5.0
MOST_CONNECTIONS = 250
MANY_ANSWERS = 100_000
JUMP_SECONDS = 3600

Effect = Callable[[System, Step], Awaitable[str]]


class NothingToBreakError(Exception):
    """The fault has no target now."""


# --- workers and API processes ------------------------------------------------------------------


def _signal_one(processes: list[Supervised], step: Step, number: signal.Signals) -> str:
    process = processes[step.target % len(processes)]
    pid = process.signal(number)
    if pid is None:
        raise NothingToBreakError(f"{process.name} does not run")
    return f"{process.name} (pid {pid})"


async def kill_worker(system: System, step: Step) -> str:
    """SIGKILL to one worker."""
    return _signal_one(system.workers, step, signal.SIGKILL)


async def terminate_worker(system: System, step: Step) -> str:
    """SIGTERM to one worker, which must end within a minute; it comes back as the other version, if there are two."""
    worker = system.workers[step.target % len(system.workers)]
    if worker.pid is None:
        raise NothingToBreakError(f"{worker.name} does not run")
    version = worker.deploy()
    await worker.terminate()
    return f"{worker.name}, comes back from {version}"


async def kill_all_workers(system: System, step: Step) -> str:
    """SIGKILL to every worker at once."""
    return ", ".join(str(worker.signal(signal.SIGKILL)) for worker in system.workers)


async def kill_api(system: System, step: Step) -> str:
    """SIGKILL to one API process."""
    return _signal_one(system.apis, step, signal.SIGKILL)


async def block_worker(system: System, step: Step) -> str:
    """The event loop of one worker stands still for longer than its lease."""
    return _signal_one(system.workers, step, signal.SIGUSR2)


async def block_worker_shortly(system: System, step: Step) -> str:
    """The event loop of one worker stands still for a moment."""
    return _signal_one(system.workers, step, signal.SIGUSR1)


async def _freeze(pid: int | None, seconds: float) -> str:
    if pid is None:
        raise NothingToBreakError("the process does not run")
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        process.suspend()
        try:
            await asyncio.sleep(seconds)
        finally:
            process.resume()
    return f"pid {pid} for {seconds:.1f} s"


async def freeze_worker(system: System, step: Step) -> str:
    """SIGSTOP one worker for longer than its lease, then SIGCONT."""
    worker = system.workers[step.target % len(system.workers)]
    return await _freeze(worker.pid, step.between(LEASE_SECONDS + 1, LEASE_SECONDS + 6))


async def freeze_worker_shortly(system: System, step: Step) -> str:
    """SIGSTOP one worker for less than its lease, then SIGCONT."""
    worker = system.workers[step.target % len(system.workers)]
    return await _freeze(worker.pid, step.between(0.5, LEASE_SECONDS - 2))


async def kill_child(system: System, step: Step) -> str:
    """SIGKILL to a child of a worker's process pool."""
    children = [child for worker in system.workers if worker.pid for child in list_pool_children(worker.pid)]
    if not children:
        raise NothingToBreakError("no worker has a child now")
    child = children[step.target % len(children)]
    with suppress(psutil.Error):
        child.kill()
    return f"pid {child.pid}"


async def partition(system: System, step: Step) -> str:
    """One worker is cut off from Postgres and Valkey; afterwards half the time its connections are gone."""
    seconds = step.between(1.0, LEASE_SECONDS * 2)
    for line in system.lines:
        line.flowing.clear()
    try:
        await asyncio.sleep(seconds)
    finally:
        if step.target % 2:
            for line in system.lines:
                await line.drop()
        for line in system.lines:
            line.flowing.set()
    return f"worker {CUT_OFF_WORKER} for {seconds:.1f} s"


# --- Valkey -------------------------------------------------------------------------------------


def _kill_server(system: System, name: str, number: signal.Signals = signal.SIGKILL) -> int:
    pid = system.stack.pids[name]
    if pid is None:
        raise NothingToBreakError(f"{name} does not run")
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


async def kill_redis(system: System, step: Step) -> str:
    """SIGKILL; it comes back with what its file has."""
    return f"pid {_kill_server(system, 'valkey')}"


async def flush_redis(system: System, step: Step) -> str:
    """Every key is gone, the server stays."""
    await system.parts.redis.flushall()
    return "all keys"


async def empty_redis(system: System, step: Step) -> str:
    """SIGKILL, and its file is gone before it comes back."""
    pid = _kill_server(system, "valkey")
    with suppress(psutil.Error):
        psutil.Process(pid).wait(timeout=1)
    shutil.rmtree(system.folder / "data" / "valkey" / "appendonlydir", ignore_errors=True)
    return f"pid {pid}"


async def freeze_redis(system: System, step: Step) -> str:
    """It takes connections and answers nothing."""
    return await _freeze(system.stack.pids["valkey"], step.between(1.0, 7.0))


# --- Postgres -----------------------------------------------------------------------------------


async def restart_postgres(system: System, step: Step) -> str:
    """A fast shutdown; the stack starts it again."""
    return f"pid {_kill_server(system, 'postgres', signal.SIGINT)}"


async def quit_postgres(system: System, step: Step) -> str:
    """An immediate shutdown, so that it recovers when it starts again."""
    return f"pid {_kill_server(system, 'postgres', signal.SIGQUIT)}"


async def kill_postgres(system: System, step: Step) -> str:
    """SIGKILL to the postmaster."""
    return f"pid {_kill_server(system, 'postgres')}"


async def terminate_connections(system: System, step: Step) -> str:
    """Postgres ends every session but its own."""
    connection = await system.connect()
    try:
        count = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close(timeout=CALL_SECONDS)
    return f"{count} connections"


async def exhaust_connections(system: System, step: Step) -> str:
    """All connections that Postgres allows are taken for a while."""
    taken: list[asyncpg.Connection[asyncpg.Record]] = []
    seconds = step.between(1.0, 4.0)
    try:
        with suppress(asyncpg.TooManyConnectionsError):
            for _ in range(MOST_CONNECTIONS):
                taken.append(await system.connect())  # noqa: PERF401 — whatever was opened has to be closed
        await asyncio.sleep(seconds)
    finally:
        for connection in taken:
            connection.terminate()
    return f"{len(taken)} connections for {seconds:.1f} s"


async def jump_clock(system: System, step: Step) -> str:
    """The times of unfinished operations are an hour off: what a jump of Postgres' clock amounts to."""
    seconds = JUMP_SECONDS if step.target % 2 else -JUMP_SECONDS
    connection = await system.connect()
    try:
        status = await connection.execute(
            """UPDATE operations SET lease_until = lease_until + jump, heartbeat_at = heartbeat_at + jump,
                    run_after = run_after + jump, dispatched_at = dispatched_at + jump,
                    created_at = created_at + jump, attempt_started_at = attempt_started_at + jump
               FROM make_interval(secs => $1) AS jump WHERE state IN ('pending', 'running')""",
            float(seconds),
        )
    finally:
        await connection.close(timeout=CALL_SECONDS)
    return f"{seconds:+d} s, {status}"


# --- the vector server and the model server -----------------------------------------------------


async def kill_vectors(system: System, step: Step) -> str:
    """SIGKILL."""
    return f"pid {_kill_server(system, 'vectors')}"


async def freeze_vectors(system: System, step: Step) -> str:
    """It takes connections and answers nothing."""
    return await _freeze(system.stack.pids["vectors"], step.between(1.0, 6.0))


async def take_model_down(system: System, step: Step) -> str:
    """Connections to the model server are refused."""
    seconds = step.between(1.0, 5.0)
    await system.model_line.close()
    try:
        await asyncio.sleep(seconds)
    finally:
        await system.model_line.open()
    return f"for {seconds:.1f} s"


async def slow_model(system: System, step: Step) -> str:
    """Every answer takes longer, at times longer than anyone waits for it."""
    system.model.delay_seconds = step.between(0.2, 4.0)
    try:
        await asyncio.sleep(step.between(2.0, 6.0))
    finally:
        system.model.delay_seconds = MODEL_SECONDS
    return f"by up to {step.between(0.2, 4.0):.1f} s"


async def _script_model(system: System, step: Step, script: Callable[[], None]) -> str:
    seconds = step.between(0.5, 4.0)
    script()
    try:
        await asyncio.sleep(seconds)
    finally:
        system.model.scripted.clear()
    return f"for {seconds:.1f} s"


async def fail_model(system: System, step: Step) -> str:
    """500."""
    return await _script_model(system, step, lambda: system.model.fail_next(500, times=MANY_ANSWERS))


async def limit_model(system: System, step: Step) -> str:
    """429 with Retry-After."""
    answers = {"times": MANY_ANSWERS, "headers": {"Retry-After": "1"}}
    return await _script_model(system, step, lambda: system.model.fail_next(429, **answers))  # type: ignore[arg-type]


def _spoil(answer: Answer) -> Effect:
    async def spoil(system: System, step: Step) -> str:
        return await _script_model(system, step, lambda: system.model.spoil_next(answer, times=MANY_ANSWERS))

    return spoil


# --- the queue ----------------------------------------------------------------------------------


async def lose_queue(system: System, step: Step) -> str:
    """The queue and every job's payload are gone."""
    redis = system.parts.redis
    keys = [key async for key in redis.scan_iter(match="arq:job:*")]
    await redis.delete(queue_name(NAMESPACE), *keys)
    return f"{len(keys)} jobs"


async def double_queue(system: System, step: Step) -> str:
    """Every unfinished operation is announced again, under the same job id and under another."""
    connection = await system.connect()
    try:
        rows = await connection.fetch("SELECT id, dispatch FROM operations WHERE state IN ('pending', 'running')")
    finally:
        await connection.close(timeout=CALL_SECONDS)
    for row in rows:
        name = f"{row['id']}:{row['dispatch']}"
        for job in (name, f"{name}:again"):
            await system.parts.redis.enqueue_job(RUN_OPERATION, str(row["id"]), row["dispatch"], _job_id=job)
        await system.parts.redis.zadd(queue_name(NAMESPACE), {name: 0})
    return f"{len(rows)} operations"


async def reconcile_twice(system: System, step: Step) -> str:
    """Two reconcilers at the same moment, beside those of the workers."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(system.parts.dispatcher.reconcile())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return "2 reconcilers"


EFFECTS: Mapping[str, Effect] = {
    "worker_kill": kill_worker,
    "worker_term": terminate_worker,
    "worker_freeze": freeze_worker,
    "worker_freeze_short": freeze_worker_shortly,
    "worker_block": block_worker,
    "worker_block_short": block_worker_shortly,
    "workers_kill_all": kill_all_workers,
    "child_kill": kill_child,
    "redis_kill": kill_redis,
    "redis_flush": flush_redis,
    "redis_empty": empty_redis,
    "redis_freeze": freeze_redis,
    "postgres_restart": restart_postgres,
    "postgres_quit": quit_postgres,
    "postgres_kill": kill_postgres,
    "postgres_terminate": terminate_connections,
    "postgres_exhaust": exhaust_connections,
    "vectors_kill": kill_vectors,
    "vectors_freeze": freeze_vectors,
    "model_down": take_model_down,
    "model_slow": slow_model,
    "model_error": fail_model,
    "model_busy": limit_model,
    "model_garbage": _spoil(Answer.NOT_JSON),
    "model_nan": _spoil(Answer.NAN),
    "model_dimension": _spoil(Answer.WRONG_DIMENSION),
    "partition": partition,
    "clock_jump": jump_clock,
    "enqueue_lost": lose_queue,
    "enqueue_twice": double_queue,
    "reconcilers": reconcile_twice,
    "api_kill": kill_api,
}

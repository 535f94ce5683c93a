"""Soft, hard and whole time limits, retries, and what they count against."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.db.database import Database
from app.domain.errors import EmbedderUnavailableError, SliceEndedError, SourceNotFoundError
from app.domain.operations import Operation, OperationKind
from app.jobs.context import Job, JobContext
from app.jobs.index import index_collection
from app.progress.reporter import replay
from app.settings import Settings
from benchmarks.corpus import write_corpus
from tests.harness import Api, open_client, wait_until

DOCUMENTS = 1500
"""More groups than are carried at once, so that a slice that is to end leaves some."""


def _job(body: Callable[[JobContext, Operation], Awaitable[None]]) -> dict[OperationKind, Job]:
    """A worker's jobs: this body, and an empty result."""

    async def job(context: JobContext, operation: Operation) -> dict[str, Any]:
        await body(context, operation)
        return {"documents_failed": 0}

    return {OperationKind.INDEX: job, OperationKind.APPEND: job}


@asynccontextmanager
async def _served(settings: Settings, body: Callable[[JobContext, Operation], Awaitable[None]]) -> AsyncIterator[Api]:
    """The API and a worker with this job, on settings of the test's own."""
    opening = open_parts(settings, configured_endpoints(settings))
    async with opening as parts, open_client(parts) as api, running_worker(parts, jobs=_job(body)):
        yield api


async def _events(parts: Parts, operation: dict[str, Any]) -> list[str]:
    namespace = parts.settings.redis_namespace
    events = await replay(parts.redis, UUID(operation["operation_id"]), None, namespace=namespace)
    return [event.type for event in events]


async def test_at_the_soft_limit_an_operation_goes_on_in_slices(settings: Settings, tmp_path: Path) -> None:
    """An ingest that takes longer than several soft limits ends complete, with each document read once."""
    root = tmp_path / "corpus"
    write_corpus(root, DOCUMENTS)
    limits = {"operation_soft_time_limit": 0.2, "operation_hard_time_limit": 60}
    short = settings.model_copy(update={**limits, "process_slots": 2})
    async with open_parts(short, configured_endpoints(short)) as parts, open_client(parts) as api:
        async with running_worker(parts):
            operation = await api.create("corpus", root)
            ended = await api.wait(operation)
        types = await _events(parts, operation)
        points = await api.assert_consistent("corpus")
        documents = (await api.client.get("/api/v1/collections/corpus")).json()["documents"]

    assert ended["state"] == "completed"
    assert ended["attempt"] > 1
    assert (ended["failures"], ended["interruptions"]) == (0, 0)
    assert types.count("soft_time_limit") >= ended["attempt"] - 1
    assert types.count("operation_completed") == 1
    assert documents == {"completed": DOCUMENTS}
    assert (ended["result"]["documents_added"], ended["result"]["chunks"]) == (DOCUMENTS, points)
    assert ended["result"]["stages"]["read"]["items"] == DOCUMENTS
    assert ended["progress"]["documents"] == {
        "total": DOCUMENTS,
        "done": DOCUMENTS,
        "failed": 0,
        "needs_ocr": 0,
        "skipped": 0,
    }


async def test_a_verification_does_not_end_at_the_soft_limit(settings: Settings, tmp_path: Path) -> None:
    """It has no place to go on from, so slices of it would begin again for ever; one pass ends it."""
    root = tmp_path / "corpus"
    write_corpus(root, 100)
    short = settings.model_copy(update={"operation_soft_time_limit": 0.01, "operation_hard_time_limit": 60})
    opening = open_parts(settings, configured_endpoints(settings))
    async with opening as parts, open_client(parts) as api, running_worker(parts):
        await api.wait(await api.create("corpus", root))
    async with open_parts(short, configured_endpoints(short)) as parts, open_client(parts) as api:
        async with running_worker(parts):
            body = {"kind": "VERIFY", "config": {"deep": True}}
            asked = await api.client.post("/api/v1/collections/corpus/operations", json=body)
            ended = await api.wait(asked.json())
        types = await _events(parts, asked.json())

    assert "soft_time_limit" in types
    assert (ended["state"], ended["attempt"], ended["result"]["ok"]) == ("completed", 1, True)


async def test_at_the_hard_limit_a_slice_is_cancelled_and_counts(settings: Settings, folder: Path) -> None:
    """A job that reaches no checkpoint is stopped, tried again, and fails in the end with a code of its own."""
    changes = {"operation_soft_time_limit": 0.1, "operation_hard_time_limit": 0.2, "default_max_retries": 2}
    short = settings.model_copy(update=changes)

    async def hang(context: JobContext, operation: Operation) -> None:
        await asyncio.sleep(3600)

    async with _served(short, hang) as api:
        ended = await api.wait(await api.create("notes", folder))

    assert (ended["state"], ended["error_code"]) == ("failed", "hard_time_limit")
    assert (ended["attempt"], ended["failures"]) == (3, 2)
    assert ended["retryable"] is True


async def test_max_runtime_caps_all_slices_together(settings: Settings, folder: Path) -> None:
    """However often it continues, an operation ends when it has run as long as its config allows."""
    short = settings.model_copy(update={"operation_soft_time_limit": 0.2, "operation_hard_time_limit": 60})

    async def never_done(context: JobContext, operation: Operation) -> None:
        context.note_progress()
        while not context.should_yield():  # noqa: ASYNC110 — a job is asked to yield by a flag
            await asyncio.sleep(0.01)
        raise SliceEndedError("soft limit")

    async with _served(short, never_done) as api:
        ended = await api.wait(await api.create("notes", folder, max_runtime_seconds=1))

    assert (ended["state"], ended["error_code"]) == ("failed", "max_runtime_exceeded")
    assert ended["attempt"] > 1


async def test_a_transient_error_is_retried_later_and_says_so(api: Api, parts: Parts, folder: Path) -> None:
    """Between two attempts the operation says when it tries again and after what; the retries are counted."""
    tries = 0

    async def fail_twice(context: JobContext, operation: Operation) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise EmbedderUnavailableError("down", retry_after_seconds=1.5)

    async with running_worker(parts, jobs=_job(fail_twice)):
        operation = await api.create("notes", folder)

        async def is_waiting() -> dict[str, Any] | None:
            now = await api.get(operation)
            return now if str(now["why_waiting"]).startswith("waiting to try again at") else None

        waiting = await wait_until(is_waiting)
        ended = await api.wait(operation)

    assert waiting["why_waiting"].endswith("after embedder_unavailable")
    assert (ended["state"], ended["failures"], ended["attempt"]) == ("completed", 2, 3)
    assert (await _events(parts, operation)).count("operation_retrying") == 2


async def test_retry_after_is_honoured(api: Api, parts: Parts, folder: Path) -> None:
    """What the other side asks for wins over a shorter delay of ours."""

    async def ask_for_patience(context: JobContext, operation: Operation) -> None:
        raise EmbedderUnavailableError("busy", retry_after_seconds=1800)

    async with running_worker(parts, jobs=_job(ask_for_patience)):
        operation = await api.create("notes", folder)
        waiting = await api.wait(operation, states=["pending"])

        async def retries() -> bool:
            return bool((await api.get(operation))["failures"])

        await wait_until(retries)
        waiting = await api.get(operation)
    left = datetime.fromisoformat(waiting["run_after"]) - datetime.now(UTC)

    assert timedelta(minutes=28) < left <= timedelta(minutes=30)


async def test_an_unknown_error_is_tried_once_more(api: Api, parts: Parts, folder: Path) -> None:
    """A bug does not go round for ever, and its text is not told."""

    async def break_down(context: JobContext, operation: Operation) -> None:
        raise RuntimeError("secret=hunter2")

    async with running_worker(parts, jobs=_job(break_down)):
        ended = await api.wait(await api.create("notes", folder))

    assert (ended["state"], ended["error_code"], ended["attempt"]) == ("failed", "internal_error", 2)
    assert "hunter2" not in ended["error_message"]


async def test_losing_postgres_is_no_failure_of_the_operation(api: Api, parts: Parts, folder: Path) -> None:
    """When all sessions end in the middle of a job, it is tried again soon, and counted as interrupted."""
    tries = 0

    async def lose_sessions(context: JobContext, operation: Operation) -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            return
        async with context.resources.database.begin() as connection:
            await connection.execute(
                text(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()"""
                )
            )
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async with running_worker(parts, jobs=_job(lose_sessions)):
        ended = await api.wait(await api.create("notes", folder))

    assert ended["state"] == "completed"
    assert (ended["failures"], ended["interruptions"]) == (0, 1)


async def test_a_postgres_that_is_away_is_no_failure_of_the_operation(
    api: Api, parts: Parts, folder: Path, tmp_path: Path
) -> None:
    """Also one that takes no connection at all when a job asks for one, as in the middle of a restart."""

    async def find_nobody(context: JobContext, operation: Operation) -> None:
        if operation.attempt == 1:
            away = Database(f"postgresql://postgres@/none?host={tmp_path}&port=5432", pool_size=1)
            async with away.begin():
                pass

    async with running_worker(parts, jobs=_job(find_nobody)):
        ended = await api.wait(await api.create("notes", folder))

    assert ended["state"] == "completed"
    assert (ended["failures"], ended["interruptions"]) == (0, 1)


async def test_run_after_is_not_before(api: Api, parts: Parts, folder: Path, worker: None) -> None:
    """An operation for later waits with a worker at hand, says until when, and then runs."""
    later = datetime.now(UTC) + timedelta(seconds=2)
    operation = await api.create("notes", folder, run_after=later.isoformat())

    waiting = await api.get(operation)
    ended = await api.wait(operation)

    assert waiting["why_waiting"].startswith("not before 20")
    assert ended["state"] == "completed"
    assert datetime.fromisoformat(ended["started_at"]) >= later


async def test_a_retry_continues_what_failed(api: Api, parts: Parts, tmp_path: Path) -> None:
    """A failed ingest that is retried by its user reads only what was not finished."""
    root = tmp_path / "corpus"
    write_corpus(root, 300)
    is_first = True

    async def some_done() -> bool:
        async with parts.database.begin() as connection:
            return bool(await connection.scalar(text("SELECT 1 FROM documents WHERE state = 'completed' LIMIT 1")))

    async def fail_in_the_middle(context: JobContext, operation: Operation) -> dict[str, Any]:
        nonlocal is_first
        indexing = asyncio.create_task(index_collection(context, operation))
        if not is_first:
            return await indexing
        is_first = False
        await wait_until(some_done)
        indexing.cancel()
        await asyncio.wait({indexing})
        raise SourceNotFoundError(root.as_uri())

    async with running_worker(parts, jobs={OperationKind.INDEX: fail_in_the_middle}):
        operation = await api.create("corpus", root)
        failed = await api.wait(operation)
        documents = (await api.client.get("/api/v1/collections/corpus")).json()["documents"]
        await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
        ended = await api.wait(operation)

    assert (failed["state"], failed["error_code"]) == ("failed", "source_not_found")
    assert set(documents) == {"completed", "pending"}
    assert ended["state"] == "completed"
    assert ended["result"]["stages"]["read"]["items"] == 300
    assert (await api.client.get("/api/v1/collections/corpus")).json()["documents"] == {"completed": 300}


async def test_a_clock_that_was_moved_loses_nothing(api: Api, parts: Parts, folder: Path) -> None:
    """Times an hour ahead, as after Postgres' clock went back, are healed; an hour behind costs one interruption."""
    gate = asyncio.Event()

    async def wait(context: JobContext, operation: Operation) -> None:
        await gate.wait()

    async def shift(hours: int) -> None:
        async with parts.database.begin() as connection:
            await connection.execute(
                text(
                    """UPDATE operations SET lease_until = lease_until + make_interval(hours => :hours),
                           heartbeat_at = heartbeat_at + make_interval(hours => :hours),
                           dispatched_at = dispatched_at + make_interval(hours => :hours)
                       WHERE state IN ('pending', 'running')"""
                ),
                {"hours": hours},
            )

    async with running_worker(parts, jobs=_job(wait)):
        running = await api.create("notes", folder)
        await api.wait(running, states=["running"])
        behind = await api.append("notes")
        for hours in (1, -1):
            await shift(hours)
            await parts.dispatcher.reconcile()
        gate.set()
        ended = [await api.wait(running), await api.wait(behind)]

    assert [operation["state"] for operation in ended] == ["completed", "completed"]
    assert ended[0]["interruptions"] <= 1


async def test_waits_keep_their_length_when_the_clock_goes_back(api: Api, parts: Parts, folder: Path) -> None:
    """What was due stays due, a wait after an error is no longer than before, and a time that a caller named stands."""
    scheduled_at = datetime.now(UTC) + timedelta(hours=5)
    due, failed, tried = [await api.create(name, folder) for name in ("due", "failed", "tried")]
    scheduled = await api.append("due")
    changes = {
        failed["operation_id"]: "heartbeat_at = now(), error_code = 'x', run_after = now() + interval '30 seconds'",
        tried["operation_id"]: "heartbeat_at = now(), created_at = now() - interval '1 day', run_after = now()",
        scheduled["operation_id"]: f"run_after = '{scheduled_at.isoformat()}'",
    }
    async with parts.database.begin() as connection:
        for operation_id, change in changes.items():
            await connection.execute(text(f"UPDATE operations SET {change} WHERE id = '{operation_id}'"))  # noqa: S608
        await connection.execute(
            text(
                """UPDATE operations SET created_at = created_at + interval '1 hour',
                       heartbeat_at = heartbeat_at + interval '1 hour',
                       run_after = CASE WHEN id = :scheduled THEN run_after ELSE run_after + interval '1 hour' END"""
            ),
            {"scheduled": UUID(scheduled["operation_id"])},
        )

    await parts.dispatcher.reconcile()
    async with parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT id, run_after, run_after <= now() AS is_due FROM operations"))
        healed = {str(row.id): row for row in rows}

    assert healed[due["operation_id"]].is_due
    assert healed[tried["operation_id"]].is_due
    assert datetime.now(UTC) < healed[failed["operation_id"]].run_after < datetime.now(UTC) + timedelta(seconds=31)
    assert healed[scheduled["operation_id"]].run_after == scheduled_at

"""What an operation says it has done, when it took more than one attempt or an operation before it left work undone."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.domain.errors import SourceNotFoundError
from app.domain.operations import Operation, OperationKind
from app.jobs.append import append_source
from app.jobs.context import Job, JobContext
from app.jobs.index import index_collection
from app.settings import Settings
from tests.harness import Api, open_client, wait_until

DOCUMENTS = 300
MANY = 1200
ADDED, CHANGED, TOUCHED, REMOVED = 120, 90, 40, 30


def write_notes(root: Path, numbers: range, subject: str) -> None:
    """One short document for each number."""
    root.mkdir(exist_ok=True)
    for number in numbers:
        (root / f"{number}.txt").write_text(f"Entry {number} tells of {subject} and of the sea. " * 20)


class Interrupted:
    """A job whose first attempt fails as soon as ``documents`` of its own are done."""

    def __init__(self, job: Job, parts: Parts, *, documents: int) -> None:
        self._job = job
        self._parts = parts
        self._documents = documents
        self.done_at_first = 0

    async def __call__(self, context: JobContext, operation: Operation) -> dict[str, Any]:
        """Run the job, or only its beginning."""
        working = asyncio.ensure_future(self._job(context, operation))
        if operation.attempt > 1:
            return await working

        async def some_done() -> bool:
            async with self._parts.database.begin() as connection:
                query = """SELECT count(*) FROM documents
                           WHERE changed_by = :operation AND state IN ('completed', 'removed')"""
                self.done_at_first = await connection.scalar(text(query), {"operation": operation.id}) or 0
            return self.done_at_first >= self._documents

        await wait_until(some_done)
        working.cancel()
        await asyncio.wait({working})
        raise SourceNotFoundError("it comes back in a moment")


async def retried(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation's end, after it has failed once and was retried."""
    failed = await api.wait(operation)
    assert (failed["state"], failed["error_code"]) == ("failed", "source_not_found")
    await api.client.post(f"/api/v1/operations/{operation['operation_id']}/retry")
    return await api.wait(operation)


@pytest.mark.parametrize("documents", [1, 200, ADDED + CHANGED + TOUCHED + 1])
async def test_the_counts_are_those_of_all_attempts(api: Api, parts: Parts, tmp_path: Path, documents: int) -> None:
    """However far the first attempt came, also into removing: the result is as if there had been one."""
    root = tmp_path / "notes"
    write_notes(root, range(DOCUMENTS), "whales")
    job = Interrupted(append_source, parts, documents=documents)
    async with running_worker(parts, jobs={OperationKind.INDEX: index_collection, OperationKind.APPEND: job}):
        await api.wait(await api.create("notes", root))
        write_notes(root, range(DOCUMENTS, DOCUMENTS + ADDED), "volcanoes")
        write_notes(root, range(CHANGED), "bread")
        for number in range(CHANGED, CHANGED + TOUCHED):
            os.utime(root / f"{number}.txt", ns=(1, 1))
        for number in range(DOCUMENTS - REMOVED, DOCUMENTS):
            (root / f"{number}.txt").unlink()
        ended = await retried(api, await api.append("notes"))
    states = (await api.client.get("/api/v1/collections/notes")).json()["documents"]
    result = ended["result"]

    assert job.done_at_first >= documents
    assert ended["state"] == "completed"
    assert (result["documents_added"], result["documents_changed"], result["documents_removed"]) == (
        ADDED,
        CHANGED,
        REMOVED,
    )
    assert result["unchanged"] == DOCUMENTS - CHANGED - REMOVED
    assert result["stages"]["read"]["items"] == result["stages"]["commit"]["items"] == ADDED + CHANGED + TOUCHED
    assert result["chunks"] == result["stages"]["store"]["items"] + result["reused_chunks"] >= ADDED + CHANGED
    assert result["tokens"] > 0
    assert ended["progress"]["documents"]["total"] == ADDED + CHANGED + TOUCHED
    assert ended["progress"]["documents"]["done"] == ADDED + CHANGED + TOUCHED
    assert states == {"completed": DOCUMENTS + ADDED - REMOVED, "removed": REMOVED}
    await api.assert_consistent("notes")


async def test_what_a_cancelled_index_has_left_is_added_by_the_next_run(api: Api, parts: Parts, tmp_path: Path) -> None:
    """The documents it had found and never got to are new to the collection, not unchanged."""
    root = tmp_path / "notes"
    write_notes(root, range(MANY), "whales")
    job = Interrupted(index_collection, parts, documents=1)
    async with running_worker(parts, jobs={OperationKind.INDEX: job, OperationKind.APPEND: append_source}):
        await api.wait(await api.create("notes", root))
        before = (await api.client.get("/api/v1/collections/notes")).json()["documents"]
        ended = await api.wait(await api.append("notes"))
        again = await api.wait(await api.append("notes"))

    assert set(before) == {"completed", "pending"}
    assert (ended["result"]["documents_added"], ended["result"]["unchanged"]) == (
        before["pending"],
        before["completed"],
    )
    assert ended["result"]["stages"]["read"]["items"] == before["pending"]
    assert (again["result"]["documents_added"], again["result"]["unchanged"]) == (0, MANY)
    await api.assert_consistent("notes")


async def test_a_document_that_failed_is_not_added_again(api: Api, parts: Parts, tmp_path: Path) -> None:
    """It is tried again as long as attempts are left, which makes it neither new nor changed."""
    root = tmp_path / "notes"
    write_notes(root, range(3), "whales")
    (root / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    async with running_worker(parts):
        first = await api.wait(await api.create("notes", root))
        again = await api.wait(await api.append("notes"))

    assert (first["result"]["documents_added"], first["result"]["documents_failed"]) == (4, 1)
    assert (again["result"]["documents_added"], again["result"]["documents_changed"]) == (0, 0)
    assert (again["result"]["unchanged"], again["result"]["documents_failed"]) == (4, 1)
    assert again["result"]["stages"]["read"]["items"] == 1


async def test_a_document_that_is_touched_between_two_attempts_was_still_added(
    api: Api, parts: Parts, tmp_path: Path
) -> None:
    """It is read again, and found as this operation has brought it in."""
    root = tmp_path / "notes"
    write_notes(root, range(DOCUMENTS), "whales")
    job = Interrupted(index_collection, parts, documents=100)
    async with running_worker(parts, jobs={OperationKind.INDEX: job}):
        operation = await api.create("notes", root)
        await api.wait(operation)
        for number in range(DOCUMENTS):
            os.utime(root / f"{number}.txt", ns=(1, 1))
        ended = await retried(api, operation)

    assert (ended["result"]["documents_added"], ended["result"]["unchanged"]) == (DOCUMENTS, 0)
    assert ended["result"]["chunks"] == await api.assert_consistent("notes")
    assert ended["progress"]["documents"]["done"] == ended["progress"]["documents"]["total"] == DOCUMENTS


async def test_sources_that_overlap_count_a_document_once(api: Api, parts: Parts, tmp_path: Path) -> None:
    """In one attempt and over two."""
    root = tmp_path / "notes"
    write_notes(root, range(100), "whales")
    write_notes(root / "sub", range(60), "bread")
    sources = [{"url": folder.as_uri()} for folder in (root, root / "sub")]
    jobs: dict[str, Job] = {"once": index_collection, "twice": Interrupted(index_collection, parts, documents=1)}
    for name, job in jobs.items():
        async with running_worker(parts, jobs={OperationKind.INDEX: job}):
            body = {"name": name, "sources": sources}
            operation = (await api.client.post("/api/v1/collections", json=body)).json()["operation"]
            ended = await (api.wait(operation) if name == "once" else retried(api, operation))
        result, progress = ended["result"], ended["progress"]["documents"]

        assert (result["documents_added"], result["documents"], result["unchanged"]) == (160, 160, 0)
        assert (progress["done"], progress["total"]) == (160, 160)
        assert result["chunks"] == await api.assert_consistent(name)


async def test_a_document_that_could_not_be_read_at_first_is_added_later(
    api: Api, parts: Parts, tmp_path: Path
) -> None:
    """Whatever the scan made of it, nothing of it was in the collection."""
    root = tmp_path / "notes"
    write_notes(root, range(3), "whales")
    (root / "late.txt").symlink_to(root / "nothing.txt")
    async with running_worker(parts):
        first = await api.wait(await api.create("notes", root))
        (root / "late.txt").unlink()
        (root / "late.txt").write_text("It is there now. " * 20)
        later = await api.wait(await api.append("notes"))
        (root / "late.txt").write_text("It is another one now. " * 20)
        last = await api.wait(await api.append("notes"))

    assert (first["result"]["documents_added"], first["result"]["documents_failed"]) == (3, 1)
    assert (later["result"]["documents_added"], later["result"]["documents_changed"]) == (1, 0)
    assert (last["result"]["documents_added"], last["result"]["documents_changed"]) == (0, 1)


async def test_documents_that_are_gone_before_they_were_read_are_not_ingested(
    api: Api, parts: Parts, tmp_path: Path
) -> None:
    """What a cancelled INDEX had found and is gone since was never in the collection: it neither fails nor counts."""
    root = tmp_path / "notes"
    write_notes(root, range(MANY), "whales")
    job = Interrupted(index_collection, parts, documents=1)
    async with running_worker(parts, jobs={OperationKind.INDEX: job, OperationKind.APPEND: append_source}):
        await api.wait(await api.create("notes", root))
        async with parts.database.begin() as connection:
            query = "SELECT path FROM documents WHERE state = 'pending' ORDER BY position DESC LIMIT 60"
            gone = [row.path for row in await connection.execute(text(query))]
        for path in gone:
            (root / path).unlink()
        ended = await api.wait(await api.append("notes"))
        documents = (await api.client.get("/api/v1/collections/notes")).json()["documents"]

    assert len(gone) == 60
    assert (ended["state"], ended["result"]["documents_failed"], ended["result"]["documents_removed"]) == (
        "completed",
        0,
        0,
    )
    assert ended["result"]["documents_added"] + ended["result"]["unchanged"] == MANY - 60
    assert documents == {"completed": MANY - 60, "removed": 60}


async def test_a_slice_that_ends_leaves_no_document_behind(settings: Settings, tmp_path: Path) -> None:
    """Even a slice that is over before its scan is, gets on, and the operation completes with every document."""
    root = tmp_path / "notes"
    write_notes(root, range(MANY), "whales")
    short = settings.model_copy(update={"operation_soft_time_limit": 0.01})
    async with open_parts(short, configured_endpoints(short)) as parts, open_client(parts) as api:
        async with running_worker(parts):
            ended = await api.wait(await api.create("notes", root))
        documents = (await api.client.get("/api/v1/collections/notes")).json()["documents"]

    assert (ended["state"], ended["failures"], ended["interruptions"]) == ("completed", 0, 0)
    assert ended["attempt"] > 1
    assert ended["result"]["documents_added"] == MANY
    assert documents == {"completed": MANY}

"""What an operation says it has done, when it took more than one attempt or an operation before it left work undone."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import Parts, running_worker
from app.domain.errors import SourceNotFoundError
from app.domain.operations import Operation, OperationKind
from app.jobs.append import append_source
from app.jobs.context import Job, JobContext
from app.jobs.index import index_collection
from tests.harness import Api, wait_until

DOCUMENTS = 300
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
    write_notes(root, range(DOCUMENTS), "whales")
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
    assert (again["result"]["documents_added"], again["result"]["unchanged"]) == (0, DOCUMENTS)
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

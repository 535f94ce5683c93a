"""Documents whose child process is killed, for their own sake or for that of others."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from app.domain.documents import Chunking, Locator, PrepareRequest
from app.domain.errors import ProcessUnavailableError
from app.pipeline.isolate import prepare_isolated
from app.processes.pool import ProcessPool
from tests.harness import wait_until

GIB = 2**30
CHUNKING = Chunking(size=100, overlap=0)


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """One child process at a time."""
    opened = ProcessPool(1, memory_bytes=4 * GIB)
    yield opened
    await opened.aclose()


def request(path: Path, *, max_bytes: int = 2**20) -> PrepareRequest:
    """A document to prepare."""
    return PrepareRequest(
        document_id=uuid4(),
        uri=path.as_uri(),
        path=path.name,
        locator=Locator(path=str(path)),
        known_hash=None,
        max_bytes=max_bytes,
    )


def document(folder: Path, name: str) -> PrepareRequest:
    """A document that can be read."""
    (folder / name).write_text(f"Whales of the kind {name} sing in the deep ocean.")
    return request(folder / name)


def trap(folder: Path) -> PrepareRequest:
    """A document that holds up whoever reads it until it is written."""
    os.mkfifo(folder / "trap.txt")
    return request(folder / "trap.txt")


def _try_open(path: Path) -> int | None:
    """The trap's writing end, if somebody reads it now."""
    with suppress(OSError):
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    return None


async def await_reader(folder: Path) -> int:
    """Wait until a child reads the trap; it goes on when the descriptor is closed."""

    async def opened() -> int | None:
        return _try_open(folder / "trap.txt")

    descriptor: int = await wait_until(opened)
    return descriptor


async def kill_reader(folder: Path, pool: ProcessPool, killed: list[int]) -> None:
    """Kill the child that reads the trap, and note it."""
    descriptor = await await_reader(folder)
    try:
        [child] = pool.pids
        killed.append(child)
        os.kill(child, signal.SIGKILL)

        async def reaped() -> bool:
            return child not in pool.pids

        await wait_until(reaped)
    finally:
        os.close(descriptor)


@asynccontextmanager
async def killing(folder: Path, pool: ProcessPool) -> AsyncIterator[list[int]]:
    """Kill every child that reads the trap; gives the killed ones."""
    killed: list[int] = []

    async def kill_all() -> None:
        while True:
            await kill_reader(folder, pool, killed)

    killer = asyncio.create_task(kill_all())
    try:
        yield killed
    finally:
        killer.cancel()
        await asyncio.wait([killer])


async def test_a_document_whose_child_was_killed_from_outside_costs_nothing(pool: ProcessPool, tmp_path: Path) -> None:
    """It is prepared in the next child as if nothing had happened."""
    asked = trap(tmp_path)
    preparing = asyncio.create_task(prepare_isolated(pool, [asked], CHUNKING, timeout_seconds=600))
    await kill_reader(tmp_path, pool, [])
    writing = await await_reader(tmp_path)
    os.write(writing, b"Whales sing in the deep ocean.")
    os.close(writing)

    [prepared] = await preparing

    assert prepared.error_code is None
    assert [chunk.text for chunk in prepared.chunks] == ["Whales sing in the deep ocean."]


async def test_the_second_death_in_a_row_is_the_documents_own(pool: ProcessPool, tmp_path: Path) -> None:
    """It fails with a code and with what happened to its child."""
    async with killing(tmp_path, pool) as killed:
        [prepared] = await prepare_isolated(pool, [trap(tmp_path)], CHUNKING, timeout_seconds=600)

    assert prepared.error_code == "document_crashed"
    assert "SIGKILL" in (prepared.error_message or "")
    assert len(killed) == 2


async def test_a_crash_costs_one_document_of_its_group(pool: ProcessPool, tmp_path: Path) -> None:
    """The group is halved until the one is alone; all others are prepared, in order."""
    requests = [document(tmp_path, f"{number}.txt") for number in range(7)]
    requests.insert(5, trap(tmp_path))

    async with killing(tmp_path, pool) as killed:
        prepared = await prepare_isolated(pool, requests, CHUNKING, timeout_seconds=600)

    assert [item.document_id for item in prepared] == [asked.document_id for asked in requests]
    assert [item.error_code for item in prepared] == [None] * 5 + ["document_crashed"] + [None] * 2
    assert len(killed) == 3 + 2


async def test_a_document_over_its_time_is_not_tried_again(pool: ProcessPool, tmp_path: Path) -> None:
    """A timeout is the document's own; the others of its group are prepared."""
    requests = [document(tmp_path, "a.txt"), trap(tmp_path)]

    prepared = await prepare_isolated(pool, requests, CHUNKING, timeout_seconds=2)

    assert [item.error_code for item in prepared] == [None, "document_timeout"]


async def test_want_of_memory_counts_once_and_then_for_the_document(tmp_path: Path) -> None:
    """Both tries have a fresh child; the others of the group are prepared."""
    ends: list[str] = []
    pool = ProcessPool(1, memory_bytes=2 * GIB, on_end=ends.append)
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(4 * GIB)
    requests = [request(tmp_path / "huge.txt", max_bytes=8 * GIB), document(tmp_path, "a.txt")]
    try:
        prepared = await prepare_isolated(pool, requests, CHUNKING, timeout_seconds=600)
    finally:
        await pool.aclose()

    assert [item.error_code for item in prepared] == ["document_too_large", None]
    assert ends == ["recycled_memory"] * 3


async def test_a_document_with_too_large_an_answer_is_too_large(tmp_path: Path) -> None:
    """It costs one document, as everything a document does."""
    pool = ProcessPool(1, memory_bytes=4 * GIB, answer_max_bytes=50_000)
    (tmp_path / "long.txt").write_text("Whales sing in the deep ocean. " * 5000)
    requests = [document(tmp_path, "a.txt"), request(tmp_path / "long.txt")]
    try:
        prepared = await prepare_isolated(pool, requests, CHUNKING, timeout_seconds=600)
    finally:
        await pool.aclose()

    assert [item.error_code for item in prepared] == [None, "document_too_large"]


async def test_a_pool_without_children_is_no_documents_fault(tmp_path: Path) -> None:
    """The operation is told, and no document gets a code for it."""
    pool = ProcessPool(1, memory_bytes=4 * GIB, preload=["app.there_is_no_such_module"])
    try:
        with pytest.raises(ProcessUnavailableError):
            await prepare_isolated(pool, [document(tmp_path, "a.txt")], CHUNKING, timeout_seconds=600)
    finally:
        await pool.aclose()

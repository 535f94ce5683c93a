"""A worker whose jobs wait for a file; it notes when each of its attempts begins and ends."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from app.domain.errors import SliceEndedError
from app.domain.operations import Operation, OperationKind
from app.jobs.context import JobContext
from app.settings import Settings
from app.worker import run_worker

MARKS = Path(os.environ.get("VECLOOM_TEST_MARKS", ""))
GATE = Path(os.environ.get("VECLOOM_TEST_GATE", ""))
DEAF = bool(os.environ.get("VECLOOM_TEST_DEAF"))
"""Never reach a checkpoint."""


def _mark(what: str, operation: Operation) -> None:
    with MARKS.open("a") as marks:
        marks.write(f"{what} {operation.id} {operation.attempt} {os.getpid()} {time.monotonic()}\n")


async def wait_for_gate(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Wait, in reach of a checkpoint, until the file is there; write under the lease, as every job does."""
    _mark("start", operation)
    while not GATE.exists():  # noqa: ASYNC240 — one stat call of a local file
        if context.should_yield() and not DEAF:
            raise SliceEndedError("asked to yield")
        await asyncio.sleep(0.01)
    context.require_lease()
    async with context.resources.database.fenced(context.lease):
        _mark("write", operation)
    return {"documents_failed": 0}


if __name__ == "__main__":
    run_worker(Settings(), jobs={OperationKind.INDEX: wait_for_gate, OperationKind.APPEND: wait_for_gate})

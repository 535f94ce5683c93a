"""A worker whose jobs stop the event loop for good."""

import time
from typing import Any

from app.domain.operations import Operation, OperationKind
from app.jobs.context import JobContext
from app.logs import log_to_stderr
from app.settings import Settings
from app.worker import run_worker


async def stop_the_loop(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Never come back."""
    del context, operation
    while True:
        time.sleep(3600)  # noqa: ASYNC251 — that is the point


if __name__ == "__main__":
    log_to_stderr("INFO")
    run_worker(Settings(), jobs={OperationKind.INDEX: stop_the_loop})

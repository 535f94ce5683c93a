"""A Vecloom worker whose jobs are those of a benchmark: ``python -m benchmarks.worker BODY STARTS``."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from app.bootstrap import JOBS
from app.domain.errors import SliceEndedError
from app.domain.operations import Operation, OperationKind
from app.jobs.context import JobContext
from app.logs import log_to_stderr
from app.settings import Settings
from app.worker import run_worker
from benchmarks.lag import BUSY, keep_busy
from benchmarks.starts import LOOK_SECONDS, StartLog


def main() -> None:
    """Work until told to stop."""
    body, path = sys.argv[1], Path(sys.argv[2])
    log = StartLog(path, body)

    async def start_and_wait(context: JobContext, operation: Operation) -> dict[str, Any]:
        """As real jobs do, it goes on only as long as it is not asked to yield."""
        log.note(str(operation.id), operation.attempt)
        while not log.may_end():
            if context.should_yield():
                raise SliceEndedError("asked to yield")
            await asyncio.sleep(LOOK_SECONDS)
        return {}

    settings = Settings()
    log_to_stderr(settings.log_level)
    job = keep_busy if body == BUSY else start_and_wait
    run_worker(settings, jobs={**JOBS, OperationKind.APPEND: job})


if __name__ == "__main__":
    main()

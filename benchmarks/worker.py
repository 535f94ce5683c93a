"""A Vecloom worker whose jobs are those of a benchmark: ``python -m benchmarks.worker BODY STARTS``."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.bootstrap import JOBS
from app.domain.errors import SliceEndedError
from app.domain.operations import Operation, OperationKind
from app.jobs.context import Job, JobContext
from app.logs import log_to_stderr
from app.settings import Settings
from app.worker import run_worker
from benchmarks.free_embedder import FREE, without_embedding
from benchmarks.lag import BUSY, WATCHING, keep_busy, keep_watching
from benchmarks.starts import LOOK_SECONDS, StartLog

REAL = "real"
"""The body of a worker that does just what ``vecloom worker`` does."""


def choose_jobs(body: str, log: StartLog) -> Mapping[OperationKind, Job]:
    """The jobs of a worker by kind."""

    async def start_and_wait(context: JobContext, operation: Operation) -> dict[str, Any]:
        """As real jobs do, it goes on only as long as it is not asked to yield."""
        log.note(str(operation.id), operation.attempt)
        while not log.may_end():
            if context.should_yield():
                raise SliceEndedError("asked to yield")
            await asyncio.sleep(LOOK_SECONDS)
        return {}

    if body == REAL:
        return JOBS
    if body == FREE:
        return {kind: without_embedding(job) for kind, job in JOBS.items()}
    appends = {BUSY: keep_busy, WATCHING: keep_watching}
    return {**JOBS, OperationKind.APPEND: appends.get(body, start_and_wait)}


def main() -> None:
    """Work until told to stop."""
    body, path = sys.argv[1], Path(sys.argv[2])
    settings = Settings()
    log_to_stderr(settings.log_level)
    run_worker(settings, jobs=choose_jobs(body, StartLog(path, body)))


if __name__ == "__main__":
    main()

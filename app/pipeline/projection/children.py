"""Has a child process do a step, and tells how far it is."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from app.domain.ports import Processes, Reporter
from app.projection.progress import ProgressFile

Result = TypeVar("Result")
POLL_SECONDS = 0.2


async def run_told(
    processes: Processes,
    report: Reporter,
    method: str,
    progress: Path,
    function: Callable[..., Result],
    *args: object,
    timeout_seconds: float,
) -> Result:
    """Call a function in a child that writes to ``progress``; cancelling kills the child."""
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(_tell(report, method, progress))
        try:
            return await processes.run(function, *args, timeout_seconds=timeout_seconds)
        finally:
            telling.cancel()


async def _tell(report: Reporter, method: str, path: Path) -> None:
    progress, told = ProgressFile(str(path)), None
    while True:
        await asyncio.sleep(POLL_SECONDS)
        now = await asyncio.to_thread(progress.read)
        if now is not None and now != told:
            told = now
            stage, done, total = now
            data = {"method": method, "stage": stage, "done": done, "total": total}
            await report.send_update("projection_layout_progress", data)

"""Ends background tasks for certain."""

import asyncio
from typing import Any

PATIENCE_SECONDS = 1.0
MOST_CANCELS = 10


async def stop_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task until it has ended, for ten seconds: a library under it may swallow a cancellation."""
    for _ in range(MOST_CANCELS):
        if task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)

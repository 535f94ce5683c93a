"""Ends background tasks for certain."""

import asyncio

PATIENCE_SECONDS = 1.0
MOST_CANCELS = 10


async def stop_task(task: "asyncio.Task[None]") -> None:
    """Cancel a task until it has ended: a library under it may swallow a cancellation that races with a timeout."""
    for _ in range(MOST_CANCELS):
        if task.done():
            return
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)

"""Projections over opened parts."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from app.domain.errors import DomainError
from app.jobs.stopping import stop_task
from app.metrics import POOL_RESTARTS
from app.processes.pool import ProcessPool
from app.projection.compiled_folder import is_compiled
from app.projection.folders import ProjectionFolder
from app.projection.steps import compile_layouts
from app.settings import Settings

log = structlog.get_logger(__name__)

PRELOAD = ("app.projection.warm", "app.projection.meaning", "app.projection.artifacts")
COMPILE_AFTER_SECONDS = 30.0
"""A command that runs a worker for its own work has mostly ended by then."""
COMPILE_SECONDS = 1800.0
"""On a machine that is busy with other things; it takes half a minute on one that is not."""


def open_projection_folder(settings: Settings) -> ProjectionFolder | None:
    """Where projections lie: below the data folder of the embedded stack, else where the operator says, or nowhere."""
    root = settings.projection_folder
    if root is None and settings.database_url is None:
        root = settings.data / "projections"
    return None if root is None else ProjectionFolder(root.expanduser().absolute())


def open_layout_process(settings: Settings) -> ProcessPool:
    """A process for what takes minutes, so that documents need not wait for it. It starts when used."""
    return ProcessPool(
        1,
        memory_bytes=settings.process_memory_bytes,
        preload=PRELOAD,
        on_end=lambda reason: POOL_RESTARTS.labels(reason).inc(),
    )


@asynccontextmanager
async def compiling_layouts(
    settings: Settings, *, after_seconds: float = COMPILE_AFTER_SECONDS
) -> AsyncIterator[asyncio.Task[None]]:
    """Compile in the background while the block runs, so that who wants the first map need not wait for it."""
    task = asyncio.create_task(_compile(settings, after_seconds))
    try:
        yield task
    finally:
        await stop_task(task)


async def _compile(settings: Settings, after_seconds: float) -> None:
    if not settings.projection_compile or open_projection_folder(settings) is None:
        return
    await asyncio.sleep(after_seconds)
    if await asyncio.to_thread(is_compiled):
        return
    started = time.monotonic()
    log.info("compiling_layouts")
    # a process of its own, so that a projection that comes meanwhile has one
    pool = ProcessPool(1, memory_bytes=settings.process_memory_bytes)
    try:
        functions = await pool.run(compile_layouts, timeout_seconds=COMPILE_SECONDS)
    except (DomainError, OSError, RuntimeError) as error:
        log.warning("layouts_not_compiled", error=type(error).__name__, note="the first map takes that much longer")
    else:
        log.info("layouts_compiled", functions=functions, seconds=round(time.monotonic() - started, 1))
    finally:
        await pool.aclose()

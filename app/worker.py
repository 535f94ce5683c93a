"""The worker as its own process: ``vecloom worker`` or ``arq app.worker.WorkerSettings``."""

import asyncio
import signal
from collections.abc import ItemsView, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

from app.bootstrap import JOBS, arq_options, find_endpoints, open_parts, open_worker, running_worker
from app.domain.operations import OperationKind
from app.jobs.context import Job
from app.jobs.queue import create_arq_redis
from app.logs import log_to_stderr
from app.settings import Settings, read_settings

log = structlog.get_logger(__name__)


async def _start(ctx: dict[str, Any]) -> None:
    stack = AsyncExitStack()
    settings = read_settings()
    parts = await stack.enter_async_context(open_parts(settings, find_endpoints(settings)))
    ctx.update(await stack.enter_async_context(open_worker(parts)))
    ctx["closing"] = stack


async def _stop(ctx: dict[str, Any]) -> None:
    await ctx["closing"].aclose()


class _LazySettings(dict[str, Any]):
    """Options of arq's command, made when it reads them: importing reads no environment, and its own logging is set."""

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]  # the name of dict's own view is private
        """The options for the settings of the environment."""
        settings = read_settings()
        log_to_stderr(settings.log_level)
        endpoints = find_endpoints(settings)
        options = {
            **arq_options(settings),
            "redis_pool": create_arq_redis(endpoints.redis_url, namespace=settings.redis_namespace, retries=-1),
            "on_startup": _start,
            "on_shutdown": _stop,
        }
        return options.items()


WorkerSettings = _LazySettings()


async def serve(settings: Settings, jobs: Mapping[OperationKind, Job] = JOBS) -> None:
    """Work until SIGINT or SIGTERM, then hand back what is left."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_parts(settings, find_endpoints(settings)) as parts, running_worker(parts, jobs):
        log.info("worker_started", slots=settings.worker_slots)
        await stop.wait()
        log.info("worker_stopping")


def run_worker(settings: Settings, jobs: Mapping[OperationKind, Job] = JOBS) -> None:
    """Run a worker process to its end."""
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(settings, jobs))

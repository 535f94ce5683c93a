"""The worker as its own process: ``vecloom worker`` or ``arq app.worker.WorkerSettings``."""

import asyncio
import signal
from collections.abc import ItemsView, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog
import uvloop

from app.bootstrap import GIVEN_UP, JOBS, arq_options, find_endpoints, open_parts, open_worker, running_worker
from app.domain.operations import OperationKind
from app.jobs.context import Job
from app.jobs.queue import create_arq_redis
from app.logs import log_to_stderr
from app.processes.garbage import freeze_garbage
from app.processes.niceness import stand_back
from app.settings import Settings, read_settings

UNPUSHED_POLL_SECONDS = 0.05

log = structlog.get_logger(__name__)


async def _start(ctx: dict[str, Any]) -> None:
    stack = AsyncExitStack()
    settings = read_settings()
    parts = await stack.enter_async_context(open_parts(settings, find_endpoints(settings)))
    ctx.update(await stack.enter_async_context(open_worker(parts, replaceable=True)))
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
            # arq's own command is not woken by push
            "poll_delay": min(settings.poll_delay, UNPUSHED_POLL_SECONDS),
            "redis_pool": create_arq_redis(endpoints.redis_url, namespace=settings.redis_namespace, retries=-1),
            "on_startup": _start,
            "on_shutdown": _stop,
        }
        return options.items()


WorkerSettings = _LazySettings()


async def serve(settings: Settings, *, jobs: Mapping[OperationKind, Job] = JOBS) -> bool:
    """Work until SIGINT or SIGTERM, then hand back what is left; False if the process should be started again."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    parts_context = open_parts(settings, find_endpoints(settings))
    async with parts_context as parts, running_worker(parts, jobs=jobs, replaceable=True) as runner:
        freeze_garbage()
        log.info("worker_started", slots=settings.worker_slots)
        ends = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(runner.broken.wait())}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        log.info("worker_stopping")
        return not runner.broken.is_set()


def run_worker(settings: Settings, *, jobs: Mapping[OperationKind, Job] = JOBS) -> None:
    """Run a worker process to its end; on a machine that it shares, those who answer people go before it."""
    stand_back(settings.worker_niceness)
    with suppress(KeyboardInterrupt):
        if not uvloop.run(serve(settings, jobs=jobs)):
            raise SystemExit(GIVEN_UP)

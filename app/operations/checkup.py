"""Runs probes, and answers in time whatever hangs."""

import asyncio
from collections.abc import Sequence

import structlog

from app.domain.checks import Check, Probe
from app.domain.errors import DomainError

log = structlog.get_logger(__name__)

GIVE_UP_SECONDS = 10.0
CLOSE_SECONDS = 1.0


class Checkup:
    """Probes that are run side by side.

    A probe that is still out is not sent a second time: those who ask meanwhile wait for the same one, so that a part
    that hangs costs one connection however often it is asked after.

    Args:
        probes: in the order of the answer.
        timeout_seconds: how long an answer takes at most.
    """

    def __init__(self, probes: Sequence[Probe], *, timeout_seconds: float) -> None:
        self._probes = probes
        self._timeout_seconds = timeout_seconds
        self._out: dict[str, asyncio.Task[Sequence[Check]]] = {}

    async def run(self) -> list[Check]:
        """The checks of all probes."""
        for probe in self._probes:
            if probe.name not in self._out or self._out[probe.name].done():
                self._out[probe.name] = asyncio.create_task(_look(probe))
        tasks = dict(self._out)
        await asyncio.wait(tasks.values(), timeout=self._timeout_seconds)
        checks: list[Check] = []
        for probe in self._probes:
            task = tasks[probe.name]
            if task.done():
                checks += task.result()
            else:
                detail = f"does not answer within {self._timeout_seconds:g} s"
                checks.append(Check(name=probe.name, ok=False, detail=detail, fix=probe.fix))
        return checks

    async def aclose(self) -> None:
        """Call back the probes that are still out; one that does not come is left behind."""
        out = {task for task in self._out.values() if not task.done()}
        for task in out:
            task.cancel()
        if out:
            await asyncio.wait(out, timeout=CLOSE_SECONDS)


async def _look(probe: Probe) -> Sequence[Check]:
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            return await probe.look()
    except DomainError as error:
        detail = error.message
    except Exception as error:  # noqa: BLE001 — whatever it is, it is what is wrong
        detail = f"does not answer ({type(error).__name__})"
        log.warning("probe_failed", probe=probe.name, error=type(error).__name__)
    return [Check(name=probe.name, ok=False, detail=detail, fix=probe.fix)]

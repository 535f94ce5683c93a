"""The application whose collection has a history: its API, and a worker process that may be killed."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.harness import Api, WorkerProcess
from tests.property.fates import Blow, Fate, hold

FINAL = ("completed", "failed", "cancelled")

HEARING_SECONDS = 0.3

Operation = dict[str, Any]


async def _do_nothing() -> None:
    pass


class System:
    """Real processes, and what can be asked of them about one collection after the other."""

    def __init__(self, api: Api, worker: WorkerProcess, folder: Path) -> None:
        self.api = api
        self.folder = folder
        self._worker = worker

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the API, which must not refuse."""
        answer = await self.api.client.request(method, f"/api/v1{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    async def carry_out(
        self,
        ask: Callable[[], Awaitable[Sequence[Operation]]],
        fate: Fate,
        *,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Operation]:
        """Ask for operations and wait for their ends; what comes between comes to the first that is not at its end."""
        table = None if fate.blow is Blow.NONE and meanwhile is None else fate.table
        async with hold(self.api.parts, table) as held:
            asked = await ask()

            async def all_ended() -> bool:
                return all([(await self.api.get(each))["state"] in FINAL for each in asked])

            await held.wait_for_writer(all_ended)
            if meanwhile is not None:
                meanwhile()
            is_before = fate.is_before and table is not None
            go_on = await self._strike(asked, fate.blow) if is_before else None
            if go_on is not None:
                # the worker hears of it while it waits for the table
                await asyncio.sleep(HEARING_SECONDS)
        if go_on is None:
            await asyncio.sleep(fate.seconds)
            go_on = await self._strike(asked, fate.blow)
        await go_on()
        return [{**each, **await self.api.wait(each)} for each in asked]

    async def _strike(self, asked: Sequence[Operation], blow: Blow) -> Callable[[], Awaitable[None]]:
        """Do it to the first operation that has not ended; gives what is left to be done about it."""
        if blow is Blow.KILL:
            self._worker.end(signal.SIGKILL)
            return self._start_worker
        for each in asked if blow is not Blow.NONE else ():
            if (await self.api.get(each))["state"] in FINAL:
                continue
            if await self._ask(each, "pause" if blow is Blow.PAUSE else "cancel"):
                return partial(self._go_on, each, blow)
            break
        return _do_nothing

    async def _start_worker(self) -> None:
        self._worker.start()

    async def _ask(self, operation: Operation, what: str) -> bool:
        """Whether the operation had not ended before."""
        answer = await self.api.client.post(f"/api/v1/operations/{operation['operation_id']}/{what}")
        assert answer.status_code in {202, 409}, answer.text
        return answer.status_code == 202

    async def _go_on(self, operation: Operation, blow: Blow) -> None:
        if blow is Blow.PAUSE:
            await self.api.wait(operation, states=("pending", *FINAL))
            await self._ask(operation, "resume")
            return
        ended = await self.api.wait(operation)
        if blow is Blow.CANCEL_AND_RETRY and ended["state"] == "cancelled":
            assert await self._ask(operation, "retry")

    async def submit(self, method: str, path: str, body: dict[str, Any] | None = None) -> list[Operation]:
        """Ask for one operation."""
        return [await self.call(method, path, body)]

    async def append(self, name: str, config: dict[str, Any]) -> list[Operation]:
        """Ask for an APPEND."""
        return await self.submit("POST", f"/collections/{name}/operations", {"kind": "APPEND", "config": config})

    async def sync(self, name: str, *, confirmed: bool) -> list[Operation]:
        """Ask for a sync run; its operations."""
        run = await self.call("POST", f"/collections/{name}/sync/run", {"confirm_removals": confirmed})
        return list(run["sources"])

"""One run: start everything, carry out the plan, let it settle, check."""

import asyncio
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncpg import InterfaceError, PostgresError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.faults import EFFECTS, NothingToBreakError
from tests.chaos.invariants import check_everything, check_logs
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.plan import Step, make_plan
from tests.chaos.processes import list_marked
from tests.chaos.settling import poll_until_empty, settle
from tests.chaos.system import System, open_system
from tests.embedded.owner import list_processes_in

TRIES = 20
TRY_SECONDS = 15.0
PAUSE_SECONDS = 0.5
HELD_SECONDS = 90.0
SETTLE_SECONDS = 600.0
GONE_SECONDS = 10.0
INSTEAD = "worker_kill"
"""What is done if there is nothing that a fault could break: it always can be."""

OUT_OF_REACH = (OSError, TimeoutError, PostgresError, InterfaceError, RedisError, SQLAlchemyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run amounted to."""

    faults: int
    seed: int
    operations: int
    violations: Sequence[str]

    def __str__(self) -> str:
        return (
            f"chaos: {self.faults} faults, seed {self.seed}, {self.operations} operations,"
            f" {len(self.violations)} violations"
        )


async def run(
    *, faults: int, seed: int, only: Sequence[str] = (), keep: bool = False, beside: Path | None = None
) -> Outcome:
    """Carry out the plan of a seed; every process of it is gone when this returns or raises."""
    journal = Journal()
    plan = make_plan(seed, faults, only=only)
    folder = Path(tempfile.mkdtemp(prefix="vecloom-chaos-"))
    journal.tell(f"seed {seed}, {faults} faults, logs in {folder}")
    try:
        injected, operations = await _run_in(folder, plan, seed, journal, beside)
    except Exception as error:  # noqa: BLE001 — whatever it is, the run has failed and says so in its last line
        traceback.print_exc()
        journal.violate(f"the run broke off: {type(error).__name__} {error}")
        injected, operations = Counter(), 0
    finally:
        if not journal.violations and not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return Outcome(faults=sum(injected.values()), seed=seed, operations=operations, violations=journal.violations)


async def _run_in(
    folder: Path, plan: Sequence[Step], seed: int, journal: Journal, beside: Path | None
) -> tuple[Counter[str], int]:
    async with open_system(folder, journal, beside=beside) as system:
        async with asyncio.TaskGroup() as watchers:
            load = Load(system, watchers, seed=seed)
            await load.prepare()
            journal.tell(f"{len(load.targets)} collections are ready")
            injected = await _carry_out(system, load, plan)
            journal.tell("no more faults")
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await settle(system, load)
                    await check_everything(system, load)
            except TimeoutError:
                journal.violate(f"not at rest {SETTLE_SECONDS:.0f} s after the last fault")
            load.stop_watching()
        await _stop(system)
    await _check_gone(folder, journal)
    journal.tell("faults: " + ", ".join(f"{name} {count}" for name, count in sorted(injected.items())))
    for violation in journal.violations:
        journal.tell(f"violated: {violation[:600]}")
    return injected, len(load.operations)


async def _carry_out(system: System, load: Load, plan: Sequence[Step]) -> Counter[str]:
    """Every step at its time; they overlap."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    injected: Counter[str] = Counter()
    async with asyncio.timeout(plan[-1].at_seconds + HELD_SECONDS * 3), asyncio.TaskGroup() as group:
        for step in plan:
            await asyncio.sleep(max(0.0, begun + step.at_seconds - loop.time()))
            group.create_task(_inject(system, step, injected) if step.is_fault else load.perform(step))
    return injected


async def _inject(system: System, step: Step, injected: Counter[str]) -> None:
    """One fault, as soon as there is something to break; after a while another one instead."""
    for _ in range(TRIES):
        if await _try(system, step, step.name):
            injected[step.name] += 1
            return
        await asyncio.sleep(PAUSE_SECONDS)
    while not await _try(system, step, INSTEAD):  # noqa: ASYNC110 — another process comes back
        await asyncio.sleep(PAUSE_SECONDS)
    injected[INSTEAD] += 1


async def _try(system: System, step: Step, name: str) -> bool:
    system.journal.tell(f"{name} …")
    try:
        async with asyncio.timeout(HELD_SECONDS):
            what = await EFFECTS[name](system, step)
    except (NothingToBreakError, *OUT_OF_REACH) as error:
        system.journal.tell(f"{name} not now: {type(error).__name__} {str(error).partition(chr(10))[0]}")
        return False
    system.journal.tell(f"{name} done: {what}")
    return True


async def _stop(system: System) -> None:
    """Everyone ends when asked to, and says so by the exit status."""
    async with asyncio.TaskGroup() as group:
        for process in (*system.workers, *system.apis):
            group.create_task(process.stop())

    async def marked() -> list[str]:
        return [f"{process.pid} {process.name()}" for process in list_marked(system.token)]

    if left := await poll_until_empty(marked, seconds=GONE_SECONDS):
        system.journal.violate(f"processes outlive those that started them: {left}")
    check_logs(system)


async def _check_gone(folder: Path, journal: Journal) -> None:
    if left := [str(process) for process in list_processes_in(folder)]:
        journal.violate(f"servers of the stack are still there: {left}")

"""Continuous sync: which collections are due, and what callers ask of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.operations import OperationRepository
from app.db.sync_runs import SyncRunRepository
from app.db.syncs import DueSync, SyncRepository
from app.domain.collections import Collection
from app.domain.operations import NewOperation, Operation, OperationKind, Priority, Submission
from app.domain.ports import OperationEvents
from app.domain.sync_errors import NothingToSyncError, SyncNotSetError, SyncRunningError, SyncRunNotFoundError
from app.domain.syncs import AppendChoice, AppendMode, SyncRun, SyncStatus, Trigger
from app.metrics import SYNC_RUNS
from app.operations.dispatch import Dispatcher

log = structlog.get_logger(__name__)

AWAY = (OperationalError, InterfaceError)
"""Postgres does not answer: no collection's fault, and no other one would fare better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """How many collections a round begins with, what is kept of runs, how long a failing source waits at most."""

    per_round: int = 20
    history: int = 100
    longest_backoff_seconds: float = 86_400.0


class SyncService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(
        self, database: Database, dispatcher: Dispatcher, events: OperationEvents, rules: SyncRules | None = None
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._events = events
        self._rules = rules or SyncRules()

    # --- the scheduler --------------------------------------------------------------------------

    async def settle(self) -> int:
        """Note what has come of sync runs whose operations have ended; how many runs that ends."""
        async with self._database.begin() as connection:
            ended = await SyncRunRepository(connection).settle(
                longest_backoff_seconds=self._rules.longest_backoff_seconds
            )
        for run in ended:
            SYNC_RUNS.labels(run.trigger.value, run.state.value).inc()
            log.info("sync_run_ended", sync_run_id=str(run.id), collection_id=str(run.collection_id), state=run.state)
        return len(ended)

    async def dispatch_due(self) -> dict[str, int]:
        """Begin the sync runs that are due. Any number of schedulers may do so at once: each run begins once.

        What was due while nothing ran begins once, not as often as it was due.
        """
        await self.settle()
        async with self._database.begin() as connection:
            healed = await SyncRepository(connection).heal_clock()
        broken: list[UUID] = []
        begun = 0
        operations: list[Operation] = []
        while begun + len(broken) < self._rules.per_round:
            added = await self._begin_next(broken)
            if added is None:
                break
            begun += bool(added)
            operations += added
        await self._launch(operations)
        if begun or broken:
            log.info("sync_runs_begun", runs=begun, operations=len(operations), failed=len(broken))
        return {"begun": begun, "operations": len(operations), "failed": len(broken), "clock_healed": healed}

    async def _begin_next(self, broken: list[UUID]) -> list[Operation] | None:
        """Begin one run; None if none is due. A collection that cannot have one joins ``broken`` and waits."""
        due: DueSync | None = None
        try:
            async with self._database.begin() as connection:
                due = await SyncRepository(connection).take_due(besides=broken)
                if due is None:
                    return None
                choice = AppendChoice(mode=due.settings.mode)
                collection = await CollectionRepository(connection).get(due.user_id, due.settings.collection_id)
                _, operations = await self._begin(connection, collection, choice, trigger=Trigger.SCHEDULE)
                await SyncRepository(connection).advance(collection.id)
                return operations
        except AWAY:
            raise
        except Exception:  # whatever one collection breaks on, the others are due too
            if due is None:
                raise
            log.exception("sync_not_begun", collection_id=str(due.settings.collection_id))
            broken.append(due.settings.collection_id)
            await self._postpone(due.settings.collection_id)
            return []

    async def _postpone(self, collection_id: UUID) -> None:
        """Let the others go before it next time."""
        async with self._database.begin() as connection:
            await SyncRepository(connection).advance(collection_id)

    async def _begin(
        self, connection: AsyncConnection, collection: Collection, choice: AppendChoice, *, trigger: Trigger
    ) -> tuple[UUID | None, list[Operation]]:
        """Add a run with one APPEND for each source that may be tried; no run if there is none, or one is under way."""
        syncs = SyncRepository(connection)
        sources = await syncs.list_sources(collection.id)
        is_scheduled = trigger is Trigger.SCHEDULE
        ready = [source for source in sources if not is_scheduled or source.next_try is None]
        if not ready:
            return None, []
        run_id = await syncs.add_run(collection.id, trigger=trigger, choice=choice)
        if run_id is None:
            return None, []
        submission = Submission(priority=Priority.LOW if is_scheduled else Priority.NORMAL)
        begun: dict[UUID, Operation] = {}
        for source in ready:
            config = {"source_id": str(source.source_id), **choice.config()}
            new = NewOperation(
                user_id=collection.user_id,
                collection_id=collection.id,
                kind=OperationKind.APPEND,
                config={**config, "trigger": trigger.value, "sync_run_id": str(run_id)},
                submission=submission,
            )
            begun[source.source_id] = await OperationRepository(connection).add(new)
        given = [(source, begun[source.source_id].id if source.source_id in begun else None) for source in sources]
        await syncs.add_run_sources(run_id, given)
        await syncs.trim_runs(collection.id, keep=self._rules.history)
        return run_id, list(begun.values())

    async def _launch(self, operations: Sequence[Operation]) -> None:
        """Announce and dispatch committed operations; what fails here, the reconciler does again."""
        if not operations:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump())
            for operation in operations:
                group.create_task(self._tell(operation))

    async def _pump(self) -> None:
        try:
            await self._dispatcher.pump()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("dispatch_failed", error=type(error).__name__, note="the reconciler does it")

    async def _tell(self, operation: Operation) -> None:
        data = {"kind": operation.kind.value}
        if operation.why_waiting:
            data["why_waiting"] = operation.why_waiting
        async with self._events.open(operation) as reporter:
            await reporter.send_update("operation_queued", data)

    # --- callers --------------------------------------------------------------------------------

    async def set(
        self, user_id: UUID, id_or_name: str, *, interval_seconds: int, mode: AppendMode, paused: bool | None = None
    ) -> SyncStatus:
        """Look at all sources of a collection every so often; ``paused`` None leaves that as it is."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            syncs = SyncRepository(connection)
            await syncs.set(collection.id, interval_seconds=interval_seconds, mode=mode)
            if paused is not None:
                await syncs.hold(collection.id, paused=paused)
            said = {"interval_seconds": interval_seconds, "mode": mode.value, "paused": paused}
            await record(connection, "sync.set", collection, after=said)
        return await self.status(user_id, id_or_name)

    async def unset(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """Look at a collection's sources no more by itself; what runs goes on."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            await SyncRepository(connection).remove(collection.id)
            await record(connection, "sync.unset", collection)
        return await self.status(user_id, id_or_name)

    async def hold(self, user_id: UUID, id_or_name: str, *, paused: bool) -> SyncStatus:
        """Begin no more sync runs, or begin them again; one that was due meanwhile begins once.

        Raises:
            SyncNotSetError: if the collection has no continuous sync.
        """
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            if await SyncRepository(connection).hold(collection.id, paused=paused) is None:
                raise SyncNotSetError(collection.name)
            await record(connection, "sync.paused" if paused else "sync.resumed", collection)
        return await self.status(user_id, id_or_name)

    async def run(self, user_id: UUID, id_or_name: str, *, confirm_removals: bool) -> SyncRun:
        """Look at all sources now, also those that failed and wait; the run that is under way, if there is one.

        Raises:
            NothingToSyncError: if the collection has no source.
            SyncRunningError: if removals are confirmed and a run is under way for which they are not.
        """
        await self.settle()
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            syncs = SyncRepository(connection)
            settings = await syncs.find(collection.id, lock=True)
            # only a full look removes anything
            mode = AppendMode.FULL if settings is None or confirm_removals else settings.mode
            choice = AppendChoice(mode=mode, confirm_removals=confirm_removals)
            run_id, operations = await self._begin(connection, collection, choice, trigger=Trigger.MANUAL)
            if run_id is not None:
                await syncs.advance(collection.id)
            run = await self._find_run(connection, collection, run_id)
            if confirm_removals and not run.confirm_removals:
                raise SyncRunningError(collection.name)
        await self._launch(operations)
        return run

    async def _find_run(self, connection: AsyncConnection, collection: Collection, run_id: UUID | None) -> SyncRun:
        runs = SyncRunRepository(connection)
        if run_id is None:
            run = await runs.find_newest(collection.id, running=True)
        else:
            run = await runs.find(collection.id, run_id)
        if run is None:
            raise NothingToSyncError(collection.name)
        return run

    async def status(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """How it stands with the continuous sync of a collection."""
        await self.settle()
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            syncs, runs = SyncRepository(connection), SyncRunRepository(connection)
            return SyncStatus(
                collection_id=collection.id,
                collection_name=collection.name,
                settings=await syncs.find(collection.id),
                why_waiting=await syncs.why_waiting(collection.id),
                running=await runs.find_newest(collection.id, running=True),
                last_run=await runs.find_newest(collection.id, running=False),
                sources=tuple(await syncs.list_sources(collection.id)),
            )

    async def list_runs(self, user_id: UUID, id_or_name: str, *, limit: int) -> Sequence[SyncRun]:
        """Newest first."""
        await self.settle()
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            return await SyncRunRepository(connection).list_newest(collection.id, limit=limit)

    async def get_run(self, user_id: UUID, id_or_name: str, run_id: UUID) -> SyncRun:
        """Raises SyncRunNotFoundError."""
        await self.settle()
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            run = await SyncRunRepository(connection).find(collection.id, run_id)
        if run is None:
            raise SyncRunNotFoundError(run_id)
        return run

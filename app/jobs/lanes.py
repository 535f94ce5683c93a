"""Shares the documents of operations that other workers execute."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.collections import CollectionRepository
from app.db.lanes import LaneRepository
from app.db.sources import SourceRepository
from app.domain.collections import GenerationState
from app.domain.errors import DomainError, GenerationMissingError, LeaseLostError
from app.domain.operations import LaneChange, LaneOffer, Lease, WorkerProfile
from app.domain.ports import OperationEvents, Reporter
from app.embedders.fingerprint import check_canaries
from app.jobs.append import open_ingest
from app.jobs.attempt import Attempt, Reason, now
from app.jobs.context import JobContext, Resources
from app.jobs.rebuilding import share_rebuild
from app.jobs.stopping import stop_task
from app.metrics import LANES
from app.pipeline.context import IngestContext
from app.pipeline.ingest import run_lane
from app.pipeline.scanning import Scanning
from app.traces import attempt_span

log = structlog.get_logger(__name__)

UNAVAILABLE = (SQLAlchemyError, OSError, TimeoutError)
STOP_SECONDS = 10.0
LEAVE_SECONDS = 10.0
ACTIVE_SECONDS = 0.05
AGAIN_SECONDS = 30.0
"""How long a worker leaves an operation alone that it could not share."""


class Lanes:
    """The lanes of one worker: one of an operation at most, beside the operations that it executes itself.

    They take no slot, so that no operation waits for one. What several have to do in one worker is shared fairly.
    """

    def __init__(
        self, resources: Resources, events: OperationEvents, profile: WorkerProfile, *, worker_id: UUID
    ) -> None:
        self._resources = resources
        self._events = events
        self._profile = profile
        self._worker_id = worker_id
        self._held: dict[UUID, Attempt] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._avoid: dict[UUID, float] = {}
        self._draining = False

    def list_held(self) -> list[Attempt]:
        """Lanes that run now, each as the attempt that it is part of."""
        return list(self._held.values())

    def take_up(self, operation_ids: Sequence[UUID]) -> None:
        """Begin to share these operations, as far as that is possible and sensible."""
        for operation_id in operation_ids:
            if self._draining or len(self._tasks) >= self._profile.slots:
                return
            if operation_id in self._tasks or self._avoid.get(operation_id, 0.0) > time.monotonic():
                continue
            task = asyncio.create_task(self._share(operation_id))
            self._tasks[operation_id] = task
            task.add_done_callback(partial(self._forget, operation_id))

    def _forget(self, operation_id: UUID, task: "asyncio.Task[None]") -> None:
        del self._tasks[operation_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("lane_failed", exc_info=error)

    async def drain(self, *, grace_seconds: float) -> None:
        """Begin with no further documents, then give back those in hand."""
        self._draining = True
        for attempt in self._held.values():
            attempt.yielding = True
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=grace_seconds)
        for attempt in self.list_held():
            attempt.stop(Reason.SHUTDOWN)
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=STOP_SECONDS + LEAVE_SECONDS)

    async def _share(self, operation_id: UUID) -> None:
        asked = now()
        try:
            async with self._resources.database.begin() as connection:
                joined = await LaneRepository(connection).join(
                    operation_id,
                    worker_id=self._worker_id,
                    worker=self._profile.name,
                    lease_seconds=self._profile.lease_seconds,
                )
        except UNAVAILABLE as error:
            log.warning("lane_not_joined", operation_id=str(operation_id), error=type(error).__name__)
            return
        if joined is None:
            return
        operation, lease, offer = joined
        attempt = Attempt(operation, lease, lease_seconds=self._profile.lease_seconds, asked=asked)
        who: dict[str, Any] = {
            "kind": operation.kind.value,
            "operation_id": str(operation.id),
            "collection_id": str(operation.collection_id),
            "attempt": operation.attempt,
            "worker": self._profile.name,
            "lane": str(lease.lane),
        }
        with structlog.contextvars.bound_contextvars(**who), attempt_span(operation.trace_parent, **who):
            LANES.inc()
            self._held[operation.id] = attempt
            try:
                await self._work(attempt, offer)
            finally:
                LANES.dec()
                del self._held[operation.id]
                await self._leave(lease)

    async def _work(self, attempt: Attempt, offer: LaneOffer) -> None:
        """Run the lane until it is done or must stop; what it fails with, the operation's worker will meet too."""
        async with self._events.open(attempt.operation) as reporter:
            task = asyncio.ensure_future(self._ingest(attempt, offer, reporter))
            stopped = asyncio.ensure_future(attempt.stopped.wait())
            try:
                await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                await stop_task(task)
        if not task.done() or task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, LeaseLostError):
            log.info("lane_ended", reason="its attempt has ended")
            return
        self._avoid[attempt.operation.id] = time.monotonic() + AGAIN_SECONDS
        if isinstance(error, (DomainError, *UNAVAILABLE)):
            log.warning("lane_given_up", error=getattr(error, "code", type(error).__name__))
        else:
            log.error("lane_failed", exc_info=error)

    async def _ingest(self, attempt: Attempt, offer: LaneOffer, reporter: Reporter) -> dict[str, Any]:
        operation, resources = attempt.operation, self._resources
        async with resources.database.begin() as connection:
            collections = CollectionRepository(connection)
            collection = await collections.get(operation.user_id, operation.require_collection())
            generation = await collections.get_generation(offer.generation_id)
            old = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        context = JobContext(
            resources=resources,
            lease=attempt.lease,
            report=reporter,
            should_yield=lambda: attempt.yielding,
            note_progress=attempt.note_progress,
            require_lease=attempt.require_lease,
        )
        log.info("lane_started")
        if offer.source_id is None or offer.scan is None:
            if old is None:
                raise GenerationMissingError(generation.name)
            await share_rebuild(context, operation, collection, old=old, new=generation)
            return {}
        async with resources.database.begin() as connection:
            source = await SourceRepository(connection).get(collection.id, offer.source_id)
        ingest = open_ingest(context, collection, generation)
        # offers are made when all is found
        shared = Scanning.past(offer.scan)
        shared.close()
        try:
            async with resources.open_source(source) as adapter, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._allow_writing(ingest))
                tasks.create_task(run_lane(ingest, source.id, adapter, shared))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return {}

    async def _allow_writing(self, ingest: IngestContext) -> None:
        """Ask the model while documents are prepared; a generation that is new may have to become active first."""
        generation = ingest.generation
        await check_canaries(ingest.embedder, generation.canaries, dimension=generation.dimension)
        while generation.state is GenerationState.BUILDING:
            await asyncio.sleep(ACTIVE_SECONDS)
            async with self._resources.database.fenced(ingest.lease) as connection:
                generation = await CollectionRepository(connection).get_generation(generation.id)
        if generation.state is not GenerationState.ACTIVE:
            raise GenerationMissingError(generation.name)
        ingest.may_write.set()

    async def _leave(self, lease: Lease) -> None:
        """Give back what is left in hand; if Postgres does not answer, the lane's lease ends."""
        with suppress(*UNAVAILABLE):
            async with asyncio.timeout(LEAVE_SECONDS), self._resources.database.begin() as connection:
                await LaneRepository(connection).leave(lease)
            await self._resources.signals.tell(lease.operation_id, LaneChange.LEFT)

"""What callers do with operations: create, watch, pause, cancel, retry."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.operations import OperationRepository
from app.db.sources import SourceRepository
from app.db.workers import WorkerRepository
from app.domain.collections import Collection
from app.domain.documents import Chunking, ChunkingChoice, SourceSpec
from app.domain.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    DeletionNotCancellableError,
    IdempotencyKeyUsedError,
    OperationFinishedError,
    OperationNotFoundError,
    OperationNotRetryableError,
)
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, OperationState, Submission, Worker
from app.domain.ports import OperationEvents, OperationQueue
from app.domain.rebuild_errors import RebuildInProgressError
from app.domain.sparse_settings import SparseSettings
from app.domain.syncs import AppendChoice, AppendMode, Trigger
from app.operations.dispatch import Dispatcher
from app.operations.plans import PlanRequest, plan_config
from app.operations.sources import admit_source
from app.secrets_box import SecretBox

log = structlog.get_logger(__name__)


class OperationService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        queue: OperationQueue,
        events: OperationEvents,
        *,
        default_model: str,
        default_chunking: Chunking,
        box: SecretBox | None = None,
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._queue = queue
        self._events = events
        self._default_model = default_model
        self._default_chunking = default_chunking
        self._box = box or SecretBox()

    async def create_collection(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: ChunkingChoice | None,
        sources: Sequence[SourceSpec],
        sparse: SparseSettings | None = None,
        submission: Submission = PLAIN,
    ) -> tuple[Collection, Operation]:
        """Add a collection with its sources and the INDEX operation that fills it.

        Raises:
            CollectionExistsError: unless the same idempotency key created it.
            InvalidChunkingError: if the overlap, said or usual, is not smaller than the size.
        """
        known = await self._find_created(user_id, submission.idempotency_key)
        if known is not None:
            return known
        try:
            collection, operation = await self._add_collection(
                user_id,
                name=name,
                model=model,
                chunking=chunking,
                sources=sources,
                sparse=sparse,
                submission=submission,
            )
        except CollectionExistsError:
            # the same request may have come twice at once, and the other one was faster
            known = await self._find_created(user_id, submission.idempotency_key)
            if known is None:
                raise
            return known
        return collection, await self._launch(operation)

    async def _find_created(self, user_id: UUID, idempotency_key: str | None) -> tuple[Collection, Operation] | None:
        if idempotency_key is None:
            return None
        async with self._database.begin() as connection:
            known = await OperationRepository(connection).find_by_key(user_id, idempotency_key)
            if known is None:
                return None
            if known.collection_id is None:
                raise IdempotencyKeyUsedError(known.id)
            if known.collection_deleted:
                raise IdempotencyKeyUsedError(known.id)
            return await CollectionRepository(connection).get(user_id, known.collection_id), known

    async def _add_collection(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: ChunkingChoice | None,
        sources: Sequence[SourceSpec],
        sparse: SparseSettings | None,
        submission: Submission,
    ) -> tuple[Collection, Operation]:
        filled = (chunking or ChunkingChoice()).fill(self._default_chunking)
        admitted = [admit_source(spec, self._box) for spec in sources]
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).add(
                user_id=user_id,
                name=name,
                model=model or self._default_model,
                chunking=filled,
                sparse=sparse,
            )
            settings = {"model": collection.model, "chunking": asdict(filled), "sparse": collection.sparse}
            if collection.sparse_settings:
                settings["sparse_settings"] = collection.sparse_settings
            await record(connection, "collection.created", collection, after=settings)
            for spec in admitted:
                source = await SourceRepository(connection).add(
                    collection.id, kind=spec.kind, url=spec.url, config=spec.config, secrets=spec.secrets
                )
                await record(connection, "source.added", source, collection=collection, after=source.config)
            operation = await OperationRepository(connection).add(
                NewOperation(
                    user_id=user_id,
                    collection_id=collection.id,
                    kind=OperationKind.INDEX,
                    config={},
                    submission=submission,
                )
            )
        return collection, operation

    async def create_append(
        self,
        user_id: UUID,
        collection_id: UUID,
        *,
        source_id: UUID,
        mode: str,
        confirm_removals: bool = False,
        submission: Submission = PLAIN,
    ) -> Operation:
        """Add an APPEND that brings one source up to date; ``confirm_removals`` lets it remove most of it."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            source = await SourceRepository(connection).get(collection_id, source_id)
            choice = AppendChoice(mode=AppendMode(mode), confirm_removals=confirm_removals)
            config = {"source_id": str(source.id), **choice.config(), "trigger": Trigger.MANUAL.value}
            new = NewOperation(
                user_id=user_id,
                collection_id=collection_id,
                kind=OperationKind.APPEND,
                config=config,
                submission=submission,
            )
            operation, is_new = await OperationRepository(connection).add_once(new)
        return await self._launch(operation) if is_new else operation

    async def create_verify(
        self, user_id: UUID, collection_id: UUID, *, repair: bool, deep: bool, submission: Submission = PLAIN
    ) -> Operation:
        """Add a VERIFY; only one that repairs waits for its turn among the writers."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            new = NewOperation(
                user_id=user_id,
                collection_id=collection_id,
                kind=OperationKind.VERIFY,
                config={"repair": repair, "deep": deep},
                submission=submission,
                writes=repair,
            )
            operation, is_new = await OperationRepository(connection).add_once(new)
        return await self._launch(operation) if is_new else operation

    async def create_plan(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: ChunkingChoice,
        source: SourceSpec,
        submission: Submission = PLAIN,
    ) -> Operation:
        """Add a PLAN of what indexing a source into a collection of this name would do; it need not exist.

        Raises:
            OptionConflictError: if the collection or the source exists and is not as the caller says.
            InvalidChunkingError: if the overlap, said or usual, is not smaller than the size.
        """
        wanted = PlanRequest(name=name, model=model, chunking=chunking, source=source)
        async with self._database.begin() as connection:
            collection_id, config = await plan_config(
                connection, user_id, wanted, self._box, model=self._default_model, chunking=self._default_chunking
            )
            new = NewOperation(
                user_id=user_id,
                collection_id=collection_id,
                kind=OperationKind.PLAN,
                config=config,
                submission=submission,
                writes=False,
            )
            operation, is_new = await OperationRepository(connection).add_once(new)
        return await self._launch(operation) if is_new else operation

    async def get(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationNotFoundError, also for somebody else's operation."""
        async with self._database.begin() as connection:
            operation = await OperationRepository(connection).get(operation_id)
        if operation.user_id != user_id:
            raise OperationNotFoundError(operation_id)
        return operation

    async def list(
        self, user_id: UUID, *, states: Sequence[OperationState], collection_id: UUID | None, limit: int
    ) -> Sequence[Operation]:
        """Newest first."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).list_newest(
                user_id, states=states, collection_id=collection_id, limit=limit
            )

    async def cancel(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Cancel a pending operation at once, or ask its worker to stop.

        Raises:
            OperationFinishedError: if it has already ended.
            DeletionNotCancellableError: if it deletes a collection, which nobody can bring back.
        """
        if (await self.get(user_id, operation_id)).kind is OperationKind.DELETE:
            raise DeletionNotCancellableError(operation_id)
        _, operation = await self._ask(user_id, operation_id, OperationRepository.request_cancel)
        if operation.state is OperationState.CANCELLED:
            await self._dispatcher.announce_end(operation)
            await self._dispatch()
        return operation

    async def pause(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Keep a pending operation from starting, or have a running one stop at its next checkpoint.

        Raises:
            OperationFinishedError: if it has already ended.
        """
        _, operation = await self._ask(user_id, operation_id, OperationRepository.pause)
        if operation.state is OperationState.PENDING:
            await self._tell(operation, "operation_paused")
        return operation

    async def resume(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Let a paused operation go on where it stopped; nothing happens to one that is not paused.

        Raises:
            OperationFinishedError: if it has ended.
        """
        before, operation = await self._ask(user_id, operation_id, OperationRepository.resume)
        if before.paused_at is not None and operation.state is OperationState.PENDING:
            await self._tell(operation, "operation_queued")
        await self._dispatch()
        return operation

    async def _ask(
        self,
        user_id: UUID,
        operation_id: UUID,
        change: Callable[[OperationRepository, UUID], Awaitable[Operation | None]],
    ) -> tuple[Operation, Operation]:
        """Change what is wanted of an operation, and have its worker look; the operation before and after."""
        before = await self.get(user_id, operation_id)
        async with self._database.begin() as connection:
            operations = OperationRepository(connection)
            operation = await change(operations, operation_id)
            await operations.poke(operation_id)
        if operation is None:
            raise OperationFinishedError(operation_id, before.state)
        if operation.state is OperationState.RUNNING:
            await self._queue.poke(operation_id)
        return before, operation

    async def pause_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """Start nothing more in a collection, and have what runs there stop at its next checkpoint."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).pause(user_id, collection_id)
            await record(connection, "collection.paused", collection)
            operations = OperationRepository(connection)
            await operations.hold_back(collection_id)
            await operations.poke(collection_id)
        await self._queue.poke(collection_id)
        return collection

    async def resume_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """Let the operations of a paused collection go on."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).resume(user_id, collection_id)
            await record(connection, "collection.resumed", collection)
        await self._dispatch()
        return collection

    async def retry(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Make a failed or cancelled operation go on where it stopped.

        Raises:
            OperationNotRetryableError: in any other state.
            CollectionNotFoundError: if its collection is deleted.
            RebuildInProgressError: if it rebuilds a collection that is being rebuilt already.
        """
        before = await self.get(user_id, operation_id)
        if before.collection_deleted and before.kind is not OperationKind.DELETE:
            raise CollectionNotFoundError(before.collection_name)
        try:
            async with self._database.begin() as connection:
                operation = await OperationRepository(connection).restart(operation_id)
        except IntegrityError as error:
            async with self._database.begin() as connection:
                other = await OperationRepository(connection).find_rebuild(before.require_collection())
            raise RebuildInProgressError(before.collection_name, other or "that has just ended") from error
        if operation is None:
            raise OperationNotRetryableError(operation_id, before.state)
        await self._events.forget(operation_id)
        return await self._launch(operation)

    async def list_workers(self) -> Sequence[Worker]:
        """Workers of the last day, those that live first."""
        async with self._database.begin() as connection:
            return await WorkerRepository(connection).list_recent()

    async def launch(self, operation: Operation) -> Operation:
        """Announce and dispatch an operation that another service has committed."""
        return await self._launch(operation)

    async def _launch(self, operation: Operation) -> Operation:
        """Announce and dispatch a committed operation; what fails here, the reconciler does again.

        It is announced while it is picked: a worker can only tell of the start after that.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dispatch())
            group.create_task(self._tell(operation, "operation_queued"))
        return operation

    async def _dispatch(self) -> None:
        """Bring the line on. What the caller asked for is committed by now, so it is not told of a failure here."""
        try:
            await self._dispatcher.pump()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.warning("dispatch_failed", error=type(error).__name__, note="the reconciler does it")

    async def _tell(self, operation: Operation, event: str) -> None:
        data = {"kind": operation.kind.value}
        if operation.why_waiting:
            data["why_waiting"] = operation.why_waiting
        async with self._events.open(operation) as reporter:
            await reporter.send_update(event, data)

"""What callers do with operations: create, watch, cancel, retry."""

from collections.abc import Sequence
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.operations import OperationRepository
from app.db.sources import SourceRepository
from app.domain.collections import Collection
from app.domain.documents import Chunking, SourceSpec
from app.domain.errors import OperationFinishedError, OperationNotFoundError, OperationNotRetryableError
from app.domain.operations import Operation, OperationKind, OperationState
from app.domain.ports import OperationEvents, OperationQueue
from app.operations.dispatch import Dispatcher


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
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._queue = queue
        self._events = events
        self._default_model = default_model
        self._default_chunking = default_chunking

    async def create_collection(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: Chunking | None,
        sources: Sequence[SourceSpec],
        idempotency_key: str | None,
    ) -> tuple[Collection, Operation]:
        """Add a collection with its sources and the INDEX operation that fills it.

        Raises:
            CollectionExistsError: unless the same idempotency key created it.
        """
        async with self._database.begin() as connection:
            collections = CollectionRepository(connection)
            operations = OperationRepository(connection)
            if idempotency_key is not None:
                known = await operations.find_by_key(user_id, idempotency_key)
                if known is not None:
                    return await collections.get(user_id, known.collection_id), known
            collection = await collections.add(
                user_id=user_id,
                name=name,
                model=model or self._default_model,
                chunking=chunking or self._default_chunking,
            )
            for spec in sources:
                await SourceRepository(connection).add(collection.id, url=spec.url, config=spec.config())
            operation = await operations.add(
                user_id=user_id,
                collection_id=collection.id,
                kind=OperationKind.INDEX,
                config={},
                idempotency_key=idempotency_key,
            )
        return collection, await self._launch(operation)

    async def create_append(
        self, user_id: UUID, collection_id: UUID, *, source_id: UUID, mode: str, idempotency_key: str | None
    ) -> Operation:
        """Add an APPEND that brings one source up to date."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            source = await SourceRepository(connection).get(collection_id, source_id)
            operations = OperationRepository(connection)
            if idempotency_key is not None:
                known = await operations.find_by_key(user_id, idempotency_key)
                if known is not None:
                    return known
            operation = await operations.add(
                user_id=user_id,
                collection_id=collection_id,
                kind=OperationKind.APPEND,
                config={"source_id": str(source.id), "mode": mode, "trigger": "manual"},
                idempotency_key=idempotency_key,
            )
        return await self._launch(operation)

    async def create_verify(
        self, user_id: UUID, collection_id: UUID, *, repair: bool, deep: bool, idempotency_key: str | None
    ) -> Operation:
        """Add a VERIFY; only one that repairs waits for its turn among the writers."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            operations = OperationRepository(connection)
            if idempotency_key is not None:
                known = await operations.find_by_key(user_id, idempotency_key)
                if known is not None:
                    return known
            operation = await operations.add(
                user_id=user_id,
                collection_id=collection_id,
                kind=OperationKind.VERIFY,
                config={"repair": repair, "deep": deep},
                idempotency_key=idempotency_key,
                writes=repair,
            )
        return await self._launch(operation)

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
        """
        before = await self.get(user_id, operation_id)
        async with self._database.begin() as connection:
            operation = await OperationRepository(connection).request_cancel(operation_id)
        if operation is None:
            raise OperationFinishedError(operation_id, before.state)
        if operation.state is OperationState.CANCELLED:
            await self._dispatcher.announce_end(operation)
            await self._dispatcher.dispatch_next(operation.collection_id)
        else:
            await self._queue.poke_cancel(operation_id)
        return operation

    async def retry(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Make a failed or cancelled operation go on where it stopped.

        Raises:
            OperationNotRetryableError: in any other state.
        """
        before = await self.get(user_id, operation_id)
        async with self._database.begin() as connection:
            operation = await OperationRepository(connection).restart(operation_id)
        if operation is None:
            raise OperationNotRetryableError(operation_id, before.state)
        await self._events.forget(operation_id)
        return await self._launch(operation)

    async def _launch(self, operation: Operation) -> Operation:
        """Announce and dispatch a committed operation; what fails here, the reconciler does again.

        It is announced first: a fast worker would otherwise tell of the start before anybody told of the wait.
        """
        await self._dispatcher.explain(operation.id)
        async with self._database.begin() as connection:
            operation = await OperationRepository(connection).get(operation.id)
        async with self._events.open(operation) as reporter:
            data = {"kind": operation.kind.value}
            if operation.why_waiting:
                data["why_waiting"] = operation.why_waiting
            await reporter.send_update("operation_queued", data)
        await self._dispatcher.dispatch(operation.id)
        return operation

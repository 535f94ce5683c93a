"""Operations that take something away, or try documents again."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.deletions import EndRepository
from app.db.operations import OperationRepository
from app.db.retries import RetryRepository
from app.db.sources import SourceRepository
from app.domain.errors import DocumentNotFoundError, IdempotencyKeyUsedError
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, Submission
from app.domain.ports import OperationQueue
from app.operations.dispatch import Dispatcher
from app.operations.service import OperationService


class RemovalService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(
        self, database: Database, operations: OperationService, dispatcher: Dispatcher, queue: OperationQueue
    ) -> None:
        self._database = database
        self._operations = operations
        self._dispatcher = dispatcher
        self._queue = queue

    async def remove_source(
        self, user_id: UUID, id_or_name: str, source_id: UUID, *, submission: Submission = PLAIN
    ) -> Operation:
        """Add a REMOVE_SOURCE; one that has not ended yet is given instead of a second one.

        Raises:
            CollectionNotFoundError, SourceUnknownError.
        """
        async with self._database.begin() as connection:
            known = await _find_known(connection, user_id, submission, OperationKind.REMOVE_SOURCE)
            if known is not None:
                return known
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            source = await SourceRepository(connection).get(collection.id, source_id)
            config = {"source_id": str(source.id), "url": source.url}
            kind = OperationKind.REMOVE_SOURCE
            known = await EndRepository(connection).find_unfinished(collection.id, kind, config)
            if known is not None:
                return known
            operation = await OperationRepository(connection).add(
                _new(user_id, collection.id, kind, config, submission)
            )
        return await self._operations.launch(operation)

    async def retry_documents(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        ids: Sequence[UUID],
        include_needs_ocr: bool,
        submission: Submission = PLAIN,
    ) -> Operation:
        """Add a RETRY_DOCUMENTS of these documents, or of all that failed for a reason that may be gone.

        Raises:
            CollectionNotFoundError, DocumentNotFoundError.
        """
        config: dict[str, Any] = {"include_needs_ocr": include_needs_ocr}
        if ids:
            config["ids"] = [str(document) for document in ids]
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            if ids and (missing := await RetryRepository(connection, collection.id).find_missing(ids)):
                raise DocumentNotFoundError(missing)
            new = _new(user_id, collection.id, OperationKind.RETRY_DOCUMENTS, config, submission)
            operation, is_new = await OperationRepository(connection).add_once(new)
        return await self._operations.launch(operation) if is_new else operation

    async def delete(self, user_id: UUID, id_or_name: str, *, submission: Submission = PLAIN) -> Operation:
        """Hide a collection for good, stop what is done to it, and add the DELETE that clears it away.

        Raises:
            CollectionNotFoundError: also if it is deleted already, unless the same idempotency key did that.
        """
        async with self._database.begin() as connection:
            operations, ends = OperationRepository(connection), EndRepository(connection)
            known = await _find_known(connection, user_id, submission, OperationKind.DELETE)
            if known is not None:
                return known
            collection = await ends.lock(user_id, id_or_name)
            config = {"collection": collection.name, "collection_id": str(collection.id)}
            operation = await operations.add(_new(user_id, collection.id, OperationKind.DELETE, config, submission))
            await ends.hide(collection.id)
            await record(connection, "collection.deleted", collection)
            cancelled = await ends.cancel_all(collection.id, besides=operation.id)
            # the workers of the others learn at once that they have to stop
            await operations.poke(collection.id)
        await self._queue.poke(collection.id)
        async with asyncio.TaskGroup() as group:
            for ended in cancelled:
                group.create_task(self._dispatcher.announce_end(ended))
        return await self._operations.launch(operation)


async def _find_known(
    connection: AsyncConnection, user_id: UUID, submission: Submission, kind: OperationKind
) -> Operation | None:
    """The operation that the same request has made before, which may be of something that is gone by now."""
    if submission.idempotency_key is None:
        return None
    known = await OperationRepository(connection).find_by_key(user_id, submission.idempotency_key)
    if known is not None and known.kind is not kind:
        raise IdempotencyKeyUsedError(known.id)
    return known


def _new(
    user_id: UUID, collection_id: UUID, kind: OperationKind, config: dict[str, Any], submission: Submission
) -> NewOperation:
    return NewOperation(user_id=user_id, collection_id=collection_id, kind=kind, config=config, submission=submission)

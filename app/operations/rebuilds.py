"""Operations that rebuild a collection, or go back to what it was before."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.operations import OperationRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.documents import ChunkingChoice
from app.domain.index_settings import IndexSettings
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, Submission
from app.domain.rebuild_errors import NothingToRebuildError, NothingToRollBackError, RebuildInProgressError
from app.domain.rebuilds import RebuildChoice, Target
from app.domain.sparse_settings import SparseSettings
from app.operations.service import OperationService


class RebuildService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(self, database: Database, operations: OperationService) -> None:
        self._database = database
        self._operations = operations

    async def reindex(
        self, user_id: UUID, id_or_name: str, choice: RebuildChoice, *, submission: Submission = PLAIN
    ) -> Operation:
        """Add a REINDEX; what it makes is settled now, whatever becomes of the collection's settings meanwhile.

        Raises:
            CollectionNotFoundError, NothingToRebuildError, RebuildInProgressError.
            InvalidChunkingError: if the overlap, said or usual, is not smaller than the size.
            InvalidIndexSettingsError: if there is no such setting of an index, or not with such a value.
            InvalidSparseSettingsError: the same of the words.
        """
        async with self._database.begin() as connection:
            collections = CollectionRepository(connection)
            collection = await collections.get(user_id, id_or_name)
            active = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        if active is None:
            raise NothingToRebuildError(collection.name)
        config = {
            **_target(active, choice).to_config(),
            "gate": dict(choice.gate) if isinstance(choice.gate, Mapping) else choice.gate,
            "keep_refused": choice.keep_refused,
            "watch_minutes": choice.watch_minutes,
            "dry_run": choice.dry_run,
        }
        return await self._add(user_id, collection, OperationKind.REINDEX, config, submission)

    async def roll_back(
        self, user_id: UUID, id_or_name: str | UUID, *, reason: str | None = None, submission: Submission = PLAIN
    ) -> Operation:
        """Add a ROLLBACK to the generation that served before.

        Raises:
            CollectionNotFoundError, NothingToRollBackError, RebuildInProgressError.
        """
        async with self._database.begin() as connection:
            collections = CollectionRepository(connection)
            collection = await collections.get(user_id, id_or_name)
            replaced = await collections.find_replaced(collection.id)
        if replaced is None:
            raise NothingToRollBackError(collection.name)
        config = {"generation_id": str(replaced.id), "reason": reason}
        return await self._add(user_id, collection, OperationKind.ROLLBACK, config, submission)

    async def go_back(self, collection_id: UUID, reason: str) -> None:
        """Add a ROLLBACK in its owner's name, because of what was seen since the last switch.

        Raises:
            CollectionNotFoundError, NothingToRollBackError, RebuildInProgressError.
        """
        async with self._database.begin() as connection:
            collections = CollectionRepository(connection)
            owner = await collections.get_owner(collection_id)
            active = await collections.find_generation(collection_id, GenerationState.ACTIVE)
        # whoever asks again because of the same generation is given the operation that there is
        key = None if active is None else f"regression of {active.id}"
        await self.roll_back(owner, collection_id, reason=reason, submission=Submission(idempotency_key=key))

    async def _add(
        self,
        user_id: UUID,
        collection: Collection,
        kind: OperationKind,
        config: dict[str, Any],
        submission: Submission,
    ) -> Operation:
        """It writes only at its end: until then it is beside the collection's writers, not among them."""
        new = NewOperation(
            user_id=user_id,
            collection_id=collection.id,
            kind=kind,
            config=config,
            submission=submission,
            writes=False,
        )
        try:
            async with self._database.begin() as connection:
                operation, is_new = await OperationRepository(connection).add_once(new)
        except IntegrityError as error:
            async with self._database.begin() as connection:
                other = await OperationRepository(connection).find_rebuild(collection.id)
            raise RebuildInProgressError(collection.name, other or "that has just ended") from error
        return await self._operations.launch(operation) if is_new else operation


def _target(active: Generation, choice: RebuildChoice) -> Target:
    chunking = (choice.chunking or ChunkingChoice()).fill(active.chunking)
    index = IndexSettings.from_config({**active.index_settings, **(choice.index or {})})
    sparse = SparseSettings.from_config({**active.sparse_settings, **(choice.sparse or {})})
    return Target(
        model=choice.model or active.model, chunking=chunking, extract=choice.extract, index=index, sparse=sparse
    )

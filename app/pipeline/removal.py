"""Takes a source out of its collection: points, chunks, documents, and the source itself, in that order.

Every step can be the last one of an attempt: the next one looks at what is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.removals import RemovalRepository
from app.db.shared_documents import SharedDocumentRepository
from app.db.totals import TotalsRepository
from app.db.uploads import UploadRepository
from app.domain.audit import Subject
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import GenerationMissingError, SliceEndedError
from app.domain.operations import Lease
from app.domain.ports import Reporter, VectorStore
from app.pipeline.labels import refresh_labels

LET_GO_AT_ONCE = 1000
WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalContext:
    """What an attempt needs to remove something; the rest is as in ``IngestContext``."""

    database: Database
    store: VectorStore
    lease: Lease
    report: Reporter
    collection_id: UUID
    batch_size: int
    should_yield: Callable[[], bool]
    note_progress: Callable[[], None]
    require_lease: Callable[[], None]
    poke: Callable[[UUID], Awaitable[None]]
    remove_uploads: Callable[[Sequence[str]], Awaitable[None]]


async def wait_for_foreign_lanes(
    database: Database, collection_id: UUID, operation_id: UUID, *, poke: Callable[[UUID], Awaitable[None]]
) -> None:
    """Return when no lane of another operation can write to the collection's points any more."""
    pause = WAIT_SECONDS
    while True:
        async with database.begin() as connection:
            others = await RemovalRepository(connection, collection_id).list_foreign_lanes(operation_id)
        if not others:
            return
        for other in others:
            await poke(other)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_WAIT_SECONDS)


async def wait_for_rebuild(context: RemovalContext) -> None:
    """Return when no rebuild can write to a generation of the collection any more; all were asked to stop."""
    pause = WAIT_SECONDS
    while True:
        async with context.database.begin() as connection:
            running = await RemovalRepository(connection, context.collection_id).list_rebuilds()
        if not running:
            return
        for operation_id in running:
            await context.poke(operation_id)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_WAIT_SECONDS)


async def forget_uploads(context: RemovalContext, *, source_id: UUID | None = None) -> None:
    """Delete what was sent to a source, or to the whole collection: rows first, for a file without one is an orphan."""
    gone = True
    while gone:
        async with context.database.fenced(context.lease) as connection:
            uploads = UploadRepository(connection)
            names = await uploads.delete_some(collection_id=context.collection_id, source_id=source_id)
        await context.remove_uploads(names)
        context.note_progress()
        gone = bool(names)


class SourceRemoval:
    """One attempt at removing a source, whose documents other sources may have."""

    def __init__(self, context: RemovalContext, collection: Collection, source_id: UUID) -> None:
        self._context = context
        self._collection = collection
        self._source = source_id
        self._generations: Sequence[Generation] = ()

    async def run(self) -> dict[str, int]:
        """Remove what is left; gives the sums of all attempts.

        Raises:
            SliceEndedError: if the slice was asked to yield; what is removed stays removed.
        """
        context = self._context
        await wait_for_foreign_lanes(
            context.database, context.collection_id, context.lease.operation_id, poke=context.poke
        )
        async with context.database.begin() as connection:
            collections = CollectionRepository(connection)
            self._generations = await collections.list_generations(context.collection_id, *GenerationState)
        await self._remove_documents()
        await self._let_go()
        await refresh_labels(context.database, context.store, context.lease, context.collection_id)
        await self._clean()
        await self._forget()
        return await self._sums()

    async def _sums(self) -> dict[str, int]:
        async with self._context.database.begin() as connection:
            totals = await TotalsRepository(connection, self._context.lease.operation_id).load()
        names = ("documents_removed", "points_removed", "documents_kept")
        return {name: int(totals.get(name, 0)) for name in names}

    async def _remove_documents(self) -> None:
        context = self._context
        async with context.database.begin() as connection:
            left = await RemovalRepository(connection, context.collection_id).count_left(self._source)
        sums = await self._sums()
        removed, total = sums["documents_removed"], sums["documents_removed"] + left
        while True:
            await context.report.send_update("removing_documents", {"removed": removed, "total": total})
            async with context.database.begin() as connection:
                removals = RemovalRepository(connection, context.collection_id)
                ids = await removals.list_left(self._source, limit=context.batch_size)
            if not ids:
                return
            self._stop_if_asked()
            own = await self._keep_shared(ids)
            total -= len(ids) - len(own)
            # the manifest first: whoever is stopped in between leaves points that nobody is shown, and a mark
            untouched = await self._mark_removed(own)
            await self._delete_points(own)
            await self._mark_clean(untouched)
            removed += len(own)

    def _stop_if_asked(self) -> None:
        if self._context.should_yield():
            raise SliceEndedError("the slice ended before all documents were removed")

    async def _keep_shared(self, ids: Sequence[UUID]) -> list[UUID]:
        """Give what other sources have to them; what is left has to go."""
        context = self._context
        async with context.database.fenced(context.lease) as connection:
            shared = SharedDocumentRepository(connection, context.collection_id)
            kept = await shared.pass_on(ids, source_id=self._source)
            if kept:
                await TotalsRepository(connection, context.lease.operation_id).add({"documents_kept": len(kept)})
        return [document for document in ids if document not in kept]

    async def _delete_points(self, ids: Sequence[UUID]) -> None:
        for generation in self._generations:
            if ids and generation.state is not GenerationState.DROPPED:
                self._context.require_lease()
                # one that is not made yet has no points
                with suppress(GenerationMissingError):
                    await self._context.store.delete_documents(generation.name, ids)

    async def _mark_removed(self, ids: Sequence[UUID]) -> list[UUID]:
        context = self._context
        async with context.database.fenced(context.lease) as connection:
            points, untouched = await RemovalRepository(connection, context.collection_id).mark_removed(
                ids,
                generations=[generation.id for generation in self._generations],
                operation_id=context.lease.operation_id,
            )
            amounts = {"documents_removed": len(ids), "points_removed": points}
            await TotalsRepository(connection, context.lease.operation_id).add(amounts)
        context.note_progress()
        return untouched

    async def _mark_clean(self, ids: Sequence[UUID]) -> None:
        async with self._context.database.fenced(self._context.lease) as connection:
            await RemovalRepository(connection, self._context.collection_id).mark_clean(ids)

    async def _let_go(self) -> None:
        """End what the source has of documents that belong to others."""
        context = self._context
        while True:
            async with context.database.fenced(context.lease) as connection:
                shared = SharedDocumentRepository(connection, context.collection_id)
                kept = await shared.let_go(self._source, scan=None, limit=LET_GO_AT_ONCE)
                if not kept:
                    return
                await TotalsRepository(connection, context.lease.operation_id).add({"documents_kept": kept})

    async def _clean(self) -> None:
        """Delete points that an earlier attempt did not come to, or that somebody may have written: nobody does now."""
        context = self._context
        while True:
            async with context.database.begin() as connection:
                removals = RemovalRepository(connection, context.collection_id)
                dirty = await removals.list_dirty(self._source, limit=context.batch_size)
            if not dirty:
                return
            await self._delete_points(dirty)
            await self._mark_clean(dirty)

    async def _forget(self) -> None:
        context = self._context
        await forget_uploads(context, source_id=self._source)
        gone = 1
        while gone:
            self._stop_if_asked()
            async with context.database.fenced(context.lease) as connection:
                removals = RemovalRepository(connection, context.collection_id)
                gone = await removals.forget(self._source)
                if not gone:
                    url = await removals.forget_source(self._source)
                    if url is not None:
                        removed = Subject(kind="source", id=self._source, name=url)
                        await record(connection, "source.removed", removed, collection=self._collection)

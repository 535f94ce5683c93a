"""Clears away what a deleted collection leaves: points, chunks, documents, and the rest of it, in that order.

Every step can be the last one of an attempt: the next one looks at what is left.
"""

from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.deletions import DeletionRepository, Place, names_of
from app.db.leftovers import read_marker
from app.db.totals import TotalsRepository
from app.domain.collections import Generation, GenerationState
from app.domain.errors import GenerationMissingError, SliceEndedError
from app.pipeline.removal import RemovalContext, forget_uploads, wait_for_foreign_lanes, wait_for_rebuild

COUNTED = ("chunks", "documents", "generations")
POINTS_OF = "points of "
"""Before the id of a generation: how many points it had when it was dropped."""


async def load_result(database: Database, operation_id: UUID) -> dict[str, int]:
    """What all attempts at a deletion have cleared away."""
    async with database.begin() as connection:
        sums = await TotalsRepository(connection, operation_id).load()
    points = sum(amount for what, amount in sums.items() if what.startswith(POINTS_OF))
    return {"points": int(points), **{what: int(sums.get(what, 0)) for what in COUNTED}}


class CollectionDeletion:
    """One attempt at clearing a collection away; nobody can see or use it any more."""

    def __init__(self, context: RemovalContext) -> None:
        self._context = context
        self._sums: dict[str, int] = {}
        self._left: dict[str, int] = {}

    async def run(self) -> dict[str, int]:
        """Clear away what is left; gives the sums of all attempts.

        Raises:
            SliceEndedError: if the slice was asked to yield; what is gone stays gone.
        """
        context = self._context
        await self._load_sums()
        async with context.database.begin() as connection:
            deletions = DeletionRepository(connection, context.collection_id)
            name = await deletions.find_name()
            self._left = await deletions.count()
        if name is not None:
            await wait_for_foreign_lanes(
                context.database, context.collection_id, context.lease.operation_id, poke=context.poke
            )
            await wait_for_rebuild(context)
            await self._drop_generations()
            await self._delete_chunks()
            await self._delete_documents()
            # one that was being made when the deletion began, or that nobody knew
            await self._drop_unknown()
            await forget_uploads(context)
            async with context.database.fenced(context.lease) as connection:
                await DeletionRepository(connection, context.collection_id).delete_rest(name=name)
        return await load_result(context.database, context.lease.operation_id)

    async def _load_sums(self) -> None:
        async with self._context.database.begin() as connection:
            totals = await TotalsRepository(connection, self._context.lease.operation_id).load()
        self._sums = {what: int(amount) for what, amount in totals.items()}

    def _note(self, **amounts: int) -> None:
        for what, amount in amounts.items():
            self._sums[what] = self._sums.get(what, 0) + amount
        self._context.note_progress()

    async def _tell(self, stage: str) -> None:
        done = self._sums.get(stage, 0)
        data = {"stage": stage, "done": done, "total": done + self._left.get(stage, 0)}
        await self._context.report.send_update("delete_progress", data)

    def _stop_if_asked(self) -> None:
        if self._context.should_yield():
            raise SliceEndedError("the slice ended before all of the collection was cleared away")

    # --- points ---------------------------------------------------------------------------------

    async def _drop_generations(self) -> None:
        context = self._context
        async with context.database.begin() as connection:
            collections = CollectionRepository(connection)
            generations = await collections.list_generations(context.collection_id, *GenerationState)
        left = [generation for generation in generations if generation.state is not GenerationState.DROPPED]
        for generation in left:
            self._left["generations"] = len(left)
            await self._tell("generations")
            self._stop_if_asked()
            await self._drop(generation)
            left = left[1:]
        self._left["generations"] = 0
        await self._tell("generations")

    async def _drop(self, generation: Generation) -> None:
        context = self._context
        await self._count_generation(generation.id, generation.name)
        context.require_lease()
        await context.store.drop_collection(generation.name)
        async with context.database.fenced(context.lease) as connection:
            await CollectionRepository(connection).mark_dropped(generation)
            await TotalsRepository(connection, context.lease.operation_id).add({"generations": 1})
        self._note(generations=1)

    async def _count_generation(self, generation_id: UUID, name: str) -> None:
        """Note how many points a generation has, unless an attempt has done so and was ended before it dropped it."""
        context, key = self._context, f"{POINTS_OF}{generation_id}"
        if key in self._sums:
            return
        try:
            points = await context.store.count(name)
        except GenerationMissingError:
            return
        async with context.database.fenced(context.lease) as connection:
            await TotalsRepository(connection, context.lease.operation_id).add({key: points})
        self._sums[key] = points

    async def _drop_unknown(self) -> None:
        context = self._context
        async with context.database.begin() as connection:
            marker = await read_marker(connection)
        for name in names_of(await context.store.list_collections(), context.collection_id, marker=marker):
            context.require_lease()
            await context.store.drop_collection(name)

    # --- the manifest ---------------------------------------------------------------------------

    async def _delete_chunks(self) -> None:
        context = self._context
        after: Place | None = None
        while True:
            await self._tell("chunks")
            self._stop_if_asked()
            async with context.database.fenced(context.lease) as connection:
                deletions = DeletionRepository(connection, context.collection_id)
                gone, after = await deletions.delete_chunks(after=after)
                await TotalsRepository(connection, context.lease.operation_id).add({"chunks": gone})
            self._left["chunks"] = max(0, self._left["chunks"] - gone)
            self._note(chunks=gone)
            if after is None:
                return

    async def _delete_documents(self) -> None:
        context = self._context
        while True:
            await self._tell("documents")
            self._stop_if_asked()
            async with context.database.fenced(context.lease) as connection:
                deletions = DeletionRepository(connection, context.collection_id)
                gone, live = await deletions.delete_documents()
                if not gone:
                    return
                await TotalsRepository(connection, context.lease.operation_id).add({"documents": live})
            self._left["documents"] = max(0, self._left["documents"] - live)
            self._note(documents=live)

"""What REINDEX and ROLLBACK have in common: bring a generation up to date beside the one that serves, and switch."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import structlog

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.rebuilds import RebuildRepository
from app.db.switches import SwitchRepository
from app.db.totals import TotalsRepository
from app.domain.collections import Collection, Generation
from app.domain.operations import Operation, OperationKind
from app.domain.rebuilds import Level, Target, choose_level
from app.embedders.fingerprint import check_canaries, is_same_model
from app.jobs.append import open_ingest
from app.jobs.context import JobContext
from app.jobs.generation import make_physical
from app.jobs.turn import become_writer
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.rounds import Rounds, carry_all

log = structlog.get_logger(__name__)

FEW_DOCUMENTS = 50
"""So few changes are caught up with while nobody may write."""
MOST_ROUNDS = 20
"""A collection that changes as fast as it is caught up with is caught up with while nobody may write."""
LOOK_SECONDS = 0.1
PROBLEMS_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilding:
    """One attempt at it; ``old`` serves, ``new`` is brought up to date with the collection."""

    job: JobContext
    operation: Operation
    collection: Collection
    old: Generation
    new: Generation
    level: Level

    async def bring_up_to_date(self) -> RebuildContext:
        """Return when ``new`` holds the collection as it is, and nobody but this operation may write to that.

        Raises:
            SliceEndedError: if the slice was asked to yield; what was finished is kept.
            EmbedderChangedError: if the model is not what it was when ``new`` was begun.
        """
        context = self._open()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._make_ready(context))
                tasks.create_task(self._catch_up(context))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return context

    def _open(self) -> RebuildContext:
        return open_rebuild(self.job, self.collection, old=self.old, new=self.new, level=self.level)

    async def _make_ready(self, context: RebuildContext) -> None:
        await make_physical(self.job, self.new, context.ingest.embedder)
        context.ingest.may_write.set()

    async def _catch_up(self, context: RebuildContext) -> None:
        rounds = Rounds(context)
        await self._carry_on(context)
        await rounds.begin()
        for _ in range(MOST_ROUNDS):
            if await rounds.run() <= FEW_DOCUMENTS:
                break
        await become_writer(self.job, self.collection.id, meanwhile=rounds.run)
        while await rounds.run():
            pass
        # what a generation without documents is made of has to be there too
        await context.ingest.may_write.wait()

    async def _carry_on(self, context: RebuildContext) -> None:
        async with self.job.resources.database.begin() as connection:
            totals = await TotalsRepository(connection, self.operation.id).load()
        context.ingest.account.carry_on(totals)

    async def switch(self, *, watch_minutes: int | None = None) -> None:
        """Have ``new`` serve from now on; all of it or nothing. The alias for other readers follows.

        For ``watch_minutes`` it is looked at whether searches get worse, and then taken back.

        Raises:
            GenerationDroppedError: if it was given up meanwhile.
        """
        async with self.job.resources.database.fenced(self.job.lease) as connection:
            await RebuildRepository(connection, self.collection.id, self.old.id).keep_manifest()
            await CollectionRepository(connection).activate(self.new)
            await RebuildRepository(connection, self.collection.id, self.new.id).take_manifest()
            await SwitchRepository(connection).watch(self.new.id, minutes=watch_minutes)
            await record(
                connection,
                "collection.switched",
                self.collection,
                before=describe_generation(self.old),
                after=describe_generation(self.new),
            )
        log.info("switched", generation=self.new.name, replaced=self.old.name)
        await conclude_switch(self.job, old=self.old, new=self.new)

    async def summarise(self, context: RebuildContext) -> dict[str, Any]:
        """What all attempts have done, as far as it is known before the switch."""
        async with self.job.resources.database.begin() as connection:
            rebuilds = RebuildRepository(connection, self.collection.id, self.new.id)
            progress, problems = await rebuilds.count(), await rebuilds.list_problems(limit=PROBLEMS_SHOWN)
            totals = await TotalsRepository(connection, self.operation.id).load()
        account = context.ingest.account
        made, reused = account.amount("chunks"), account.amount("reused")
        return {
            "from": self.old.name,
            "to": self.new.name,
            "model": self.new.model,
            "dimension": self.new.dimension,
            "chunk_size": self.new.chunking.size,
            "chunk_overlap": self.new.chunking.overlap,
            "chunk_strategy": self.new.chunking.strategy.value,
            "index": dict(self.new.index_settings),
            "sparse": dict(self.new.sparse_settings),
            "level": self.level.value,
            "documents": progress.held,
            "documents_failed": progress.failed,
            "documents_outdated": int(totals.get("documents_outdated", 0)),
            "problems": [
                {"document_id": str(one.document_id), "uri": one.uri, "error_code": one.error_code} for one in problems
            ],
            "chunks": progress.chunks,
            "points": int(totals.get("points", 0)),
            "tokens": account.amount("tokens"),
            "reused_chunks": reused,
            "reused_share": round(reused / made, 4) if made else 1.0,
            "cache": account.cache_summary(),
            "embedder_busy_ratio": round(account.embedder_busy_ratio(), 3),
            "limiting_stage": account.limiting_stage(),
            "stages": account.stage_table(),
        }


def open_rebuild(
    job: JobContext, collection: Collection, *, old: Generation, new: Generation, level: Level
) -> RebuildContext:
    """What the parts of a rebuild share, with its accounts at zero."""
    wanted = replace(
        collection,
        model=new.model,
        chunking=new.chunking,
        index_settings=new.index_settings,
        sparse_settings=new.sparse_settings,
    )
    return RebuildContext(
        ingest=open_ingest(job, wanted, new),
        old=old,
        level=level,
        is_same_model=is_same_model(old.canaries, new.canaries),
        open_source=job.resources.open_source,
    )


async def share_rebuild(
    job: JobContext, operation: Operation, collection: Collection, *, old: Generation, new: Generation
) -> None:
    """The lane of another worker: bring in what is pending of ``new`` until its offer is closed."""
    extract = operation.kind is OperationKind.REINDEX and bool(operation.config.get("extract"))
    target = Target(model=new.model, chunking=new.chunking, extract=extract, sparse=new.sparse)
    level = choose_level(old, target, tokenizers=job.resources.limits.tokenizers)
    context = open_rebuild(job, collection, old=old, new=new, level=level)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_wait_until_ready(job, context))
            tasks.create_task(carry_all(context))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _wait_until_ready(job: JobContext, context: RebuildContext) -> None:
    """Ask the model while documents are prepared; the operation's own worker makes the generation."""
    generation = context.generation
    await check_canaries(context.ingest.embedder, generation.canaries, dimension=generation.dimension)
    while await job.resources.store.find_collection(generation.name) is None:
        job.require_lease()
        await asyncio.sleep(LOOK_SECONDS)
    context.ingest.may_write.set()


async def conclude_switch(job: JobContext, *, old: Generation | None, new: Generation) -> None:
    """What follows a switch that is committed; done again by an attempt that finds it so."""
    await job.resources.store.set_alias(f"vecloom_{new.collection_id}", to=new.name)
    await job.report.send_update("switch_completed", {"from": None if old is None else old.name, "to": new.name})


def describe_generation(generation: Generation) -> dict[str, Any]:
    """What the audit log says of a generation."""
    chunking = generation.chunking
    return {
        "generation": generation.name,
        "model": generation.model,
        "chunk_size": chunking.size,
        "chunk_overlap": chunking.overlap,
        "chunk_strategy": chunking.strategy.value,
        **({"sparse": dict(generation.sparse_settings)} if generation.sparse_settings else {}),
    }

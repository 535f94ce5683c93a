"""What a rebuild would do, take and cost."""

import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

from app.db.rebuilds import RebuildRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.operations import Operation
from app.domain.rebuilds import Level, Target, choose_level
from app.embedders.fingerprint import dimension_of, is_same_model, take_canaries
from app.jobs.append import open_ingest
from app.jobs.context import JobContext
from app.jobs.plan import Work, cost_of, estimate
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.plan import RebuildPlan


async def describe_rebuild(
    context: JobContext, collection: Collection, old: Generation, target: Target, level: Level
) -> dict[str, Any]:
    """The data of ``reindex_preflight``: what is known without reading anything."""
    async with context.resources.database.begin() as connection:
        rebuilds = RebuildRepository(connection, collection.id, old.id)
        documents, chunks, tokens = await rebuilds.count_documents(), *(await rebuilds.count_chunks())
    return {
        **describe_target(old, target, level),
        "documents": documents,
        "documents_to_extract": documents if level is Level.SOURCE else 0,
        "documents_to_chunk": documents if level in (Level.TEXT, Level.SOURCE) else 0,
        "chunks_now": chunks,
        "tokens_now": tokens,
    }


def describe_target(old: Generation, target: Target, level: Level) -> dict[str, Any]:
    """What becomes of what, and what it begins with."""
    return {
        "level": level.value,
        "model": target.model,
        "chunk_size": target.chunking.size,
        "chunk_overlap": target.chunking.overlap,
        "chunk_strategy": target.chunking.strategy.value,
        "model_now": old.model,
        "chunk_size_now": old.chunking.size,
        "chunk_overlap_now": old.chunking.overlap,
        "chunk_strategy_now": old.chunking.strategy.value,
        "index": target.index.to_config(),
        "index_now": dict(old.index_settings),
        "sparse": target.sparse.to_config(),
        "sparse_now": dict(old.sparse_settings),
    }


async def plan_rebuild(
    context: JobContext, operation: Operation, collection: Collection, old: Generation, target: Target
) -> dict[str, Any]:
    """Do all of it but embedding and storing, count, and estimate the rest.

    Raises:
        UnknownModelError: as the real operation would, if no embedder serves the model.
    """
    started = time.monotonic()
    level = choose_level(old, target, tokenizers=context.resources.limits.tokenizers)
    rebuild = await _open(context, collection, old, target, level)
    plan = RebuildPlan(rebuild)
    if level is not Level.INDEX:
        await plan.run()
    prepared = time.monotonic() - started
    result = {
        **describe_target(old, target, level),
        **plan.tally.result(level=level, dimension=rebuild.generation.dimension),
        "dimension": rebuild.generation.dimension,
        "estimate": await estimate(
            context,
            operation,
            plan.sample,
            model=target.model,
            work=Work(prepare_seconds=prepared, tokens=plan.tally.tokens, points=plan.tally.chunks),
        ),
        "cost": cost_of(context.resources.price, target.model, plan.tally.tokens),
        "seconds": round(time.monotonic() - started, 3),
    }
    await context.report.send_update("reindex_preflight", result)
    return result


async def _open(
    context: JobContext, collection: Collection, old: Generation, target: Target, level: Level
) -> RebuildContext:
    """As the rebuild would see itself; its generation is made up."""
    fingerprint, canaries = await take_canaries(context.find_embedder(target.model))
    new = Generation(
        id=uuid4(),
        collection_id=collection.id,
        name="",
        state=GenerationState.BUILDING,
        model=target.model,
        dimension=dimension_of(canaries),
        fingerprint=fingerprint,
        canaries=canaries,
        chunking=target.chunking,
        sparse_settings=target.sparse.to_config(),
    )
    wanted = replace(collection, model=target.model, chunking=target.chunking)
    return RebuildContext(
        ingest=open_ingest(context, wanted, new),
        old=old,
        level=level,
        is_same_model=is_same_model(old.canaries, canaries),
        open_source=context.resources.open_source,
    )

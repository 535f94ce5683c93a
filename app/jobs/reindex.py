"""REINDEX: make a collection anew beside the one that serves, and switch once the new one has passed its gate."""

import time
from dataclasses import replace
from typing import Any

from app.db.collections import CollectionRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.operations import Operation
from app.domain.rebuild_errors import NothingToRebuildError, ValidationFailedError
from app.domain.rebuilds import Level, Target, choose_level, read_target
from app.embedders.fingerprint import dimension_of, take_canaries
from app.jobs.context import JobContext
from app.jobs.gate import Gate
from app.jobs.index_change import change_index, wait_until_indexed
from app.jobs.rebuild_plan import describe_rebuild, plan_rebuild
from app.jobs.rebuilding import Rebuilding, conclude_switch


async def reindex_collection(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Build, catch up, validate, switch. An attempt goes on with the generation that an earlier one has begun."""
    async with context.resources.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(operation.user_id, operation.require_collection())
        old = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        begun = await collections.find_built_by(operation.id)
        replaced = await collections.find_replaced(collection.id)
    if old is None:
        raise NothingToRebuildError(collection.name)
    if begun is not None and begun.state is GenerationState.ACTIVE:
        # the attempt that switched could not say so any more
        await conclude_switch(context, old=replaced, new=begun)
        return _resumed_result(operation, old=replaced, new=begun)
    target = read_target(operation.config)
    if operation.config.get("dry_run"):
        return await plan_rebuild(context, operation, collection, old, target)
    level = choose_level(old, target, tokenizers=context.resources.limits.tokenizers)
    started = time.monotonic()
    is_begun = begun is not None and begun.state is GenerationState.BUILDING
    await context.report.send_update(
        "reindex_preflight", await describe_rebuild(context, collection, old, target, level)
    )
    if level is Level.INDEX:
        result = await change_index(context, operation, collection, old, target)
        return {**result, "seconds": round(operation.ran_seconds + time.monotonic() - started, 3)}
    new = begun if is_begun and begun is not None else await _begin(context, operation, collection, target)
    rebuilding = Rebuilding(job=context, operation=operation, collection=collection, old=old, new=new, level=level)
    result = await _see_through(rebuilding)
    return {**result, "seconds": round(operation.ran_seconds + time.monotonic() - started, 3)}


async def _begin(context: JobContext, operation: Operation, collection: Collection, target: Target) -> Generation:
    fingerprint, canaries = await take_canaries(context.find_embedder(target.model))
    wanted = replace(
        collection,
        model=target.model,
        chunking=target.chunking,
        index_settings=target.index.to_config(),
        sparse_settings=target.sparse.to_config(),
    )
    async with context.resources.database.fenced(context.lease) as connection:
        generation = await CollectionRepository(connection).add_generation(
            wanted,
            dimension=dimension_of(canaries),
            fingerprint=fingerprint,
            canaries=canaries,
            operation_id=operation.id,
        )
    await context.report.send_update(
        "generation_created",
        {"generation": generation.name, "dimension": generation.dimension, "model": generation.model},
    )
    return generation


async def _see_through(rebuilding: Rebuilding) -> dict[str, Any]:
    context = rebuilding.job
    built = await rebuilding.bring_up_to_date()
    if rebuilding.new.index_settings:
        await wait_until_indexed(context, rebuilding.new.name)
    gate = Gate(
        job=context,
        operation=rebuilding.operation,
        collection=rebuilding.collection,
        old=rebuilding.old,
        new=rebuilding.new,
        is_same_text=rebuilding.level is not Level.SOURCE,
    )
    try:
        result = await gate.require(await rebuilding.summarise(built))
    except ValidationFailedError:
        if rebuilding.operation.config.get("keep_refused"):
            async with context.resources.database.fenced(context.lease) as connection:
                await CollectionRepository(connection).keep_refused(rebuilding.new)
        raise
    await rebuilding.switch(watch_minutes=rebuilding.operation.config.get("watch_minutes"))
    return result


def _resumed_result(operation: Operation, *, old: Generation | None, new: Generation) -> dict[str, Any]:
    """What the attempt before has kept of it; it was committed before the switch."""
    switch = {"from": None if old is None else old.name, "to": new.name}
    return {**switch, **(operation.result or {})}

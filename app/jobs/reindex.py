"""REINDEX: make a collection anew beside the one that serves, and switch once the new one has passed its gate."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

from app.db.attempts import AttemptRepository
from app.db.collections import CollectionRepository
from app.db.search_logs import SearchLogRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import DomainError
from app.domain.operations import Operation
from app.domain.ports import Embedder
from app.domain.rebuild_errors import NothingToRebuildError, ValidationFailedError
from app.domain.rebuilds import Level, Target, choose_level, read_target
from app.embedders.fingerprint import dimension_of, take_canaries
from app.embedders.missing import MissingEmbedder
from app.evaluation.policy import parse_policy
from app.evaluation.report import Report
from app.jobs.context import JobContext
from app.jobs.rebuild_plan import describe_rebuild, plan_rebuild
from app.jobs.rebuilding import Rebuilding, conclude_switch
from app.pipeline.validation.gate import validate
from app.pipeline.validation.sides import GivenQuery, Side, Sizes, Validation
from app.search.service import SearchService


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
    report = await _validate(rebuilding)
    told = {**report.to_dict()}
    result = {**await rebuilding.summarise(built), "validation": told}
    # however it ends, and also if the attempt that switches cannot say so any more
    async with context.resources.database.fenced(context.lease) as connection:
        await AttemptRepository(connection).keep_result(context.lease, result)
    await context.report.send_update("validation_complete", told)
    if not report.passed:
        if rebuilding.operation.config.get("keep_refused"):
            async with context.resources.database.fenced(context.lease) as connection:
                await CollectionRepository(connection).keep_refused(rebuilding.new)
        raise ValidationFailedError([check.name for check in report.checks if check.hard and not check.passed])
    await rebuilding.switch(watch_minutes=rebuilding.operation.config.get("watch_minutes"))
    return result


async def _validate(rebuilding: Rebuilding) -> Report:
    context, resources = rebuilding.job, rebuilding.job.resources
    search = SearchService(resources.database, resources.store, resources.find_embedder)

    async def tell(stage: str, done: int, total: int) -> None:
        await context.report.send_update("validation_progress", {"stage": stage, "done": done, "total": total})

    async with resources.database.begin() as connection:
        asked = await SearchLogRepository(connection).list_recent_queries(rebuilding.collection.id, limit=Sizes().given)
    return await validate(
        Validation(
            database=resources.database,
            store=resources.store,
            processes=resources.processes,
            find_hits=partial(search.find_hits, rebuilding.collection),
            old=Side(generation=rebuilding.old, embedder=_find_old_embedder(context, rebuilding.old)),
            new=Side(generation=rebuilding.new, embedder=context.find_embedder(rebuilding.new.model)),
            policy=parse_policy(rebuilding.operation.config.get("gate")),
            given=[GivenQuery(text=query) for query in asked],
            is_same_text=rebuilding.level is not Level.SOURCE,
            tokenizer=resources.limits.tokenizers.get(rebuilding.new.model),
            sizes=Sizes().scaled(resources.gate_sample),
            tell=tell,
        )
    )


def _find_old_embedder(context: JobContext, old: Generation) -> Embedder:
    """The model of the generation that serves, which may be gone: then what needs it says so."""
    try:
        return context.resources.find_embedder(old.model)
    except DomainError as error:
        return MissingEmbedder(old.model, error)


def _resumed_result(operation: Operation, *, old: Generation | None, new: Generation) -> dict[str, Any]:
    """What the attempt before has kept of it; it was committed before the switch."""
    switch = {"from": None if old is None else old.name, "to": new.name}
    return {**switch, **(operation.result or {})}

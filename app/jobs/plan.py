"""PLAN: say what indexing a source would do, take and cost, without doing it."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from app.db.collections import CollectionRepository
from app.db.plans import list_results
from app.db.sources import SourceRepository
from app.domain.collections import GenerationState
from app.domain.documents import Chunking, ChunkingStrategy, Source
from app.domain.errors import DomainError
from app.domain.operations import Operation
from app.embedders.fingerprint import take_canaries
from app.jobs.append import open_cache, open_ingest
from app.jobs.context import JobContext
from app.pipeline.cache import EmbeddingCache
from app.pipeline.context import IngestContext
from app.pipeline.estimate import MeasuredBy, Price, Rates, calibrate, estimate_seconds, read_rates
from app.pipeline.plan import Plan, PlanContext, Sample
from app.sources.kinds import kind_of

MEASURED_OPERATIONS = 5
LEAST_TOKENS = 5000
"""Operations that embedded fewer say little about speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What would be indexed, with what; ``ingest`` is None while the collection has no generation."""

    source: Source
    model: str
    chunking: Chunking
    ingest: IngestContext | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an operation would have to do, and how long it took to find out."""

    prepare_seconds: float
    tokens: int
    points: int


async def plan_source(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Scan and prepare the source as the real operation would, count, and estimate the rest."""
    resources = context.resources
    target = await _find_target(context, operation)
    # a model that nobody serves would fail the real operation too
    resources.find_embedder(target.model)
    started = time.monotonic()
    planned = PlanContext(
        database=resources.database,
        processes=resources.processes,
        limits=resources.limits,
        report=context.report,
        operation_id=operation.id,
        source=target.source,
        model=target.model,
        chunking=target.chunking,
        ingest=target.ingest,
        cache=target.ingest.cache if target.ingest else await _find_cache(context, target.model),
        should_yield=context.should_yield,
    )
    async with resources.open_source(target.source) as adapter:
        plan = Plan(planned, adapter)
        await plan.run()
    prepared = time.monotonic() - started
    result = {
        "source": target.source.url,
        "model": target.model,
        "chunk_size": target.chunking.size,
        "chunk_overlap": target.chunking.overlap,
        "chunk_strategy": target.chunking.strategy.value,
        **plan.tally.result(),
        "estimate": await estimate(
            context,
            operation,
            plan.sample,
            model=target.model,
            work=Work(prepare_seconds=prepared, tokens=plan.tally.tokens, points=plan.tally.points),
        ),
        "cost": cost_of(resources.price, target.model, plan.tally.tokens),
        "seconds": round(time.monotonic() - started, 3),
    }
    await context.report.send_update("plan_completed", result)
    return result


async def _find_cache(context: JobContext, model: str) -> EmbeddingCache | None:
    """The cache that a new collection's first operation would use; None also if the model does not answer now."""
    embedder = context.resources.find_embedder(model)
    if embedder.cache_prefix is None:
        return None
    try:
        dimension = await embedder.dimension()
        fingerprint, _ = await take_canaries(embedder)
    except DomainError:
        return None
    return open_cache(context.resources, embedder, fingerprint=fingerprint, dimension=dimension)


def cost_of(price: Price | None, model: str, tokens: int) -> dict[str, Any] | None:
    """Only the model that the price was said for has one; a collection may have been made with another."""
    return None if price is None or price.model != model else price.cost_of(tokens)


async def _find_target(context: JobContext, operation: Operation) -> _Target:
    config = operation.config
    if operation.collection_id is None:
        chunking = config["chunking"]
        return _Target(
            source=_new_source(uuid4(), config["source"]),
            model=config["model"],
            chunking=Chunking(**{**chunking, "strategy": ChunkingStrategy(chunking["strategy"])}),
            ingest=None,
        )
    async with context.resources.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(operation.user_id, operation.collection_id)
        generation = await collections.find_generation(collection.id, GenerationState.ACTIVE)
        if "source_id" in config:
            source = await SourceRepository(connection).get(collection.id, UUID(config["source_id"]))
        else:
            source = _new_source(collection.id, config["source"])
    if generation is None:
        return _Target(source=source, model=collection.model, chunking=collection.chunking, ingest=None)
    ingest = open_ingest(context, collection, generation)
    return _Target(source=source, model=generation.model, chunking=generation.chunking, ingest=ingest)


def _new_source(collection_id: UUID, said: dict[str, Any]) -> Source:
    sealed = said.get("secrets")
    return Source(
        id=uuid4(),
        collection_id=collection_id,
        kind=kind_of(said["url"]),
        url=said["url"],
        config={name: value for name, value in said.items() if name not in {"url", "secrets"}},
        secrets=None if sealed is None else sealed.encode(),
    )


async def estimate(
    context: JobContext, operation: Operation, sample: Sample, *, model: str, work: Work
) -> dict[str, Any]:
    """Low and high bound in seconds, and what they were measured by; no bounds if the model does not answer."""
    rates = None
    if work.tokens:
        try:
            rates = await find_rates(context, operation, model, sample)
        except DomainError as error:
            return {"seconds": None, "measured_by": None, "error_code": error.code}
    seconds = estimate_seconds(rates, prepare_seconds=work.prepare_seconds, tokens=work.tokens, points=work.points)
    return {"seconds": seconds, "measured_by": None if rates is None else rates.measured_by.value, "error_code": None}


async def find_rates(context: JobContext, operation: Operation, model: str, sample: Sample) -> Rates:
    """How fast the model embeds: by operations of the collection or the user, else by one batch.

    Raises:
        DomainError: as ``Embedder.embed_documents``.
    """
    resources = context.resources
    async with resources.database.begin() as connection:
        results, is_own = await list_results(
            connection,
            operation.user_id,
            collection_id=operation.collection_id,
            model=model,
            least_tokens=LEAST_TOKENS,
            limit=MEASURED_OPERATIONS,
        )
    rates = read_rates(results, MeasuredBy.COLLECTION if is_own else MeasuredBy.USER)
    return rates or await calibrate(
        resources.find_embedder(model),
        sample.texts,
        tokens=sample.tokens,
        lanes=resources.limits.embedding_concurrency,
    )

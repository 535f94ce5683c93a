"""BENCHMARK: ask a dataset's queries, score what was found, and say what is better than what."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from app.db.benchmark_datasets import DatasetRepository
from app.db.benchmarks import BenchmarkRepository
from app.db.collections import CollectionRepository
from app.domain.benchmark_datasets import DatasetContent, DatasetNotFoundError, DatasetQuery
from app.domain.benchmarks import Benchmark, NothingJudgedError, RunSpec
from app.domain.collections import Collection, Generation
from app.domain.kept_mapping import KeptMapping
from app.domain.operations import Operation, ProductState
from app.domain.points import SearchMode, Vectors
from app.embedders.fingerprint import check_canaries
from app.evaluation.measures import parse_measure
from app.jobs.context import JobContext
from app.jobs.synthetic import make_dataset
from app.pipeline.benchmark.asking import Asking
from app.pipeline.benchmark.mapping import map_dataset
from app.pipeline.benchmark.partial import PartialScores
from app.pipeline.benchmark.scoring import Scoring, score_in_child
from app.search.service import SearchService


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A benchmark with everything it is measured by."""

    benchmark: Benchmark
    collection: Collection
    runs: Sequence[tuple[RunSpec, Generation]]
    queries: Sequence[DatasetQuery]
    mapping: KeptMapping


async def run_benchmark(context: JobContext, operation: Operation) -> dict[str, Any]:
    """Ask, score, keep. An attempt goes on with the queries that an earlier one has not asked."""
    started = time.monotonic()
    benchmark = await _take_up(context, operation)
    if benchmark.state is ProductState.COMPLETED and benchmark.report is not None:
        # the attempt that kept it could not say so any more
        return _result(benchmark, benchmark.report, operation.ran_seconds)
    begun = await _begin(context, benchmark)
    benchmark = begun.benchmark
    await context.report.send_update("benchmark_started", _describe(begun))
    async with context.resources.database.begin() as connection:
        is_fresh = not await BenchmarkRepository(connection).list_finished(benchmark.id)
    asking = time.monotonic()
    await _ask(context, begun)
    asked_seconds = time.monotonic() - asking if is_fresh else None
    report = await _score(context, begun, asked_seconds=asked_seconds)
    await context.report.send_update(
        "benchmark_completed", {"benchmark_id": str(benchmark.id), "best": report["best"]["name"]}
    )
    return _result(benchmark, report, operation.ran_seconds + time.monotonic() - started)


async def _take_up(context: JobContext, operation: Operation) -> Benchmark:
    benchmark_id = UUID(operation.config["benchmark_id"])
    async with context.resources.database.fenced(context.lease) as connection:
        repository = BenchmarkRepository(connection)
        await repository.begin(benchmark_id)
        return await repository.get(operation.user_id, benchmark_id)


async def _begin(context: JobContext, benchmark: Benchmark) -> _Begun:
    database = context.resources.database
    async with database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(benchmark.user_id, benchmark.collection_id)
        specs = await BenchmarkRepository(connection).list_runs(benchmark.id)
        runs = [(spec, await collections.get_generation(spec.generation_id)) for spec in specs]
    if benchmark.dataset_name is None and benchmark.config.get("synthetic"):
        benchmark = await make_dataset(context, benchmark, collection)
    if benchmark.dataset_id is None:
        raise DatasetNotFoundError(benchmark.dataset_name)
    async with database.begin() as connection:
        content = await DatasetRepository(connection).load_content(benchmark.dataset_id)
    mapping = await _map(context, benchmark, content)
    return _Begun(benchmark=benchmark, collection=collection, runs=runs, queries=content.queries, mapping=mapping)


async def _map(context: JobContext, benchmark: Benchmark, content: DatasetContent) -> KeptMapping:
    """As an earlier attempt has found it: documents may have come and gone since.

    Raises:
        NothingJudgedError: if no query has a relevant document that the collection has.
    """
    async with context.resources.database.begin() as connection:
        kept = await BenchmarkRepository(connection).find_mapping(benchmark.id)
    if kept is not None:
        return kept
    mapping = await map_dataset(context.resources.database, benchmark.collection_id, content)
    judged = (judged for query in content.queries for judged in query.relevant if judged.grade > 0)
    if not any(one.doc in mapping.documents for one in judged):
        raise NothingJudgedError(benchmark.dataset_name or "")
    async with context.resources.database.fenced(context.lease) as connection:
        await BenchmarkRepository(connection).keep_mapping(benchmark.id, mapping)
    return mapping


def _describe(begun: _Begun) -> dict[str, Any]:
    return {
        "benchmark_id": str(begun.benchmark.id),
        "dataset": begun.benchmark.dataset_name,
        "queries": len(begun.queries),
        "runs": [spec.name for spec, _ in begun.runs],
        "coverage": dict(begun.mapping.coverage),
    }


async def _ask(context: JobContext, begun: _Begun) -> None:
    resources, config = context.resources, begun.benchmark.config
    search = SearchService(
        resources.database, resources.store, resources.find_embedder, reranker=context.find_reranker()
    )
    await _check_models(context, begun)

    async def embed(generation: Generation, text: str) -> Vectors:
        return await context.find_embedder(generation.model).embed_query(text)

    primary = parse_measure(config["primary"])
    # a large dataset has 100 000 judgments
    partial_scores = await asyncio.to_thread(PartialScores, begun.queries, begun.mapping, primary)
    await Asking(
        database=resources.database,
        lease=context.lease,
        report=context.report,
        benchmark_id=begun.benchmark.id,
        runs=begun.runs,
        queries=begun.queries,
        embed=embed,
        rank=partial(search.rank, begun.collection),
        top_k=config["top_k"],
        at_once=config["concurrency"],
        primary=primary.name,
        score=partial_scores.score,
        should_yield=context.should_yield,
        note_progress=context.note_progress,
    ).run()


async def _check_models(context: JobContext, begun: _Begun) -> None:
    """Before any query is timed.

    Raises:
        EmbedderChangedError: if a model is not the one its generation was built with.
    """
    asked = {generation.id: generation for spec, generation in begun.runs if spec.settings.mode is not SearchMode.BM25}
    for generation in asked.values():
        embedder = context.find_embedder(generation.model)
        await check_canaries(embedder, generation.canaries, dimension=generation.dimension)


async def _score(context: JobContext, begun: _Begun, *, asked_seconds: float | None) -> dict[str, Any]:
    """The report, kept with the values of each query."""
    scored = await score_in_child(
        Scoring(
            database=context.resources.database,
            processes=context.resources.processes,
            benchmark=begun.benchmark,
            runs=[spec for spec, _ in begun.runs],
            queries=begun.queries,
            mapping=begun.mapping,
            asked_seconds=asked_seconds,
        )
    )
    async with context.resources.database.fenced(context.lease) as connection:
        await BenchmarkRepository(connection).complete(begun.benchmark.id, scored.report, scored.per_query)
    return scored.report


def _result(benchmark: Benchmark, report: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What of a report belongs into the operation: the rest is long."""
    kept = ("queries", "queries_failed", "coverage", "verdicts", "notes", "asking")
    return {
        "benchmark_id": str(benchmark.id),
        "dataset": benchmark.dataset_name,
        "is_synthetic": benchmark.is_synthetic,
        "primary": benchmark.config["primary"],
        "best": report["best"]["name"],
        "best_words": report["best"]["words"],
        "runs": [_shorten(run) for run in report["runs"]],
        **{name: report[name] for name in kept},
        "seconds": round(seconds, 3),
    }


def _shorten(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run without what is only drawn."""
    return {**run, "latency_ms": {name: value for name, value in run["latency_ms"].items() if name != "curve"}}

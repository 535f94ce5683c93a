"""Benchmarks, as callers create, read and delete them."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.benchmark_datasets import DatasetRepository
from app.db.benchmarks import BenchmarkRepository
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.operations import OperationRepository
from app.domain.audit import Subject
from app.domain.benchmark_datasets import Dataset, DatasetContent, DatasetNotFoundError
from app.domain.benchmarks import (
    ACTIVE,
    MOST_FOUND,
    MOST_RUNS,
    BaselineMismatchError,
    Benchmark,
    BenchmarkChoice,
    BenchmarkNotFinishedError,
    BenchmarkRunNotFoundError,
    InvalidBenchmarkError,
    ListedBenchmark,
    NewBenchmark,
    QueryResult,
    RunSpec,
)
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.comparison import GenerationUnknownError
from app.domain.errors import CollectionNotReadyError
from app.domain.kept_mapping import KeptMapping
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, ProductState, Submission
from app.domain.reranker_errors import RerankerMissingError
from app.evaluation.conditions import parse_condition
from app.evaluation.measures import DEFAULT_MEASURES, PRIMARY, Measure, MeasureKind, parse_measure
from app.evaluation.rendering import render_html, render_markdown
from app.evaluation.trec import write_qrels, write_run
from app.operations.service import OperationService

JUDGED_K = 10


class BenchmarkService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(self, database: Database, operations: OperationService, *, has_reranker: bool = False) -> None:
        self._database = database
        self._operations = operations
        self._has_reranker = has_reranker

    async def create(
        self,
        user_id: UUID,
        id_or_name: str,
        choice: BenchmarkChoice,
        *,
        submission: Submission = PLAIN,
        is_attached: bool = False,
    ) -> Operation:
        """Add a BENCHMARK; its generations are settled now, whatever is switched meanwhile.

        ``is_attached`` says that it is begun because its dataset is attached to the collection.

        Raises:
            CollectionNotFoundError, CollectionNotReadyError, BenchmarkDatasetNotFoundError, GenerationUnknownError.
            BenchmarkNotFoundError, BenchmarkRunNotFoundError, BenchmarkNotFinishedError: of the baseline.
            BaselineMismatchError: if the baseline was judged by another dataset.
            IdempotencyKeyUsedError: if the key is that of an operation of another kind.
            InvalidMeasureError, InvalidConditionError, InvalidBenchmarkError, RerankerMissingError.
        """
        config = check_choice(choice) | ({"is_attached": True} if is_attached else {})
        if any(one.rerank for one in choice.settings) and not self._has_reranker:
            raise RerankerMissingError
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            known = await OperationRepository(connection).find_submitted(user_id, submission, OperationKind.BENCHMARK)
            if known is not None:
                return known
            dataset = await _find_dataset(connection, user_id, choice)
            runs = await _plan_runs(connection, collection, choice)
            _require_bounded(
                choice, queries=dataset.queries if dataset else 3 * (choice.synthetic or 0), runs=len(runs)
            )
            config |= {"baseline": await _settle_baseline(connection, user_id, choice, dataset)}
            if choice.fail_if and config["baseline"] is None:
                _require_absolute(choice.fail_if)
            new = NewBenchmark(
                user_id=user_id,
                collection_id=collection.id,
                dataset_id=dataset.id if dataset else None,
                runs=runs,
                config=config,
            )
            operation, is_new = await _add(connection, new, submission)
        return await self._operations.launch(operation) if is_new else operation

    async def get(self, user_id: UUID, benchmark_id: str) -> Benchmark:
        """Raises BenchmarkNotFoundError, also for somebody else's."""
        async with self._database.begin() as connection:
            return await BenchmarkRepository(connection).get(user_id, benchmark_id)

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> list[ListedBenchmark]:
        """Of a collection, newest first. Raises CollectionNotFoundError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            return await BenchmarkRepository(connection).list_newest(collection.id, limit=limit)

    async def delete(self, user_id: UUID, benchmark_id: str) -> None:
        """With its results. Raises BenchmarkNotFoundError; a running one has to be cancelled before.

        Raises:
            BenchmarkNotFinishedError: if its operation has not ended.
        """
        async with self._database.begin() as connection:
            repository = BenchmarkRepository(connection)
            benchmark = await repository.get(user_id, benchmark_id)
            if benchmark.state is ProductState.RUNNING:
                raise BenchmarkNotFinishedError(benchmark.id, benchmark.state)
            await repository.delete(benchmark.id)
            collection = await CollectionRepository(connection).get(user_id, benchmark.collection_id)
            subject = Subject(kind="benchmark", id=benchmark.id, name=benchmark.dataset_name or "")
            await record(connection, "benchmark.deleted", subject, collection=collection)

    async def write_report(self, user_id: UUID, benchmark_id: str, kind: str) -> tuple[bytes, str]:
        """A report as ``json``, ``markdown`` or ``html``, and its media type.

        Raises:
            BenchmarkNotFoundError.
            BenchmarkNotFinishedError: if there is none yet, or never will be.
        """
        benchmark = await self.get(user_id, benchmark_id)
        if benchmark.report is None:
            raise BenchmarkNotFinishedError(benchmark.id, benchmark.state)
        return await asyncio.to_thread(_write_report, benchmark, kind)

    async def export_run(self, user_id: UUID, benchmark_id: str, run: str) -> bytes:
        """What a run, by its name or number from 1, has found, in TREC format; also while its benchmark is under way.

        Raises:
            BenchmarkNotFoundError, BenchmarkRunNotFoundError.
        """
        async with self._database.begin() as connection:
            repository = BenchmarkRepository(connection)
            benchmark = await repository.get(user_id, benchmark_id)
            runs = await repository.list_runs(benchmark.id)
            number = find_run(runs, run)
            results = await repository.list_results(benchmark.id, number)
        return await asyncio.to_thread(_write_run, results, runs[number].name)

    async def export_qrels(self, user_id: UUID, benchmark_id: str) -> bytes:
        """The judgments that a benchmark was scored by, in TREC format, with the ids of documents that runs have.

        Raises:
            BenchmarkNotFoundError, DatasetNotFoundError.
            BenchmarkNotFinishedError: if it is not known yet which documents they are of.
        """
        async with self._database.begin() as connection:
            benchmark = await BenchmarkRepository(connection).get(user_id, benchmark_id)
            mapping = await BenchmarkRepository(connection).find_mapping(benchmark.id)
            if mapping is None:
                raise BenchmarkNotFinishedError(benchmark.id, benchmark.state)
            if benchmark.dataset_id is None:
                raise DatasetNotFoundError(benchmark.dataset_name)
            content = await DatasetRepository(connection).load_content(benchmark.dataset_id)
        return await asyncio.to_thread(_write_qrels, content, mapping)


def _write_report(benchmark: Benchmark, kind: str) -> tuple[bytes, str]:
    title = f"{benchmark.collection_name} · {benchmark.dataset_name}"
    report = dict(benchmark.report or {})
    if kind == "json":
        return orjson.dumps({"benchmark_id": str(benchmark.id), "title": title, **report}), "application/json"
    if kind == "html":
        return render_html(report, title=title).encode(), "text/html; charset=utf-8"
    return render_markdown(report, title=title).encode(), "text/markdown; charset=utf-8"


def _write_run(results: Sequence[QueryResult], name: str) -> bytes:
    rankings = {}
    for one in results:
        ids = [str(UUID(bytes=one.documents[start : start + 16])) for start in range(0, len(one.documents), 16)]
        scores = np.frombuffer(one.scores, dtype="<f4").tolist()
        rankings[one.query_id] = list(zip(ids, scores, strict=True))
    return write_run(rankings, name=name).encode()


def _write_qrels(content: DatasetContent, mapping: KeptMapping) -> bytes:
    return write_qrels({query.query_id: mapping.grades_of(query) for query in content.queries}).encode()


def find_run(runs: Sequence[RunSpec], run: str) -> int:
    """The place of a run that is named, or counted from 1. Raises BenchmarkRunNotFoundError."""
    names = [spec.name for spec in runs]
    if run in names:
        return names.index(run)
    if run.isdecimal() and 1 <= int(run) <= len(runs):
        return int(run) - 1
    raise BenchmarkRunNotFoundError(run, names)


def check_choice(choice: BenchmarkChoice) -> dict[str, Any]:
    """The part of a benchmark's config that does not depend on what there is.

    The primary measure is always among the measures.

    Raises:
        InvalidBenchmarkError, InvalidMeasureError, InvalidConditionError.
    """
    if (choice.dataset is None) == (choice.synthetic is None):
        raise InvalidBenchmarkError("say either a dataset, or of how many documents queries are to be made")
    primary = parse_measure(choice.primary or PRIMARY).name
    said = [parse_measure(measure) for measure in choice.measures] or DEFAULT_MEASURES
    conditions = [parse_condition(condition) for condition in choice.fail_if]
    # how much of what is found was judged at all says what the others are worth
    judged = Measure(kind=MeasureKind.JUDGED, k=parse_measure(primary).k or JUDGED_K)
    wanted = [*said, *(condition.measure for condition in conditions), judged]
    measures = dict.fromkeys([primary, *(measure.name for measure in wanted)])
    return {
        "top_k": choice.top_k,
        "measures": list(measures),
        "primary": primary,
        "fail_if": list(choice.fail_if),
        "concurrency": choice.concurrency,
        "synthetic": choice.synthetic,
    }


def _require_bounded(choice: BenchmarkChoice, *, queries: int, runs: int) -> None:
    """All of it is scored at once."""
    found = queries * runs * choice.top_k
    if found > MOST_FOUND:
        raise InvalidBenchmarkError(
            f"{queries} queries of {runs} runs with {choice.top_k} documents each find up to {found} documents;"
            f" {MOST_FOUND} are the most: ask for fewer documents, or of fewer runs"
        )


def _require_absolute(conditions: Sequence[str]) -> None:
    """Without a baseline nothing can be compared with it."""
    for condition in conditions:
        if parse_condition(condition).is_relative:
            raise InvalidBenchmarkError(f"the condition {condition!r} names a baseline; say which benchmark that is")


async def _add(connection: AsyncConnection, new: NewBenchmark, submission: Submission) -> tuple[Operation, bool]:
    """A benchmark with its operation, and whether that is new."""
    benchmarks = BenchmarkRepository(connection)
    benchmark_id = await benchmarks.add(new)
    operation = await OperationRepository(connection).add(
        NewOperation(
            user_id=new.user_id,
            collection_id=new.collection_id,
            kind=OperationKind.BENCHMARK,
            config={"benchmark_id": str(benchmark_id)},
            submission=submission,
            writes=False,
        )
    )
    if operation.config.get("benchmark_id") != str(benchmark_id):
        # the same request came twice at once, and the other one was faster
        await benchmarks.delete(benchmark_id)
        return operation, False
    await benchmarks.set_operation(benchmark_id, operation.id)
    return operation, True


async def _find_dataset(connection: AsyncConnection, user_id: UUID, choice: BenchmarkChoice) -> Dataset | None:
    if choice.dataset is None:
        return None
    return await DatasetRepository(connection).get(user_id, choice.dataset)


async def _plan_runs(connection: AsyncConnection, collection: Collection, choice: BenchmarkChoice) -> list[RunSpec]:
    """Every setting on every generation; the name says which, where there are several."""
    standing = await CollectionRepository(connection).list_generations(
        collection.id, GenerationState.ACTIVE, GenerationState.RETIRED
    )
    generations = [_find_generation(collection, standing, name) for name in dict.fromkeys(choice.generations)]
    generations = list({generation.id: generation for generation in generations}.values())
    settings = list(dict.fromkeys(choice.settings))
    if not 1 <= len(settings) * len(generations) <= MOST_RUNS:
        raise InvalidBenchmarkError(
            f"it would have {len(settings) * len(generations)} runs; there are from 1 to {MOST_RUNS}"
        )
    return [
        RunSpec(
            name=one.describe() if len(generations) == 1 else f"{one.describe()} @{generation.name}",
            settings=one,
            generation_id=generation.id,
            generation=generation.name,
        )
        for generation in generations
        for one in settings
    ]


def _find_generation(collection: Collection, standing: Sequence[Generation], name: str) -> Generation:
    if name == ACTIVE:
        active = next((one for one in standing if one.state is GenerationState.ACTIVE), None)
        if active is None:
            raise CollectionNotReadyError(collection.name)
        return active
    named = next((one for one in standing if one.name == name), None)
    if named is None:
        raise GenerationUnknownError(name, [one.name for one in standing])
    return named


async def _settle_baseline(
    connection: AsyncConnection, user_id: UUID, choice: BenchmarkChoice, dataset: Dataset | None
) -> dict[str, Any] | None:
    """The benchmark to compare with, and which of its runs if one was named."""
    if choice.baseline is None:
        return None
    benchmark_id, _, run = choice.baseline.partition(":")
    repository = BenchmarkRepository(connection)
    baseline = await repository.get(user_id, benchmark_id)
    if baseline.state is not ProductState.COMPLETED:
        raise BenchmarkNotFinishedError(baseline.id, baseline.state)
    if dataset is None or baseline.dataset_fingerprint != dataset.fingerprint:
        name = dataset.name if dataset else "made of documents"
        raise BaselineMismatchError(name, baseline.dataset_name or "that is deleted")
    if baseline.config["top_k"] != choice.top_k:
        raise InvalidBenchmarkError(
            f"the baseline asked for {baseline.config['top_k']} documents of each query; ask for as many (top_k)"
        )
    runs = await repository.list_runs(baseline.id)
    return {"benchmark_id": str(baseline.id), "run": runs[find_run(runs, run)].name if run else None}

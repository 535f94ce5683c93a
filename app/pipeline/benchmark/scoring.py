"""Has what a benchmark has found scored, in a child process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db.benchmarks import BenchmarkRepository
from app.db.database import Database
from app.db.document_names import NamedDocument, find_long, load_names, read_mark
from app.domain.benchmark_datasets import DatasetQuery
from app.domain.benchmarks import Benchmark, RunSpec
from app.domain.kept_mapping import KeptMapping
from app.domain.ports import Processes
from app.evaluation.judged_runs import BaselineValues
from app.pipeline.benchmark.judging import AskedRun, Judging, Scored, judge
from app.pipeline.benchmark.partial import ID_BYTES, split_ids

NAMED = 10
"""Of each query's documents, so many are named in a report."""
NAMES_AT_ONCE = 2000
LONG_TOKENS = 512
"""What most models read of a text; what is longer is cut there, or blurred."""
SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A benchmark whose queries have all been asked.

    Attributes:
        asked_seconds: how long that took; None if several attempts have asked.
    """

    database: Database
    processes: Processes
    benchmark: Benchmark
    runs: Sequence[RunSpec]
    queries: Sequence[DatasetQuery]
    mapping: KeptMapping
    asked_seconds: float | None


async def score_in_child(scoring: Scoring) -> Scored:
    """The report, and the values of each query by the numbers of runs."""
    config = scoring.benchmark.config
    runs, shown = await _load_runs(scoring)
    judging = Judging(
        queries=scoring.queries,
        mapping=scoring.mapping,
        long=await _find_long(scoring),
        names=[(one.id.bytes, one.uri, one.title) for one in await _load_names(scoring, shown)],
        runs=runs,
        measures=config["measures"],
        primary=config["primary"],
        conditions=config["fail_if"],
        baseline=await _load_baseline(scoring),
        is_synthetic=scoring.benchmark.is_synthetic,
        top_k=config["top_k"],
        asked_seconds=scoring.asked_seconds,
        concurrency=config["concurrency"],
        has_changed=await _has_changed(scoring),
    )
    return await scoring.processes.run(judge, judging, timeout_seconds=SECONDS)


async def _has_changed(scoring: Scoring) -> bool:
    """Whether documents have come, gone or become others since the benchmark began."""
    async with scoring.database.begin() as connection:
        return await read_mark(connection, scoring.benchmark.collection_id) != scoring.mapping.mark


async def _load_runs(scoring: Scoring) -> tuple[list[AskedRun], set[bytes]]:
    """What each run has found, and the ids of the documents that may be named."""
    shown = {UUID(document).bytes for document in scoring.mapping.documents.values()}
    runs = []
    async with scoring.database.begin() as connection:
        repository = BenchmarkRepository(connection)
        for number, spec in enumerate(scoring.runs):
            run = AskedRun(name=spec.name, settings=spec.settings.to_config(), generation=spec.generation)
            async for results in repository.stream_results(scoring.benchmark.id, number):
                for one in results:
                    run.add(one)
                    shown.update(split_ids(one.documents[: NAMED * ID_BYTES]))
            runs.append(run)
    return runs, shown


async def _load_names(scoring: Scoring, shown: set[bytes]) -> list[NamedDocument]:
    ids = [UUID(bytes=one) for one in shown]
    names: list[NamedDocument] = []
    async with scoring.database.begin() as connection:
        for start in range(0, len(ids), NAMES_AT_ONCE):
            part = ids[start : start + NAMES_AT_ONCE]
            names += await load_names(connection, scoring.benchmark.collection_id, part)
    return names


async def _find_long(scoring: Scoring) -> frozenset[bytes]:
    """Documents with a chunk that most models would not read to its end."""
    ids = [UUID(document) for document in scoring.mapping.documents.values()]
    found: set[UUID] = set()
    async with scoring.database.begin() as connection:
        for generation_id in {spec.generation_id for spec in scoring.runs}:
            for start in range(0, len(ids), NAMES_AT_ONCE):
                found |= await find_long(
                    connection,
                    scoring.benchmark.collection_id,
                    generation_id,
                    ids[start : start + NAMES_AT_ONCE],
                    tokens=LONG_TOKENS,
                )
    return frozenset(one.bytes for one in found)


async def _load_baseline(scoring: Scoring) -> BaselineValues | None:
    """None if there is none, or it was deleted since; the report says so."""
    said: Mapping[str, Any] | None = scoring.benchmark.config.get("baseline")
    if said is None:
        return None
    async with scoring.database.begin() as connection:
        runs = await BenchmarkRepository(connection).load_per_query(UUID(said["benchmark_id"]))
    if said["run"] is not None:
        runs = {name: values for name, values in runs.items() if name == said["run"]}
    return BaselineValues(benchmark_id=said["benchmark_id"], runs=runs)

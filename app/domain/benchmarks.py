"""Benchmarks: how well searches of a collection find what people judged right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Any
from uuid import UUID

from app.domain.errors import ConflictError, InvalidInputError, NotFoundError, PermanentError
from app.domain.operations import ProductState
from app.domain.points import Fusion, SearchMode
from app.domain.search_settings import SearchSettings

ACTIVE = "active"
"""In place of a generation's name: the one that serves when the benchmark is created."""
MOST_RUNS = 64
MOST_TOP_K = 1000
TOP_K = 100
CONCURRENCY = 4
MOST_CONCURRENCY = 16
MOST_FOUND = 10_000_000
"""Documents that all queries of all runs may find; they are scored in one process."""
MOST_COMBINATIONS = 10 * MOST_RUNS
OF_RANKS = ("fusion_k", "dense_weight", "bm25_weight")
"""Settings of reciprocal rank fusion."""
OF_HYBRID = ("fusion", "fusion_k", "dense_weight", "bm25_weight", "candidates")
"""Settings that change nothing where there is one ranking."""


class InvalidBenchmarkError(InvalidInputError):
    """A benchmark that cannot be run as it was asked for."""

    code = "invalid_benchmark"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the benchmark cannot be run: {reason}")


class BenchmarkNotFoundError(NotFoundError):
    """The caller has no such benchmark."""

    code = "benchmark_not_found"

    def __init__(self, benchmark: object) -> None:
        super().__init__(f"there is no benchmark {benchmark}; `vecloom benchmarks COLLECTION` lists those there are")


class BenchmarkRunNotFoundError(NotFoundError):
    """A benchmark has no run of this name or number."""

    code = "benchmark_run_not_found"

    def __init__(self, run: str, known: Sequence[str]) -> None:
        super().__init__(f"the benchmark has no run {run!r}; there are: {', '.join(known)}")


class BenchmarkNotFinishedError(ConflictError):
    """What is asked for is there once a benchmark has completed."""

    code = "benchmark_not_finished"

    def __init__(self, benchmark: object, state: str) -> None:
        super().__init__(f"benchmark {benchmark} is {state}; its report is there once it has completed")


class BaselineMismatchError(ConflictError):
    """A benchmark and its baseline were not judged by the same dataset."""

    code = "benchmark_baseline_mismatch"

    def __init__(self, dataset: str, baseline: str) -> None:
        super().__init__(
            f"the baseline was measured with dataset {baseline!r}, whose queries or judgments are others than those of"
            f" {dataset!r}; compare benchmarks of one dataset"
        )


class BenchmarkNotAttachedError(NotFoundError):
    """A dataset is not attached to the collection."""

    code = "benchmark_not_attached"

    def __init__(self, dataset: str, collection: str) -> None:
        super().__init__(f"dataset {dataset!r} is not attached to collection {collection!r}")


class NothingJudgedError(PermanentError):
    """No query of a dataset has a relevant document, so nothing can be measured."""

    code = "benchmark_without_judgments"

    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"no judged document of dataset {dataset!r} is in the collection, so no search could find one;"
            " `vecloom datasets coverage` shows why"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run of a benchmark: some settings of search on one generation.

    Attributes:
        generation: its physical name.
    """

    name: str
    settings: SearchSettings
    generation_id: UUID
    generation: str

    def to_config(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "name": self.name,
            "settings": self.settings.to_config(),
            "generation_id": str(self.generation_id),
            "generation": self.generation,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "RunSpec":
        """As it was stored."""
        return cls(
            name=config["name"],
            settings=SearchSettings.from_config(config["settings"]),
            generation_id=UUID(config["generation_id"]),
            generation=config["generation"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkChoice:
    """What a caller wants measured.

    Attributes:
        dataset: id or name; None if the queries are made of documents.
        synthetic: of how many documents they are made then.
        settings: one for each run on each generation.
        generations: names, or ``active``.
        top_k: how many documents each query asks for.
        measures: as ``app/evaluation/measures.py`` names them.
        primary: the measure that runs are ordered and compared by.
        baseline: id of a benchmark, or ``id:name of its run``.
        fail_if: conditions of the best run, or of each run of the baseline's name; see docs/search-quality.md.
        concurrency: queries that are asked at the same time.
    """

    dataset: str | None = None
    synthetic: int | None = None
    settings: tuple[SearchSettings, ...]
    generations: tuple[str, ...] = (ACTIVE,)
    top_k: int = TOP_K
    measures: tuple[str, ...] = ()
    primary: str | None = None
    baseline: str | None = None
    fail_if: tuple[str, ...] = ()
    concurrency: int = CONCURRENCY

    def to_config(self) -> dict[str, Any]:
        """As it is stored to be done again; not of what."""
        return {
            "settings": [one.to_config() for one in self.settings],
            "generations": list(self.generations),
            "top_k": self.top_k,
            "measures": list(self.measures),
            "primary": self.primary,
            "baseline": self.baseline,
            "fail_if": list(self.fail_if),
            "concurrency": self.concurrency,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, dataset: str) -> "BenchmarkChoice":
        """As it was stored."""
        return cls(
            dataset=dataset,
            settings=tuple(SearchSettings.from_config(one) for one in config["settings"]),
            generations=tuple(config["generations"]),
            top_k=config["top_k"],
            measures=tuple(config["measures"]),
            primary=config["primary"],
            baseline=config["baseline"],
            fail_if=tuple(config["fail_if"]),
            concurrency=config["concurrency"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBenchmark:
    """A benchmark to be created; ``dataset_id`` is None until queries are made of documents."""

    user_id: UUID
    collection_id: UUID
    dataset_id: UUID | None
    runs: Sequence[RunSpec]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A row of ``benchmarks``.

    Attributes:
        dataset_id: None once the dataset is deleted.
        config: what it was asked for, the runs aside.
        report: what was found, once it has completed.
    """

    id: UUID
    collection_id: UUID
    collection_name: str
    user_id: UUID
    operation_id: UUID | None
    dataset_id: UUID | None
    dataset_name: str | None
    dataset_fingerprint: bytes | None
    is_synthetic: bool
    state: ProductState
    config: Mapping[str, Any]
    report: Mapping[str, Any] | None = field(default=None, repr=False)
    error_code: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBenchmark:
    """A benchmark, and what its report says of its runs and its conditions once it has completed."""

    benchmark: Benchmark
    runs: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What a benchmark is run for again and again.

    Attributes:
        is_gate: whether a rebuild asks the dataset's queries too, and is refused if they find less.
        after_reindex: whether it is run once another generation serves.
        every_seconds: how often it is run; None for not by the clock.
        config: how it is run: what ``POST …/benchmarks`` takes, the dataset aside.
    """

    is_gate: bool = True
    after_reindex: bool = True
    every_seconds: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedBenchmark:
    """A dataset that is attached to a collection.

    Attributes:
        next_at: when it is due by the clock.
        last_benchmark_id: the newest benchmark it was run as; later ones have it as their baseline.
        last_error_code: why it could not be begun when it was due last.
        active_generation_id: the generation that serves now.
    """

    collection_id: UUID
    user_id: UUID
    dataset_id: UUID
    dataset_name: str
    attachment: Attachment
    next_at: datetime | None = None
    last_benchmark_id: UUID | None = None
    last_error_code: str | None = None
    active_generation_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What one query of one run has found.

    Attributes:
        number: the query's place in the dataset.
        documents: ids of 16 bytes each, best first.
        scores: little-endian float32, one for each document.
        embed_ms: what its vector took; 0 where none is needed.
        search_ms: what the rest took. Neither counts waiting for a turn.
        error_code: why it has no answer; None if it has one.
    """

    run: int
    number: int
    query_id: str
    documents: bytes = field(default=b"", repr=False)
    scores: bytes = field(default=b"", repr=False)
    embed_ms: float = 0.0
    search_ms: float = 0.0
    error_code: str | None = None


def expand_matrix(matrix: Mapping[str, Sequence[Any]]) -> list[SearchSettings]:
    """Every combination of values of settings; those that come to the same are one.

    Raises:
        InvalidSearchSettingsError: if a combination cannot be used.
        InvalidBenchmarkError: if a list is empty or there are too many combinations.
    """
    empty = next((name for name, values in matrix.items() if not values), None)
    if empty is not None:
        raise InvalidBenchmarkError(f"the matrix has no value for {empty}")
    count = 1
    for values in matrix.values():
        count *= len(values)
    if count > MOST_COMBINATIONS:
        raise InvalidBenchmarkError(f"the matrix has {count} combinations; a benchmark has at most {MOST_RUNS} runs")
    for name, values in matrix.items():
        for value in values:
            SearchSettings.from_config({name: value}, is_checked=False)
    combined = [_combine(dict(zip(matrix, values, strict=True))) for values in product(*matrix.values())]
    return list(dict.fromkeys(settings for settings in combined if settings is not None))


def _combine(values: dict[str, Any]) -> SearchSettings | None:
    """Settings, without what nothing heeds beside the others; None if both rankings have no weight."""
    if values.get("mode") not in (None, SearchMode.HYBRID):
        values = {name: value for name, value in values.items() if name not in OF_HYBRID}
    elif values.get("fusion") == Fusion.DBSF:
        values = {name: value for name, value in values.items() if name not in OF_RANKS}
    if not values.get("rerank"):
        values.pop("rerank_depth", None)
    if values.get("dense_weight") == values.get("bm25_weight") == 0:
        return None
    return SearchSettings.from_config(values)

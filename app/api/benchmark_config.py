"""What callers say about a benchmark."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.reindex_config import MaxRuntime
from app.domain.benchmarks import (
    ACTIVE,
    CONCURRENCY,
    MOST_CONCURRENCY,
    MOST_RUNS,
    MOST_TOP_K,
    TOP_K,
    BenchmarkChoice,
    InvalidBenchmarkError,
    expand_matrix,
)
from app.domain.search_settings import SearchSettings

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
MODES = ({"mode": "dense"}, {"mode": "bm25"}, {"mode": "hybrid"})
MOST_SYNTHETIC = 300
"""Documents that queries are made of, up to three each."""


class Measured(BaseModel):
    """How something is measured: all of ``runs`` and of ``matrix`` on every generation, or else the three modes."""

    runs: list[dict[str, Any]] = Field(
        default=[], max_length=MOST_RUNS, description="Settings of search; docs/search.md."
    )
    matrix: dict[str, list[Any]] | None = Field(
        default=None, description="Values of settings, of which every combination is a run."
    )
    generations: list[Name] = Field(default=[ACTIVE], min_length=1, max_length=MOST_RUNS)
    top_k: int = Field(default=TOP_K, ge=1, le=MOST_TOP_K, description="How many documents each query asks for.")
    measures: list[Name] = Field(default=[], max_length=50, description="Such as `ndcg@10`; docs/metrics.md.")
    primary: Name | None = Field(default=None, description="The measure that runs are compared by; `ndcg@10`.")
    baseline: Name | None = Field(
        default=None, description="A benchmark to compare with: its id, or `id:name of a run`."
    )
    fail_if: list[Name] = Field(default=[], max_length=20, description="Conditions; docs/search-quality.md.")
    concurrency: int = Field(default=CONCURRENCY, ge=1, le=MOST_CONCURRENCY)

    def choose(self, *, dataset: str | None, synthetic: int | None = None) -> BenchmarkChoice:
        """The same as the services take it.

        Raises:
            InvalidSearchSettingsError, InvalidBenchmarkError.
        """
        said = [SearchSettings.from_config(run) for run in self.runs]
        if self.matrix is not None:
            if not self.matrix:
                raise InvalidBenchmarkError("the matrix is empty")
            said += expand_matrix(self.matrix)
        return BenchmarkChoice(
            dataset=dataset,
            synthetic=synthetic,
            settings=tuple(said) or tuple(SearchSettings.from_config(mode) for mode in MODES),
            generations=tuple(self.generations),
            top_k=self.top_k,
            measures=tuple(self.measures),
            primary=self.primary,
            baseline=self.baseline,
            fail_if=tuple(self.fail_if),
            concurrency=self.concurrency,
        )


class BenchmarkConfig(Measured):
    """What is measured, and with which queries."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"dataset": "cranfield"},
                {"dataset": "cranfield", "matrix": {"mode": ["hybrid"], "fusion_k": [10, 60, 120]}},
                {
                    "dataset": "cranfield",
                    "runs": [{"mode": "hybrid"}],
                    "baseline": "5a6f3c1e-8a52-4d0e-9a77-0f6f0f4f2b10",
                    "fail_if": ["ndcg@10 < baseline - 0.01"],
                },
            ]
        },
    )

    dataset: Name | None = Field(default=None, description="Id or name of a benchmark dataset.")
    synthetic: int | None = Field(
        default=None, ge=1, le=MOST_SYNTHETIC, description="Make queries of so many documents instead."
    )
    max_runtime_seconds: MaxRuntime = None

    def choice(self) -> BenchmarkChoice:
        """The same as the services take it; raises as ``choose`` does."""
        return self.choose(dataset=self.dataset, synthetic=self.synthetic)

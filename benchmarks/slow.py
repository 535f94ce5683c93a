"""How busy Vecloom keeps a model server that takes its time."""

import asyncio
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.models import MODEL, ModelServer, Shape, serving_model, sum_up
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom
from benchmarks.worker import REAL

DOCUMENTS = 10_000
SHAPES = (Shape(latency_ms=50), Shape(latency_ms=200))
"""What 32 texts take: as on a fast accelerator, and on a slower one."""


class VecloomWithModel(Vecloom):
    """Its workers use a model server."""

    def __init__(self, bench: Bench, folder: Path, model: ModelServer, **variables: str) -> None:
        super().__init__(bench, folder)
        self._variables = {**model.environment(), **variables}

    def environment(self) -> dict[str, str]:
        """See the base."""
        return super().environment() | self._variables


async def bench_slow_embedder(bench: Bench, documents: int = DOCUMENTS) -> Figures:
    """One folder for each model server, so long that either has work for half a minute."""
    figures: Figures = {}
    for shape in SHAPES:
        share = documents * SHAPES[0].latency_ms / shape.latency_ms
        measured = await measure_busy(bench, shape, documents=round(share))
        name = f"{shape.latency_ms:.0f}ms"
        figures |= {f"{name}_{figure}": value for figure, value in measured.items()}
    return figures | {"embedder_busy_ratio": figures["50ms_embedder_busy_ratio"]}


async def measure_busy(bench: Bench, shape: Shape, *, documents: int) -> Figures:
    """Index a folder with a worker of its own; figures as Vecloom reports them and as the server saw it."""
    name = f"slow-{shape.latency_ms:.0f}"
    # texts of its own, for those that were embedded before would come from the cache
    corpus = await asyncio.to_thread(write_corpus, bench.folder / name, documents, seed=round(shape.latency_ms))
    warm = await asyncio.to_thread(write_corpus, bench.folder / f"{name}-warm", min(100, documents), seed=7)
    async with serving_model(shape) as model:
        system = VecloomWithModel(bench, bench.folder / f"{name}-system", model)
        async with system, system.workers(REAL, 1):
            await bench.index(f"{name}-warm", warm.folder, model=MODEL)
            await model.forget()
            operation = await bench.index(name, corpus.folder, model=MODEL, poll_seconds=POLL_SECONDS)
        served = await model.read_log()
    result = operation.result or {}
    if operation.started_at is None or operation.finished_at is None:
        raise SystemExit("the operation has no end")
    started, finished = operation.started_at.timestamp(), operation.finished_at.timestamp()
    return {
        "documents": documents,
        "chunks": result["chunks"],
        "seconds": round(seconds_of(operation), 2),
        "texts_per_second": round(result["chunks"] / seconds_of(operation)),
        "texts_per_second_the_server_could_do": round(shape.texts_per_second),
        "embedder_busy_ratio": result["embedder_busy_ratio"],
        **sum_up(served, shape, started=started, finished=finished),
        "limiting_stage": result["limiting_stage"],
    }

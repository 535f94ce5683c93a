"""One operation over many documents, shared by 1, 2, 4 and 8 worker processes."""

import asyncio
import os
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.cpu import read_busy_share
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.models import MODEL, ModelServer, Shape, serving_model, sum_up
from benchmarks.slow import VecloomWithModel
from benchmarks.systems import Figures
from benchmarks.worker import REAL

DOCUMENTS = 2_500
"""So many that what an operation costs once, about a second, is little even of the shortest run."""
WORKERS = (1, 2, 4, 8)
REQUESTS_PER_WORKER = 2
TEXTS_PER_REQUEST = 16
LATENCY_MS = 400
"""So few texts in so long a time that a worker waits and hardly computes, and that all of them fit on two cores."""

FULL = 0.9


async def bench_scaling(bench: Bench, documents: int = DOCUMENTS, workers: Sequence[int] = WORKERS) -> Figures:
    """The model server has room for the requests of all workers; each count of workers gets texts of its own."""
    shape = Shape(latency_ms=LATENCY_MS, max_texts=TEXTS_PER_REQUEST, slots=REQUESTS_PER_WORKER * max(workers))
    figures: Figures = {"documents": documents, "requests_at_once_per_worker": REQUESTS_PER_WORKER}
    rates = {}
    async with serving_model(shape) as model:
        for count in workers:
            measured = await measure(bench, model, count, documents)
            rates[count] = float(measured["chunks_per_second"])
            measured["times_one_worker"] = round(rates[count] / rates[workers[0]], 2)
            figures |= {f"{count}_workers_{figure}": value for figure, value in measured.items()}
    return figures


async def measure(bench: Bench, model: ModelServer, count: int, documents: int) -> Figures:
    """Index a folder with so many workers, all of them ready before it begins."""
    name = f"scaling-{count}"
    corpus = await asyncio.to_thread(write_corpus, bench.folder / name, documents, seed=count)
    variables = {
        "VECLOOM_PROCESS_SLOTS": "1",
        "VECLOOM_EMBEDDING_CONCURRENCY_PER_WORKER": str(REQUESTS_PER_WORKER),
    }
    system = VecloomWithModel(bench, bench.folder / f"{name}-system", model, **variables)
    async with system, system.workers(REAL, count) as workers:
        await bench.index(f"{name}-warm", None)
        await model.forget()
        cpu, busy = [worker.cpu_seconds() for worker in workers], read_busy_share()
        operation = await bench.index(name, corpus.folder, model=MODEL, poll_seconds=POLL_SECONDS)
        in_use, in_all = (after - before for before, after in zip(busy, read_busy_share(), strict=True))
        used = [worker.cpu_seconds() - before for worker, before in zip(workers, cpu, strict=True)]
        served = await model.read_log()
    if operation.started_at is None or operation.finished_at is None:
        raise SystemExit("the operation has no end")
    seconds, chunks = seconds_of(operation), (operation.result or {})["chunks"]
    own = Shape(latency_ms=model.shape.latency_ms, slots=REQUESTS_PER_WORKER * count)
    started, finished = operation.started_at.timestamp(), operation.finished_at.timestamp()
    asked = float(sum_up(served, own, started=started, finished=finished)["busy_by_its_slots"])
    machine = in_use / in_all
    workers_share = sum(used) / seconds / (os.cpu_count() or 1)
    return {
        "seconds": round(seconds, 2),
        "chunks": chunks,
        "chunks_per_second": round(chunks / seconds, 1),
        "share_of_the_cores_in_use": round(machine, 2),
        "share_of_the_cores_the_workers_use": round(workers_share, 2),
        "share_of_the_requests_they_may_have_open": round(asked, 2),
        "cpu_seconds_of_each": " ".join(f"{seconds:.1f}" for seconds in sorted(used, reverse=True)),
        "what_was_full": _what_was_full(machine, workers_share, asked),
    }


def _what_was_full(machine: float, workers: float, asked: float) -> str:
    if machine >= FULL:
        return "the cores" if workers >= machine / 2 else "the cores, mostly with other processes"
    return "the requests they may have open" if asked >= FULL else "neither cores nor requests"

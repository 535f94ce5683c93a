"""How much of what the bare libraries can do is left with everything around them, if embedding costs nothing."""

import asyncio
import statistics
from pathlib import Path
from typing import Any

import wordllama

from app.domain.operations import Operation
from app.pipeline.chunking.tokens import PACKAGED
from benchmarks.bare import BareCores
from benchmarks.bench import Bench
from benchmarks.cpu import CpuSeconds, difference, read_cpu
from benchmarks.free_embedder import FREE
from benchmarks.mixed import FILES, write_mixed
from benchmarks.rivals.environment import PYTHON, run_rival
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom

ROUNDS = 2
BARE_BEST_OF = 2
PLAIN_EVERY = 6
"""The libraries as they come take long for their token counts: they get every sixth batch."""

WARM_FILES = 60
TOKENIZER = Path(wordllama.__file__).parent / PACKAGED
POLL_SECONDS = 0.05


def seconds_of(operation: Operation) -> float:
    """From an operation's start to its end, by Postgres' clock."""
    if operation.started_at is None or operation.finished_at is None:
        raise SystemExit(f"operation {operation.id} has no end")
    return (operation.finished_at - operation.started_at).total_seconds()


async def bench_limit(bench: Bench, files: int = FILES, rounds: int = ROUNDS) -> Figures:
    """Bare libraries and Vecloom in turn; Vecloom's worker is a process of its own with default settings."""
    corpus = await asyncio.to_thread(write_mixed, bench.folder / "mixed", files)
    warm = await asyncio.to_thread(write_mixed, bench.folder / "warm", min(files, WARM_FILES), seed=7)
    bare_rates, rates, used, results = [], [], [], []
    with BareCores(corpus.paths) as cores:
        async with Vecloom(bench, bench.folder / "limit") as system, system.workers(FREE, 1) as [worker]:
            await bench.index("limit-warm", warm.folder)
            for number in range(rounds):
                bare = await asyncio.to_thread(cores.measure, best_of=BARE_BEST_OF)
                before = read_cpu([worker.pid], bench.servers)
                operation = await bench.index(f"limit-{number}", corpus.folder, poll_seconds=POLL_SECONDS)
                used.append(difference(before, read_cpu([worker.pid], bench.servers)))
                result = _checked(operation, files=files, chunks=bare.chunks)
                bare_rates.append(bare.rate)
                rates.append(result["chunks"] / seconds_of(operation))
                results.append(result)
    ratio = statistics.median(rate / bare for rate, bare in zip(rates, bare_rates, strict=True))
    figures: Figures = {
        "ratio_to_bare": round(ratio, 3),
        "files": files,
        "megabytes": round(corpus.bytes / 1e6, 1),
        "chunks": results[0]["chunks"],
        "chunks_per_second": round(statistics.median(rates)),
        "bare_chunks_per_second": round(statistics.median(bare_rates)),
        **await _beside_plain_libraries(corpus.folder, statistics.median(rates)),
        "limiting_stage": results[-1]["limiting_stage"],
    }
    bare_cpu_seconds = cores.processes * results[-1]["chunks"] / bare_rates[-1]
    figures["ratio_if_no_core_were_ever_idle"] = round(bare_cpu_seconds / sum(used[-1].values()), 3)
    return figures | _where_it_went(results[-1], used[-1])


async def _beside_plain_libraries(folder: Path, rate: float) -> Figures:
    """What the libraries do as they come; they are in an environment that is made only for benchmarks."""
    if not PYTHON.exists():
        return {"libraries_own_calls_chunks_per_second": "not measured, for .venv-rivals is missing"}
    plain = await run_rival("plain_libraries", str(folder), str(TOKENIZER), str(PLAIN_EVERY))
    plain_rate = plain["chunks"] / plain["seconds"]
    return {
        "libraries_own_calls_chunks_per_second": round(plain_rate),
        "ratio_to_libraries_own_calls": round(rate / plain_rate, 2),
    }


def _checked(operation: Operation, *, files: int, chunks: int) -> dict[str, Any]:
    """The result, if it is of the same work: every file, and the chunks that the bare libraries made."""
    result = operation.result or {}
    if result["documents"] != files or result["documents_failed"]:
        raise SystemExit(f"{result['documents']} of {files} files were indexed, {result['documents_failed']} failed")
    if result["chunks"] != chunks:
        raise SystemExit(f"{result['chunks']} chunks instead of {chunks}")
    return result


def _where_it_went(result: dict[str, Any], used: CpuSeconds) -> Figures:
    """Busy seconds of each stage, summed over all that ran at once, and CPU seconds of each kind of process."""
    busy = {f"busy_{stage}_seconds": round(value["seconds"], 2) for stage, value in result["stages"].items()}
    return busy | {f"cpu_{kind}_seconds": seconds for kind, seconds in used.items()}

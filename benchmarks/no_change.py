"""A second run over many files of which none has changed."""

import asyncio

from benchmarks.bench import Bench
from benchmarks.free_embedder import FREE
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.systems import Figures
from benchmarks.tiny import write_tiny
from benchmarks.vecloom import Vecloom

FILES = 50_000


async def bench_no_change(bench: Bench, files: int = FILES) -> Figures:
    """The first run embeds for nothing, for it is only there to be repeated."""
    folder = bench.folder / "no-change"
    await asyncio.to_thread(write_tiny, folder, files)
    async with Vecloom(bench, bench.folder / "no-change-system") as system, system.workers(FREE, 1):
        first = await bench.index("no-change", folder, poll_seconds=POLL_SECONDS)
        second = await bench.append("no-change", poll_seconds=POLL_SECONDS)
    result = second.result or {}
    if result["unchanged"] != files:
        raise SystemExit(f"{result['unchanged']} of {files} files were found unchanged")
    return {
        "files": files,
        "first_run_seconds": round(seconds_of(first), 2),
        "second_run_seconds": round(seconds_of(second), 2),
        "second_run_files_per_second": round(files / seconds_of(second)),
        "second_run_tokens": result["tokens"],
    }

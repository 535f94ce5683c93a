"""Peak memory of a worker process, from the operating system's own accounting."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from app.domain.documents import SourceSpec
from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.ingest import DOCUMENTS
from benchmarks.systems import Figures

WORKER = "from app.settings import Settings; from app.worker import run_worker; run_worker(Settings())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Bytes held at most: by the worker process itself, and by it and its child processes, each at its own worst."""

    worker: int
    with_children: int


async def bench_memory(bench: Bench) -> Figures:
    """Peak memory of a worker process for 2 000 and for 20 000 documents."""
    small = await peak_of_worker(bench, documents=DOCUMENTS)
    large = await peak_of_worker(bench, documents=10 * DOCUMENTS)
    return {
        "worker_peak_mib_2000_documents": round(small.worker / 2**20, 1),
        "worker_peak_mib_20000_documents": round(large.worker / 2**20, 1),
        "worker_ratio": round(large.worker / small.worker, 3),
        "with_children_peak_mib_2000_documents": round(small.with_children / 2**20, 1),
        "with_children_peak_mib_20000_documents": round(large.with_children / 2**20, 1),
        "with_children_ratio": round(large.with_children / small.with_children, 3),
    }


async def peak_of_worker(bench: Bench, *, documents: int) -> Peak:
    """The peak of a fresh worker that indexes a generated corpus."""
    corpus = bench.folder / f"memory-{documents}"
    write_corpus(corpus, documents)
    endpoints = bench.parts.endpoints
    environment = os.environ | {
        "VECLOOM_DATABASE_URL": endpoints.database_url,
        "VECLOOM_REDIS_URL": endpoints.redis_url,
        "VECLOOM_QDRANT_URL": endpoints.qdrant_url,
        "VECLOOM_QDRANT_API_KEY": endpoints.qdrant_api_key or "",
        "VECLOOM_LOG_LEVEL": "WARNING",
    }
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, env=environment)
    try:
        await _index(bench, f"memory-{documents}", corpus)
        own = read_peak(worker.pid)
        return Peak(worker=own, with_children=own + sum(read_peak(child) for child in list_children(worker.pid)))
    finally:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()


async def _index(bench: Bench, name: str, corpus: Path) -> UUID:
    _, operation = await bench.operations.create_collection(
        bench.user_id,
        name=name,
        model=None,
        chunking=None,
        sources=[SourceSpec(url=corpus.as_uri())],
    )
    return (await bench.wait(operation)).id


def list_children(pid: int) -> list[int]:
    """Process ids of the direct children (Linux)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def read_peak(pid: int) -> int:
    """``VmHWM`` of a process, in bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the operating system does not tell peak memory")

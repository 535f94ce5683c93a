"""Files parsed and chunked on all cores with nothing around: no database, no store, no result even."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Self

from app.domain.documents import Chunking, PrepareRequest
from app.pipeline.prepare import prepare_documents
from benchmarks.ingest import make_requests

BATCH = 20
WARM = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """What the bare libraries did."""

    chunks: int
    seconds: float

    @property
    def rate(self) -> float:
        """Chunks a second."""
        return self.chunks / self.seconds


def count_prepared(requests: Sequence[PrepareRequest]) -> int:
    """Chunks that Vecloom's own extraction and chunking make of a batch."""
    return sum(len(document.chunks) for document in prepare_documents(requests, Chunking()))


class BareCores:
    """A process for each core, warm, as long as the block runs."""

    def __init__(self, paths: Sequence[Path], *, processes: int | None = None) -> None:
        requests = make_requests(paths)
        self._batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
        self._warm = requests[:WARM]
        self.processes = processes or os.cpu_count() or 1
        self._pool: Pool

    def __enter__(self) -> Self:
        """Start the processes and let each meet every format once."""
        self._pool = multiprocessing.get_context("forkserver").Pool(self.processes)
        self._pool.map(count_prepared, [self._warm] * self.processes, chunksize=1)
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._pool.terminate()
        self._pool.join()

    def measure(self, *, best_of: int = 1) -> Bare:
        """All files, as fast as the cores can; the best of some times."""
        measured = []
        for _ in range(best_of):
            started = time.perf_counter()
            chunks = sum(self._pool.imap_unordered(count_prepared, self._batches))
            measured.append(Bare(chunks=chunks, seconds=time.perf_counter() - started))
        return max(measured, key=lambda bare: bare.rate)

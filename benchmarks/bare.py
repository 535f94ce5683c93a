"""Files parsed and chunked on all cores with nothing around: no database, no store, no result even."""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Self

from semantic_text_splitter import TextSplitter

from app.domain.documents import Chunking, PrepareRequest
from app.pipeline.chunk import load_tokenizer
from app.pipeline.prepare import prepare_documents
from benchmarks.ingest import make_requests

BATCH = 20
WARM, WARM_PLAIN = 100, 5
KREUZBERG = {".html", ".docx", ".pptx", ".xlsx", ".eml"}


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


def count_plain(requests: Sequence[PrepareRequest]) -> int:
    """Chunks that the libraries make of a batch as their own documentation calls them."""
    chunking = Chunking()
    splitter = TextSplitter.from_huggingface_tokenizer(load_tokenizer(), chunking.size, overlap=chunking.overlap)
    return sum(len(splitter.chunks(_read_plain(Path(request.locator.path)))) for request in requests)


def _read_plain(path: Path) -> str:
    import kreuzberg  # noqa: PLC0415 — heavy, and the benchmark's own process needs neither
    import pypdfium2  # noqa: PLC0415

    if path.suffix == ".pdf":
        document = pypdfium2.PdfDocument(path)
        text = "\n\n".join(page.get_textpage().get_text_range() for page in document)
        document.close()
        return text
    if path.suffix in KREUZBERG:
        return kreuzberg.extract_file_sync(path).content
    return path.read_text(encoding="utf-8")


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
        for count, size in ((count_prepared, WARM), (count_plain, WARM_PLAIN)):
            self._pool.map(count, [self._warm[:size]] * self.processes, chunksize=1)
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        self._pool.terminate()
        self._pool.join()

    def measure(self, count: Callable[[Sequence[PrepareRequest]], int], *, best_of: int = 1, every: int = 1) -> Bare:
        """All batches, or each ``every``-th, as fast as the cores can; the best of some times."""
        measured = []
        for _ in range(best_of):
            started = time.perf_counter()
            chunks = sum(self._pool.imap_unordered(count, self._batches[::every]))
            measured.append(Bare(chunks=chunks, seconds=time.perf_counter() - started))
        return max(measured, key=lambda bare: bare.rate)

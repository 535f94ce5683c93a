"""First and second run over a folder, beside the same work without any system around it."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from app.bootstrap import running_worker
from app.domain.documents import Chunking, PrepareRequest
from app.domain.identity import document_id, locator_of
from app.embedders.static import embed_texts
from app.pipeline.prepare import prepare_documents
from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.systems import Figures

DOCUMENTS = 2000


def make_requests(paths: Sequence[Path]) -> list[PrepareRequest]:
    """What a worker would ask its processes for."""
    requests = []
    for path in paths:
        uri = path.as_uri()
        requests.append(
            PrepareRequest(
                document_id=document_id(UUID(int=0), uri),
                uri=uri,
                path=path.name,
                locator=locator_of(uri),
                known_hash=None,
                max_bytes=2**30,
            )
        )
    return requests


def prepare_alone(folder: Path) -> tuple[float, float, int]:
    """Seconds of reading, extracting and chunking a folder, and of embedding it, on one core, nothing around."""
    requests = make_requests(sorted(path for path in folder.rglob("*") if path.is_file()))
    prepare_documents(requests[:20], Chunking())
    started = time.perf_counter()
    prepared = prepare_documents(requests, Chunking())
    preparing = time.perf_counter() - started
    texts = sorted((chunk.text for document in prepared for chunk in document.chunks), key=len)
    embed_texts(texts[:20])
    started = time.perf_counter()
    for start in range(0, len(texts), 100):
        embed_texts(texts[start : start + 100])
    return preparing, time.perf_counter() - started, len(texts)


async def bench_ingest(bench: Bench) -> Figures:
    """First run, second run, and the same work without any system around it."""
    corpus = bench.folder / "corpus"
    write_corpus(corpus, DOCUMENTS)
    preparing, embedding, chunks = await asyncio.to_thread(prepare_alone, corpus)
    async with running_worker(bench.parts):
        await bench.index("warm", None)
        first = (await bench.index("corpus", corpus)).result or {}
        second = (await bench.append("corpus")).result or {}
    figures: Figures = {
        "documents": DOCUMENTS,
        "chunks": chunks,
        "first_run_seconds": first["seconds"],
        "documents_per_second": round(DOCUMENTS / first["seconds"], 1),
        "tokens_per_second": round(first["tokens"] / first["seconds"]),
        "embedder_busy_ratio": first["embedder_busy_ratio"],
        "bare_work_on_one_core_seconds": round(preparing + embedding, 3),
        "ratio_to_bare_work_on_two_cores": round(first["seconds"] / ((preparing + embedding) / 2), 2),
        "second_run_seconds": second["seconds"],
        "second_run_tokens": second["tokens"],
        "second_run_times_faster": round(first["seconds"] / second["seconds"], 1),
    }
    return figures | {f"busy_{stage}_seconds": value["seconds"] for stage, value in first["stages"].items()}

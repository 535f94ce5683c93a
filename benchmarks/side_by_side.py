"""Vecloom and other ingestion systems: one folder, one chunk size, one model server, one after the other."""

import asyncio
from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.corpus import Corpus
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.mixed import Changes, change, write_mixed
from benchmarks.models import MODEL, ModelServer, Shape, serving_model
from benchmarks.rivals.environment import run_rival
from benchmarks.slow import VecloomWithModel
from benchmarks.systems import Figures
from benchmarks.worker import REAL

FILES = 500
CHANGED = 0.01
RIVALS = {
    "llamaindex": "SimpleDirectoryReader with a process for each core, IngestionPipeline.arun with UPSERTS_AND_DELETE, "
    "SentenceSplitter of 400 tokens, 4 requests at once, no cache; the default stores, in memory, written to JSON at "
    "the end, with no texts of chunks. Mail, HTML and source code are read as plain text, markup and all",
    "haystack": "MultiFileConverter and TextFileToDocument, DocumentSplitter of 300 words (400 tokens), "
    "OpenAIDocumentEmbedder, DuplicatePolicy.OVERWRITE; the in-memory store, written to JSON at the end. Mail is read "
    "as plain text. A run does not know what changed: it embeds all again, and keeps the chunks of old versions",
    "cocoindex": "as its examples: memoised function for each file, RecursiveSplitter of 1 600 bytes (400 tokens), "
    "batches of what has gathered, LanceDB on the disk as in text_embedding_lancedb, which declares no vector index; "
    "MarkItDown, as in patient_intake_extraction, for PDF, office files and HTML, in threads. Mail is read as plain "
    "text. Docling and Marker, which its PDF examples use, would have to download models",
}
"""Other systems, each with what it recommends itself."""

GIVEN = "cocoindex_given_our_parsers"
ALL_RIVALS = RIVALS | {
    GIVEN: "as cocoindex, but handed Vecloom's parsers (pypdfium2, Kreuzberg), and SQLite without a vector index: more "
    "than it comes with"
}
RUNS = {
    "documents_per_second": "ratio_to_best_rival",
    "second_run_documents_per_second": "second_run_ratio_to_best_rival",
}
"""Rates of a system, and what Vecloom's divided by the best of the others is called."""

GIVEN_RUNS = {
    "documents_per_second": f"ratio_to_{GIVEN}",
    "second_run_documents_per_second": f"second_run_ratio_to_{GIVEN}",
}
"""The same for the one that is no system's own recommendation, and is not among the best for that."""

SYSTEMS = ("vecloom", *ALL_RIVALS)
"""Prefixes of the figures: one column of the table each."""


async def bench_side_by_side(bench: Bench, files: int = FILES, *, rivals: Sequence[str] = tuple(ALL_RIVALS)) -> Figures:
    """First run of each system over its own copy of the folder, then a second one after 1 % of the files changed."""
    shape = Shape()
    async with serving_model(shape) as model:
        figures = await measure_vecloom(bench, model, files)
        for rival in rivals:
            measured = await measure_rival(bench, rival, model, files)
            figures |= {f"{rival}_{figure}": value for figure, value in measured.items()}
    return figures | compare(figures, rivals)


def compare(figures: Figures, rivals: Sequence[str]) -> Figures:
    """Vecloom's rates by the best of those with settings of their own, and by the one that was given more."""
    own = [rival for rival in rivals if rival in RIVALS]
    ratios: Figures = {}
    for names, group in ((RUNS, own), (GIVEN_RUNS, [GIVEN] if GIVEN in rivals else [])):
        for run, ratio in names.items() if group else ():
            best = max(float(figures[f"{rival}_{run}"]) for rival in group)
            ratios[ratio] = round(float(figures[f"vecloom_{run}"]) / best, 2)
    return ratios


async def measure_vecloom(bench: Bench, model: ModelServer, files: int) -> Figures:
    """A worker process with default settings, embedded stores that are durable; seconds from start to end."""
    corpus = await asyncio.to_thread(write_mixed, bench.folder / "vecloom-files", files)
    system = VecloomWithModel(bench, bench.folder / "side-by-side", model)
    async with system, system.workers(REAL, 1):
        await bench.index("side-by-side-warm", None)
        await model.forget()
        first = await bench.index("side-by-side", corpus.folder, model=MODEL, poll_seconds=POLL_SECONDS)
        embedded = await _count_texts(model)
        changes = await asyncio.to_thread(change, corpus, share=CHANGED)
        await model.forget()
        second = await bench.append("side-by-side", poll_seconds=POLL_SECONDS)
        again = await _count_texts(model)
    results = [operation.result or {} for operation in (first, second)]
    runs = [(seconds_of(first), embedded), (seconds_of(second), again)]
    if results[0]["documents_failed"] or results[1]["documents_failed"]:
        raise SystemExit("some documents failed in Vecloom")
    documents = [results[0]["documents_added"], results[1]["unchanged"] + results[1]["documents_added"]]
    documents[1] += results[1]["documents_changed"]
    figures = _figures(corpus, changes, documents, chunks=results[0]["chunks"], runs=runs)
    figures |= _floor(embedded, model)
    configuration = "default settings with the embedded Postgres and vector server, both durable; a worker process"
    return {f"vecloom_{name}": value for name, value in {"configuration": configuration, **figures}.items()}


async def measure_rival(bench: Bench, rival: str, model: ModelServer, files: int) -> Figures:
    """Both runs of another system, each a process of its own; its imports and the interpreter's start do not count."""
    corpus = await asyncio.to_thread(write_mixed, bench.folder / f"{rival}-files", files)
    runs, documents, chunks = [], [], []
    changes = None
    for number in range(2):
        if number:
            changes = await asyncio.to_thread(change, corpus, share=CHANGED)
        await model.forget()
        state = bench.folder / f"{rival}-state"
        outcome = await run_rival(
            f"{rival}_ingest", str(corpus.folder), str(state), model.url, str(model.shape.max_texts)
        )
        runs.append((float(outcome["seconds"]), await _count_texts(model)))
        documents.append(int(outcome["documents"]))
        chunks.append(int(outcome["chunks"]))
    if changes is None:
        raise AssertionError("unreachable: the second run changes files")
    figures = _figures(corpus, changes, documents, chunks=chunks[0], runs=runs) | _floor(runs[0][1], model)
    return {"configuration": ALL_RIVALS[rival], **figures}


def _floor(embedded: int, model: ModelServer) -> Figures:
    """What no system that embeds so many texts can be faster than."""
    return {"seconds_the_model_server_needs_at_least": round(embedded / model.shape.texts_per_second, 2)}


def _figures(
    corpus: Corpus, changes: Changes, documents: Sequence[int], *, chunks: int, runs: Sequence[tuple[float, int]]
) -> Figures:
    """What both runs of a system come to; ``runs`` are seconds and texts embedded."""
    (first, embedded), (second, again) = runs
    there = len(corpus.paths) + len(changes.add) - len(changes.delete)
    return {
        "files": len(corpus.paths),
        "files_not_indexed": len(corpus.paths) - documents[0],
        "chunks": chunks,
        "seconds": round(first, 2),
        "documents_per_second": round(len(corpus.paths) / first, 1),
        "texts_embedded": embedded,
        "second_run_files": there,
        "second_run_files_beside_those": documents[1] - there,
        "second_run_seconds": round(second, 2),
        "second_run_documents_per_second": round(there / second, 1),
        "second_run_texts_embedded": again,
    }


async def _count_texts(model: ModelServer) -> int:
    return sum(served.texts for served in await model.read_log())

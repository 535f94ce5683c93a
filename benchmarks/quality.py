"""Benchmarks of search quality: what they cost beside the bare searches, and what Cranfield gives."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from app.bootstrap import EmbedderRegistry
from app.db.benchmark_datasets import DatasetRepository
from app.db.collections import CollectionRepository
from app.domain.benchmark_datasets import DatasetContent, DatasetFormat, DatasetQuery, JudgedDocument
from app.domain.benchmarks import BenchmarkChoice
from app.domain.collections import GenerationState
from app.domain.operations import Operation, OperationState
from app.domain.points import SearchMode, Vectors
from app.domain.search_settings import SearchSettings
from app.evaluation.datasets.parse import parse_dataset
from app.operations.benchmarks import BenchmarkService
from app.search.service import SearchService
from benchmarks.bench import Bench
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.reindex import write_short
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom
from benchmarks.worker import REAL

DOCUMENTS = 13_000
"""Of about two chunks each."""
QUERIES = 1000
WORDS = 8
TOP_K = 100
AT_ONCE = 4
MIDWAY_SECONDS = 3.0
SETTINGS: tuple[dict[str, Any], ...] = (
    {"mode": "dense"},
    {"mode": "bm25"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion_k": 10},
    {"mode": "hybrid", "fusion_k": 120},
    {"mode": "hybrid", "dense_weight": 2},
    {"mode": "hybrid", "bm25_weight": 2},
    {"mode": "hybrid", "fusion": "dbsf"},
)
CRANFIELD = Path(__file__).resolve().parents[2] / "shared" / "data" / "cranfield"
SHOWN = ("ndcg@10", "recall@100", "map")


async def bench_benchmarks(bench: Bench, documents: int = DOCUMENTS, queries: int = QUERIES) -> Figures:
    """All queries by eight settings as a BENCHMARK, and the same searches, of as many at once, by nobody but a loop."""
    folder = bench.folder / "corpus"
    await asyncio.to_thread(write_short, folder, documents)
    content = await asyncio.to_thread(make_queries, folder, queries)
    choice = BenchmarkChoice(
        dataset="known",
        settings=tuple(SearchSettings.from_config(one) for one in SETTINGS),
        top_k=TOP_K,
        concurrency=AT_ONCE,
    )
    async with Vecloom(bench, bench.folder / "system") as system, system.workers(REAL, 1):
        indexed = await bench.index("papers", folder, poll_seconds=POLL_SECONDS)
        await _keep(bench, "known", content)
        measured = await _measure(bench, "papers", choice)
        cancelled = await _cancel_midway(bench, "papers", choice)
    bare_seconds = await _search_all(bench, "papers", content, choice)
    result, asked = measured.result or {}, queries * len(SETTINGS)
    whole = seconds_of(measured)
    return {
        "chunks": (indexed.result or {})["chunks"],
        "queries": queries,
        "settings": len(SETTINGS),
        "seconds": round(whole, 1),
        "queries_per_second": round(asked / whole, 1),
        "bare_seconds": round(bare_seconds, 1),
        "bare_queries_per_second": round(asked / bare_seconds, 1),
        "seconds_to_bare": round(whole / bare_seconds, 3),
        "outside_share": round(1 - result["asking"]["seconds"] / whole * (1 - result["asking"]["outside_share"]), 3),
        "scoring_seconds": round(whole - result["asking"]["seconds"], 2),
        "cancel_seconds": round(cancelled, 2),
        "best": result["best"],
    }


def make_queries(folder: Path, count: int) -> DatasetContent:
    """Some words from the middle of a document, which answers them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    made = []
    for number in range(count):
        path = files[number * len(files) // count]
        words = [word for word in path.read_text(encoding="utf-8").split() if word.isalpha()]
        middle = words[len(words) // 2 :][:WORDS]
        judged = JudgedDocument(doc=path.relative_to(folder).as_posix(), grade=1)
        made.append(DatasetQuery(query_id=str(number), text=" ".join(middle) or path.stem, relevant=(judged,)))
    return DatasetContent(format=DatasetFormat.JSON, queries=tuple(made))


async def _keep(bench: Bench, name: str, content: DatasetContent) -> None:
    fingerprint = await asyncio.to_thread(content.fingerprint)
    async with bench.parts.database.begin() as connection:
        await DatasetRepository(connection).add(bench.user_id, name, content, fingerprint=fingerprint)


async def _measure(bench: Bench, name: str, choice: BenchmarkChoice) -> Operation:
    service = BenchmarkService(bench.parts.database, bench.operations)
    return await bench.wait(await service.create(bench.user_id, name, choice), poll_seconds=POLL_SECONDS)


async def _cancel_midway(bench: Bench, name: str, choice: BenchmarkChoice) -> float:
    """Seconds from the request to the end."""
    operation = await BenchmarkService(bench.parts.database, bench.operations).create(bench.user_id, name, choice)
    while operation.state is not OperationState.RUNNING:
        await asyncio.sleep(POLL_SECONDS)
        operation = await bench.operations.get(bench.user_id, operation.id)
    await asyncio.sleep(MIDWAY_SECONDS)
    started = time.perf_counter()
    await bench.operations.cancel(bench.user_id, operation.id)
    while not operation.state.is_final:
        await asyncio.sleep(POLL_SECONDS)
        operation = await bench.operations.get(bench.user_id, operation.id)
    if operation.state is not OperationState.CANCELLED:
        raise SystemExit(f"the benchmark is {operation.state}")
    return time.perf_counter() - started


async def _search_all(bench: Bench, name: str, content: DatasetContent, choice: BenchmarkChoice) -> float:
    """Seconds of all searches without anything around them; each query is embedded once, as a benchmark does."""
    embedders = EmbedderRegistry(bench.parts.settings, None)
    search = SearchService(bench.parts.database, bench.parts.store, embedders.find)
    async with bench.parts.database.begin() as connection:
        collections = CollectionRepository(connection)
        collection = await collections.get(bench.user_id, name)
        generation = await collections.find_generation(collection.id, GenerationState.ACTIVE)
    if generation is None:
        raise SystemExit("the collection has no generation")
    await search.embed_query(generation, "the first one checks the model")
    vectors: dict[str, Vectors] = {}

    async def ask(settings: SearchSettings, left: Iterator[DatasetQuery]) -> None:
        for query in left:
            if settings.mode is not SearchMode.BM25 and query.text not in vectors:
                vectors[query.text] = await search.embed_query(generation, query.text)
            vector = None if settings.mode is SearchMode.BM25 else vectors[query.text]
            await search.rank(
                collection, generation, query=query.text, vector=vector, settings=settings, limit=choice.top_k
            )

    started = time.perf_counter()
    for settings in choice.settings:
        left = iter(content.queries)
        await asyncio.gather(*(ask(settings, left) for _ in range(choice.concurrency)))
    seconds = time.perf_counter() - started
    await embedders.aclose()
    return seconds


async def bench_cranfield(bench: Bench) -> Figures:
    """Three measures of three modes on Cranfield, with the lower and upper ends of their 95 % intervals."""
    if not CRANFIELD.exists():
        raise SystemExit(f"there is no {CRANFIELD}; the dataset is not shipped with the project")
    content = await asyncio.to_thread(_read_cranfield)
    async with Vecloom(bench, bench.folder / "system") as system, system.workers(REAL, 1):
        await bench.index("cranfield", CRANFIELD / "corpus.jsonl", poll_seconds=POLL_SECONDS)
        await _keep(bench, "cranfield", content)
        settings = tuple(SearchSettings(mode=mode) for mode in SearchMode)
        measured = await _measure(bench, "cranfield", BenchmarkChoice(dataset="cranfield", settings=settings))
    result = measured.result or {}
    figures: Figures = {"queries": result["queries"], "best": result["best_words"]}
    for run in result["runs"]:
        figures |= _show_run(run, SHOWN)
    return figures


def _read_cranfield() -> DatasetContent:
    names = ("queries.jsonl", "qrels/test.tsv")
    return parse_dataset({name: (CRANFIELD / name).read_bytes() for name in names}, split=None)


def _show_run(run: dict[str, Any], measures: Sequence[str]) -> Figures:
    shown: Figures = {}
    for name in measures:
        low, high = run["ci95"][name]
        shown[f"{run['name']}_{name}"] = f"{run['metrics'][name]:.4f} ({low:.3f} to {high:.3f})"
    return shown

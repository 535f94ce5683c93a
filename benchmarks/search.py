"""Latency of searches in an idle collection."""

import statistics
import time

from app.bootstrap import EmbedderRegistry, running_worker
from app.domain.points import SearchFilter, SearchMode
from app.domain.search_settings import SearchSettings
from app.search.service import SearchService
from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.systems import Figures

SEARCHES = 200


async def bench_search(bench: Bench) -> Figures:
    """Latency of searches in an idle collection, by mode."""
    corpus = bench.folder / "search-corpus"
    paths = write_corpus(corpus, 500).paths
    async with running_worker(bench.parts):
        await bench.index("search", corpus)
    embedders = EmbedderRegistry(bench.parts.settings, None)
    service = SearchService(bench.parts.database, bench.parts.store, embedders.find)
    figures: Figures = {"documents": len(paths), "searches": SEARCHES}
    for mode in SearchMode:
        times = []
        for number in range(SEARCHES + 10):
            words = (corpus / paths[number % len(paths)]).read_text()[200:260]
            started = time.perf_counter()
            await service.search(
                bench.user_id,
                "search",
                query=words,
                settings=SearchSettings(mode=mode),
                limit=10,
                filter=SearchFilter(),
            )
            times.append((time.perf_counter() - started) * 1000)
        cuts = statistics.quantiles(times[10:], n=100)
        figures |= {f"{mode}_p50_ms": round(cuts[49], 2), f"{mode}_p99_ms": round(cuts[98], 2)}
    return figures

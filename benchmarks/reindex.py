"""Rebuilds: what they embed and reuse, and what searches notice of them."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy import text

from app.domain.documents import ChunkingChoice
from app.domain.operations import Operation
from app.domain.rebuilds import RebuildChoice
from app.operations.rebuilds import RebuildService
from benchmarks.asking import Asker, asking
from benchmarks.bench import Bench
from benchmarks.corpus import Corpus, stream_files, write_corpus
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.systems import Figures
from benchmarks.under_load import SEARCHED, serving_api
from benchmarks.vecloom import Vecloom
from benchmarks.worker import REAL

DOCUMENTS = 20_000
SHORTEST, LONGEST, STEP = 600, 3000, 997
"""Characters."""
SEARCHED_DOCUMENTS = 500
SIZE = 360
"""Tokens in a chunk after the tweak; 400 before."""
MOST_RATE = 200.0
"""Searches that are begun in a second at most, whether those before have been answered or not."""
SHARE = 0.4
"""Of what one API process answers on a machine that does nothing else: a rebuild needs some of it too."""
AT_ONCE = 8
CAPACITY_SEARCHES = 800
IDLE_SECONDS = 20.0
OK = 200


async def bench_reindex(bench: Bench, documents: int = DOCUMENTS) -> Figures:
    """Another chunk size, then nothing else at all, then the way back, of one collection."""
    folder = bench.folder / "corpus"
    await asyncio.to_thread(write_short, folder, documents)
    async with Vecloom(bench, bench.folder / "system") as system, system.workers(REAL, 1):
        indexed = await bench.index("corpus", folder, poll_seconds=POLL_SECONDS)
        size = RebuildChoice(chunking=ChunkingChoice(size=SIZE))
        planned = await _reindex(bench, "corpus", RebuildChoice(chunking=size.chunking, dry_run=True))
        tweaked = await _reindex(bench, "corpus", size)
        again = await _reindex(bench, "corpus", RebuildChoice())
        back = await bench.wait(await _rebuilds(bench).roll_back(bench.user_id, "corpus"), poll_seconds=POLL_SECONDS)
    first, plan = indexed.result or {}, planned.result or {}
    figures: Figures = {
        "documents": documents,
        "index_seconds": round(seconds_of(indexed), 1),
        "index_tokens": first["tokens"],
        "plan_seconds": round(seconds_of(planned), 1),
        "planned_tokens": plan["tokens"],
        "planned_disk_mb": round(plan["disk_bytes"] / 1e6),
    }
    for name, operation in (("tweak", tweaked), ("no_change", again), ("rollback", back)):
        result = operation.result or {}
        figures |= {
            f"{name}_seconds": round(seconds_of(operation), 1),
            f"{name}_chunks": result["chunks"],
            f"{name}_tokens_embedded": result["tokens"],
            f"{name}_reused_share": result["reused_share"],
        }
    return figures


def write_short(folder: Path, documents: int) -> None:
    """Made-up documents of a chunk or two: the first part of each one of the usual corpus."""
    for number, (name, content) in enumerate(stream_files(documents)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content[: SHORTEST + number * STEP % (LONGEST - SHORTEST)], encoding="utf-8")


def _rebuilds(bench: Bench) -> RebuildService:
    return RebuildService(bench.parts.database, bench.operations)


async def _reindex(bench: Bench, name: str, choice: RebuildChoice) -> Operation:
    operation = await _rebuilds(bench).reindex(bench.user_id, name, choice)
    return await bench.wait(operation, poll_seconds=POLL_SECONDS)


@dataclass(slots=True)
class Searches:
    """What became of searches that were begun at a fixed rate; ``shown`` are chunks by the generation of the answer."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    empty: int = 0
    shown: set[tuple[str, str]] = field(default_factory=set)

    def quantile(self, percent: int) -> float:
        """Milliseconds."""
        return statistics.quantiles(self.seconds, n=100, method="inclusive")[percent - 1] * 1000


async def bench_reindex_load(bench: Bench, documents: int = SEARCHED_DOCUMENTS) -> Figures:
    """Searches at two rates, of an idle collection and during a rebuild with its switch, and the way back."""
    corpus = await asyncio.to_thread(write_corpus, bench.folder / SEARCHED, documents)
    queries = await asyncio.to_thread(_read_queries, corpus)
    async with Vecloom(bench, bench.folder / "load-system") as system, system.workers(REAL, 1):
        await bench.index(SEARCHED, corpus.folder, poll_seconds=POLL_SECONDS)
        async with serving_api(bench, system.environment()) as client, asking(client) as asker:
            await _measure_capacity(asker, queries)
            capacity = await _measure_capacity(asker, queries)
            figures: Figures = {"most_searches_a_second": round(capacity)}
            for name, rate in (("", min(MOST_RATE, SHARE * capacity)), ("at_most_", MOST_RATE)):
                measured = await _measure_rate(bench, asker, queries, rate)
                figures |= {f"{name}{figure}": value for figure, value in measured.items()}
    return figures


async def _measure_rate(bench: Bench, asker: Asker, queries: Sequence[str], rate: float) -> Figures:
    stop = asyncio.Event()
    stop.set()
    idle = await _search(asker, queries, until=stop, rate=rate, least=round(IDLE_SECONDS * rate))
    stop.clear()
    searching = asyncio.create_task(_search(asker, queries, until=stop, rate=rate, least=1))
    rebuilt = await _reindex(bench, SEARCHED, RebuildChoice(chunking=ChunkingChoice(size=SIZE), gate="report-only"))
    back = await bench.wait(await _rebuilds(bench).roll_back(bench.user_id, SEARCHED), poll_seconds=POLL_SECONDS)
    stop.set()
    during = await searching
    mixed = during.shown - await _read_chunks(bench)
    return {
        "searches_a_second": round(rate),
        "searches_idle": len(idle.seconds),
        "searches_meanwhile": len(during.seconds),
        "rebuild_seconds": round(seconds_of(rebuilt), 1),
        "rollback_seconds": round(seconds_of(back), 1),
        "failed": idle.failed + during.failed,
        "empty": idle.empty + during.empty,
        "hits_of_another_generation": len(mixed),
        "idle_p50_ms": round(idle.quantile(50), 1),
        "idle_p99_ms": round(idle.quantile(99), 1),
        "meanwhile_p50_ms": round(during.quantile(50), 1),
        "meanwhile_p99_ms": round(during.quantile(99), 1),
        "p99_times_idle": round(during.quantile(99) / idle.quantile(99), 2),
    }


def _read_queries(corpus: Corpus) -> list[str]:
    return [Path(path).read_text(encoding="utf-8")[200:260] for path in corpus.paths]


async def _measure_capacity(asker: Asker, queries: Sequence[str]) -> float:
    """Searches a second where each of a few callers asks again as soon as it is answered."""
    searches, left = Searches(), iter(range(CAPACITY_SEARCHES))

    async def ask_on() -> None:
        for number in left:
            await _ask(asker, queries[number % len(queries)], searches, due=time.perf_counter())

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(ask_on())
    return CAPACITY_SEARCHES / (time.perf_counter() - started)


async def _search(asker: Asker, queries: Sequence[str], *, until: asyncio.Event, rate: float, least: int) -> Searches:
    """Begin searches at a rate until the event, and at least so many; each is timed from when it was due."""
    searches, started = Searches(), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        number = 0
        while number < least or not until.is_set():
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(_ask(asker, queries[number % len(queries)], searches, due=due))
            number += 1
    return searches


async def _ask(asker: Asker, query: str, searches: Searches, *, due: float) -> None:
    body = orjson.dumps({"query": query, "limit": 10})
    try:
        status, content = await asker.post(f"/api/v1/collections/{SEARCHED}/search", body)
    except (OSError, asyncio.IncompleteReadError):
        searches.failed += 1
        return
    searches.seconds.append(time.perf_counter() - due)
    if status != OK:
        searches.failed += 1
        return
    answer = orjson.loads(content)
    searches.empty += not answer["hits"]
    searches.shown.update((answer["generation"], hit["chunk_id"]) for hit in answer["hits"])


async def _read_chunks(bench: Bench) -> set[tuple[str, str]]:
    async with bench.parts.database.begin() as connection:
        rows = await connection.execute(
            text("SELECT g.name, c.id FROM chunks c JOIN generations g ON g.id = c.generation_id")
        )
        return {(row.name, str(row.id)) for row in rows}

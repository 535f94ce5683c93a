"""Latency of searches through the API's own process, with the machine idle and while a worker indexes at full speed."""

import asyncio
import os
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from app.operations.collections import IdentityService
from benchmarks.bench import Bench
from benchmarks.corpus import Corpus, write_corpus
from benchmarks.limit import POLL_SECONDS, seconds_of
from benchmarks.mixed import FILES, write_mixed
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom
from benchmarks.worker import REAL

SEARCHED_DOCUMENTS = 500
SEARCHES = 300
WARM_SEARCHES = 20
PAUSE_SECONDS = 0.02
READY_SECONDS = 60.0
SEARCHED = "searched"


async def bench_under_load(
    bench: Bench, files: int = FILES, searches: int = SEARCHES, searched_documents: int = SEARCHED_DOCUMENTS
) -> Figures:
    """One search after the other in one collection, while another one is filled."""
    searched = await asyncio.to_thread(write_corpus, bench.folder / SEARCHED, searched_documents)
    corpus = await asyncio.to_thread(write_mixed, bench.folder / "load", files)
    async with Vecloom(bench, bench.folder / "load-system") as system, system.workers(REAL, 1):
        await bench.index(SEARCHED, searched.folder, poll_seconds=POLL_SECONDS)
        async with serving_api(bench, system.environment()) as client:
            await _search(client, searched, go_on=lambda times: len(times) < WARM_SEARCHES)
            idle = await _search(client, searched, go_on=lambda times: len(times) < searches)
            indexing = asyncio.create_task(bench.index("load", corpus.folder, poll_seconds=POLL_SECONDS))
            loaded = await _search(client, searched, go_on=lambda _: not indexing.done())
            operation = await indexing
    figures: Figures = {
        "searches_idle": len(idle),
        "searches_under_load": len(loaded),
        "indexed_documents_per_second": round(files / seconds_of(operation), 1),
    }
    p99 = {}
    for name, times in (("idle", idle), ("under_load", loaded)):
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        p99[name] = cuts[98]
        figures |= {f"{name}_p50_ms": round(cuts[49] * 1000, 1), f"{name}_p99_ms": round(cuts[98] * 1000, 1)}
    return figures | {"p99_times_idle": round(p99["under_load"] / p99["idle"], 2)}


async def _search(client: httpx.AsyncClient, searched: Corpus, *, go_on: Callable[[list[float]], bool]) -> list[float]:
    """Seconds of each search; what it asks for are words of one document after the other."""
    times: list[float] = []
    while go_on(times):
        path = searched.paths[len(times) % len(searched.paths)]
        words = path.read_text(encoding="utf-8")[200:260]
        started = time.perf_counter()
        answer = await client.post(f"/api/v1/collections/{SEARCHED}/search", json={"query": words, "limit": 10})
        times.append(time.perf_counter() - started)
        if not answer.is_success or not answer.json()["hits"]:
            raise SystemExit(f"a search failed with {answer.status_code}: {answer.text[:200]}")
        await asyncio.sleep(PAUSE_SECONDS)
    return times


@asynccontextmanager
async def serving_api(bench: Bench, environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API in a process of its own, and a client with a key."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    key = await IdentityService(bench.parts.database).issue_key("bench", name="searches")
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
    quiet = {"VECLOOM_LOG_LEVEL": "WARNING"}
    process = await asyncio.create_subprocess_exec(
        *command, "--log-level", "warning", "--no-access-log", env=os.environ | environment | quiet
    )
    try:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            await _wait_until_live(client)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def _wait_until_live(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if (await client.get("/health/live")).is_success:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)

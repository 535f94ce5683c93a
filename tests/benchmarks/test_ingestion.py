"""Benchmarks of ingestion."""

import asyncio
import time

import httpx
import pytest

from app.domain.errors import EmbedderBatchTooLargeError
from app.embedders.http import HttpEmbedder
from benchmarks.bench import Bench
from benchmarks.limit import bench_limit
from benchmarks.many import bench_many
from benchmarks.models import MODEL, Shape, serving_model, sum_up
from benchmarks.no_change import bench_no_change
from benchmarks.rivals.environment import PYTHON
from benchmarks.scaling import bench_scaling
from benchmarks.slow import measure_busy
from benchmarks.under_load import bench_under_load


async def test_the_limit_is_measured_on_the_same_work(bench: Bench) -> None:
    """Vecloom and the bare libraries make the same chunks, and it is told where the time went."""
    figures = await bench_limit(bench, files=40, rounds=1)

    assert 0 < float(figures["ratio_to_own_functions"]) < 2
    assert float(figures["chunks"]) >= 40
    assert float(figures["own_functions_chunks_per_second"]) > 0
    if PYTHON.exists():
        assert float(figures["ratio_to_bare"]) > 0
        assert float(figures["bare_by_characters_chunks_per_second"]) > 0
    assert float(figures["cpu_worker_children_seconds"]) > 0
    assert float(figures["busy_extract_seconds"]) > 0


async def test_the_model_server_waits_queues_and_refuses() -> None:
    """It serves so many requests at once as it has slots, and its log says how busy they were."""
    shape = Shape(latency_ms=100, max_texts=4, slots=2)
    texts = ["one", "two", "three", "four"]
    async with serving_model(shape) as server:
        embedder = HttpEmbedder(server.url, model=MODEL, timeout_seconds=10)
        first = await embedder.embed_documents(texts)
        await server.forget()
        started = time.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(embedder.embed_documents(texts)) for _ in range(4)]
        figures = sum_up(await server.read_log(), shape, started=started, finished=time.time())
        with pytest.raises(EmbedderBatchTooLargeError):
            await embedder.embed_documents([*texts, "five"])
        async with httpx.AsyncClient() as client:
            body = {"model": MODEL, "input": texts[:1]}
            floats = (await client.post(f"{server.url}/embeddings", json=body)).json()["data"][0]["embedding"]
        await embedder.aclose()

    assert [task.result().tolist() for task in tasks] == [first.tolist()] * 4
    assert floats == pytest.approx(first[0].tolist(), abs=1e-6)
    assert figures["requests"] == 4
    assert 0.5 < float(figures["busy_by_its_slots"]) <= 1
    assert float(figures["waited_in_its_queue_ms"]) > 40


async def test_a_slow_embedder_is_seen_from_both_sides(bench: Bench) -> None:
    """Vecloom's own figure and the server's stand beside each other, for an operation that embedded every chunk."""
    figures = await measure_busy(bench, Shape(latency_ms=20), documents=60)

    assert float(figures["chunks"]) >= 60
    assert 0 < float(figures["embedder_busy_ratio"]) <= 1
    assert 0 < float(figures["busy_by_its_slots"]) <= float(figures["busy_with_any_request"]) <= 1
    assert float(figures["seconds_before_the_first_request"]) > 0
    assert float(figures["seconds_after_the_last_request"]) > 0


async def test_scaling_is_measured_with_texts_of_each_ones_own(bench: Bench) -> None:
    """Every count of workers embeds all of its chunks, and it is told what stood in the way of more."""
    figures = await bench_scaling(bench, documents=60, workers=(1, 2))

    assert figures["1_workers_times_one_worker"] == 1
    assert float(figures["2_workers_times_one_worker"]) > 0
    for count in (1, 2):
        assert float(figures[f"{count}_workers_chunks"]) >= 60
        assert 0 < float(figures[f"{count}_workers_share_of_the_requests_they_may_have_open"]) <= 1
        assert figures[f"{count}_workers_what_was_full"]
    assert len(str(figures["2_workers_cpu_seconds_of_each"]).split()) == 2


async def test_a_run_without_changes_embeds_nothing(bench: Bench) -> None:
    """The second run sees every file and costs no token."""
    figures = await bench_no_change(bench, files=200)

    assert figures["second_run_tokens"] == 0
    assert float(figures["second_run_files_per_second"]) > 0


async def test_memory_of_few_and_of_many_documents_is_compared(bench: Bench) -> None:
    """Both are peaks of whole worker processes, of tens of megabytes."""
    figures = await bench_many(bench, few=20, many=100)

    assert float(figures["few_worker_peak_mib"]) > 20
    assert float(figures["few_with_children_peak_mib"]) > float(figures["few_worker_peak_mib"])
    assert 0.5 < float(figures["worker_ratio"]) < 2


async def test_searches_are_measured_while_a_worker_indexes(bench: Bench) -> None:
    """They go through an API process of its own and find something, idle and under load."""
    figures = await bench_under_load(bench, files=60, searches=10, searched_documents=20)

    assert figures["searches_idle"] == 10
    assert float(figures["searches_under_load"]) >= 2
    assert 0 < float(figures["idle_p50_ms"]) <= float(figures["idle_p99_ms"])
    assert float(figures["p99_times_idle"]) > 0

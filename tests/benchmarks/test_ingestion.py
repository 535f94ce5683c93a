"""Benchmarks of ingestion."""

import asyncio
import time

import httpx
import pytest

from app.domain.errors import EmbedderBatchTooLargeError
from app.embedders.http import HttpEmbedder
from benchmarks.bench import Bench
from benchmarks.limit import bench_limit
from benchmarks.models import MODEL, Shape, serving_model, sum_up
from benchmarks.slow import measure_busy


async def test_the_limit_is_measured_on_the_same_work(bench: Bench) -> None:
    """Vecloom and the bare libraries make the same chunks, and it is told where the time went."""
    figures = await bench_limit(bench, files=40, rounds=1)

    assert 0 < float(figures["ratio_to_bare"]) < 2
    assert float(figures["chunks"]) >= 40
    assert float(figures["bare_chunks_per_second"]) > 0
    assert float(figures["libraries_own_calls_chunks_per_second"]) > 0
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

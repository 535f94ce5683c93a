"""The benchmark of what writing points down costs."""

import orjson
from qdrant_client import grpc

from benchmarks.bench import Bench
from benchmarks.bodies import WRITERS, bench_bodies, make_batch


async def test_each_way_is_measured(bench: Bench) -> None:
    """All of them, for both lengths of a vector, and bytes that can hold it."""
    figures = await bench_bodies(bench, documents=5)

    for name in WRITERS:
        assert float(figures[f"1024_numbers_{name}_bytes_a_point"]) > 1024 * 4
        assert float(figures[f"256_numbers_{name}_bytes_a_point"]) > 256 * 4


def test_all_ways_write_the_same_points() -> None:
    """What JSON and gRPC say of a point is one thing."""
    batch = make_batch(["one", "two"], 256)

    told = orjson.loads(WRITERS["client_models"](batch, slice(0, 2)))["points"]
    raw = orjson.loads(WRITERS["raw_json"](batch, slice(0, 2)))["points"]
    message = grpc.UpsertPoints.FromString(WRITERS["grpc"](batch, slice(0, 2))).points

    assert [point["id"] for point in raw] == [point["id"] for point in told] == [point.id.uuid for point in message]
    assert [point["payload"] for point in raw] == [point["payload"] for point in told]
    vectors = [point.vectors.vectors.vectors for point in message]
    assert [vector["bm25"].document.text for vector in vectors] == [point["vector"]["bm25"]["text"] for point in raw]
    assert len(vectors[0]["dense"].dense.data) == len(raw[0]["vector"]["dense"]) == 256

"""What it costs the event loop to write points down for a vector server: raw bodies, the client's models, gRPC."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import numpy as np
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import payload_to_grpc

from app.db.documents import ChunkRow
from app.domain.documents import Chunking
from app.domain.points import PointBatch
from app.domain.sparse_settings import SparseSettings
from app.pipeline.chunk import chunk_text
from app.pipeline.write import make_points, payload_of
from app.stores.records import BM25_MODEL, DENSE, SPARSE, to_json, write_rows
from benchmarks.bench import Bench
from benchmarks.corpus import write_corpus
from benchmarks.systems import Figures

DIMENSIONS = (256, 1024)
DOCUMENTS = 200
BATCH = 100
BEST_OF = 3
"""The best of as many times: what else the machine does only adds."""


async def bench_bodies(bench: Bench, documents: int = DOCUMENTS) -> Figures:
    """Milliseconds of processor time for a thousand points, and their bytes; nothing is sent."""
    corpus = await asyncio.to_thread(write_corpus, bench.folder / "bodies", documents, seed=1)
    texts = [chunk.text for path in corpus.paths for chunk in chunk_text(path.read_text(), Chunking())]
    figures: Figures = {"points": len(texts)}
    for dimension in DIMENSIONS:
        points = make_batch(texts, dimension)
        for name, write in WRITERS.items():
            milliseconds, size = min(measure(points, write) for _ in range(BEST_OF))
            figures[f"{dimension}_numbers_{name}_ms"] = round(1000 * milliseconds / len(texts), 2)
            figures[f"{dimension}_numbers_{name}_bytes_a_point"] = round(size / len(texts))
        raw, other = (figures[f"{dimension}_numbers_{name}_ms"] for name in ("raw_json", "grpc"))
        figures[f"{dimension}_numbers_grpc_times_raw_json"] = round(float(other) / float(raw), 2)
    return figures


def make_batch(texts: list[str], dimension: int) -> PointBatch:
    """Points as ingestion makes them, with vectors of norm 1."""
    vectors = np.random.default_rng(0).standard_normal((len(texts), dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    document, source = UUID(int=1), UUID(int=2)
    payload = payload_of(document, source, "handbook/travel/rules.md")
    rows = [
        ChunkRow(id=UUID(int=number), document_id=document, ordinal=number, start=0, end=len(text), tokens=1, text=text)
        for number, text in enumerate(texts)
    ]
    return make_points(rows, vectors, [payload] * len(rows), sparse=SparseSettings())


def measure(points: PointBatch, write: Callable[[PointBatch, slice], bytes]) -> tuple[float, int]:
    """Milliseconds of processor time, and bytes."""
    started, size = time.process_time(), 0
    for start in range(0, len(points), BATCH):
        size += len(write(points, slice(start, start + BATCH)))
    return 1000 * (time.process_time() - started), size


def write_raw(points: PointBatch, part: slice) -> bytes:
    """As ``QdrantStore`` sends them to any server."""
    return to_json({"points": write_rows(points, part, packed=False)})


def write_packed(points: PointBatch, part: slice) -> bytes:
    """As ``QdrantStore`` sends them to the embedded server."""
    return to_json({"points": write_rows(points, part, packed=True)})


def write_models(points: PointBatch, part: slice) -> bytes:
    """As the client's own models are sent."""
    structs = [
        models.PointStruct(
            id=str(point_id),
            vector={DENSE: vector.tolist(), SPARSE: models.Document(text=text, model=BM25_MODEL)},
            payload=payload,
        )
        for point_id, vector, text, payload in _rows(points, part)
    ]
    return models.PointsList(points=structs).model_dump_json(exclude_unset=True).encode()


def write_grpc(points: PointBatch, part: slice) -> bytes:
    """As the client would send them over gRPC."""
    structs = [
        grpc.PointStruct(
            id=grpc.PointId(uuid=str(point_id)),
            vectors=grpc.Vectors(
                vectors=grpc.NamedVectors(
                    vectors={
                        DENSE: grpc.Vector(dense=grpc.DenseVector(data=vector.tolist())),
                        SPARSE: grpc.Vector(document=grpc.Document(text=text, model=BM25_MODEL)),
                    }
                )
            ),
            payload=payload_to_grpc(payload),
        )
        for point_id, vector, text, payload in _rows(points, part)
    ]
    content: bytes = grpc.UpsertPoints(collection_name="bodies", wait=True, points=structs).SerializeToString()
    return content


def _rows(points: PointBatch, part: slice) -> Iterable[tuple[Any, ...]]:
    return zip(points.ids[part], points.vectors[part], points.texts[part], points.payloads[part], strict=True)


WRITERS = {"raw_json": write_raw, "packed_json": write_packed, "client_models": write_models, "grpc": write_grpc}

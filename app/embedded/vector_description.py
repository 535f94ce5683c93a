"""A collection as Qdrant shows it."""

from typing import Any

import qdrant_edge as edge

from app.embedded.vector_parameters import HNSW, INDEXED_KILOBYTES
from app.embedded.vector_requests import write_index_kind
from app.embedded.vector_shard import Shard

FIXED = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1}
OPTIMIZERS = {"default_segment_number": 0, "indexing_threshold": INDEXED_KILOBYTES, "flush_interval_sec": 10}


def write_description(shard: Shard) -> dict[str, Any]:
    """What ``GET /collections/{name}`` answers."""
    info = shard.read(lambda engine: engine.info())
    return {
        "status": _write_status(shard),
        "optimizer_status": "ok" if shard.failure is None else {"error": shard.failure},
        "points_count": info.points_count,
        "indexed_vectors_count": info.indexed_vectors_count,
        "segments_count": info.segments_count,
        "config": {
            "params": {"on_disk_payload": True, **shard.description, **FIXED},
            "hnsw_config": HNSW,
            "optimizer_config": OPTIMIZERS,
        },
        "payload_schema": _write_schema(info),
    }


def _write_status(shard: Shard) -> str:
    if shard.failure is not None:
        return "red"
    return "yellow" if shard.is_rebuilding or shard.needs_rebuild() else "green"


def _write_schema(info: "edge.ShardInfo") -> dict[str, Any]:
    return {
        field: {"data_type": write_index_kind(index.data_type), "points": index.points}
        for field, index in info.payload_schema.items()
    }

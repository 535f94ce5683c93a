"""Reads the parameters of a collection from Qdrant's REST bodies, for its description and for the engine.

A description is what ``GET /collections/{name}`` shows as ``params``, as far as it was asked for.
"""

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

from app.embedded.vector_errors import BadRequestError
from app.embedded.vector_values import read_bool, read_fields, read_int, refusing

DISTANCES = {"Cosine": edge.Distance.Cosine, "Dot": edge.Distance.Dot, "Euclid": edge.Distance.Euclid}
SEARCH_THREADS = 1
"""The engine's own threads share segments, of which a shard has one. More of them find nothing to do, and give way to
others some forty times for each search before they sleep: a seventh of what a search takes."""
MAX_DIMENSION = 65_536
MAX_LINKS = 1024
MAX_CANDIDATES = 65_536
INDEXED_KILOBYTES = 10_000
"""Fewer vectors than that have no graph and no quantised copies, as in a Qdrant server: scanning them is faster."""
HNSW = {"m": 0, "ef_construct": 100, "full_scan_threshold": INDEXED_KILOBYTES}
"""Of a collection that asks for none of it: every search looks at all vectors."""
LINKS = 16
"""Of one that asks for a graph, but not how many links it has."""

Description = dict[str, Any]


@refusing()
def read_collection(body: Any) -> Description:
    """The description of a new collection."""
    read_fields(body, "vectors", "sparse_vectors", "on_disk_payload")
    if not isinstance(body.get("vectors"), dict) or "size" in body["vectors"]:
        raise BadRequestError("vectors must be named")
    vectors = {name: _read_dense(params) for name, params in body["vectors"].items()}
    sparse = {}
    for name, params in (body.get("sparse_vectors") or {}).items():
        modifier = read_fields(params, "modifier").get("modifier") or "none"
        if modifier not in {"idf", "none"} or name in vectors:
            raise BadRequestError(f"sparse vector {name!r} has an unknown modifier or the name of a dense one")
        sparse[name] = {"modifier": modifier}
    return _with_payload({"vectors": vectors, "sparse_vectors": sparse}, body)


def _read_dense(body: Any) -> dict[str, Any]:
    read_fields(body, "size", "distance", "hnsw_config", "quantization_config", "on_disk")
    size = read_int(body["size"], default=0, least=1)
    if size > MAX_DIMENSION or body["distance"] not in DISTANCES:
        raise BadRequestError(f"dimensions up to {MAX_DIMENSION}, and one of {', '.join(DISTANCES)}")
    return _change_dense({"size": size, "distance": body["distance"]}, body)


@refusing()
def read_change(body: Any, description: Description) -> Description:
    """What the body of ``PATCH /collections/{name}`` makes of a description."""
    # an empty object changes nothing; clients send it to have a Qdrant server go on with its work
    read_fields(read_fields(body, "vectors", "params", "optimizers_config").get("optimizers_config") or {})
    vectors = dict(description["vectors"])
    for name, change in (body.get("vectors") or {}).items():
        if name not in vectors:
            raise BadRequestError(f"Not existing vector name error: {name}")
        read_fields(change, "hnsw_config", "quantization_config", "on_disk")
        vectors[name] = _change_dense(vectors[name], change)
    params = read_fields(body.get("params") or {}, "on_disk_payload")
    return _with_payload({**description, "vectors": vectors}, params)


def _with_payload(description: Description, body: Mapping[str, Any]) -> Description:
    on_disk = read_bool(body.get("on_disk_payload"))
    return description if on_disk is None else {**description, "on_disk_payload": on_disk}


def _change_dense(params: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(params)
    if (graph := change.get("hnsw_config")) is not None:
        changed["hnsw_config"] = {**params.get("hnsw_config", {}), **_read_graph(graph)} if graph else None
    if (quantization := change.get("quantization_config")) is not None:
        changed["quantization_config"] = None if quantization == "Disabled" else _read_quantization(quantization)
    if (on_disk := read_bool(change.get("on_disk"))) is not None:
        changed["on_disk"] = on_disk
    return {name: value for name, value in changed.items() if value is not None}


def _read_graph(body: Any) -> dict[str, Any]:
    read_fields(body, "m", "ef_construct", "full_scan_threshold", "on_disk")
    read = {
        "m": read_int(body.get("m"), default=None, least=0, most=MAX_LINKS),
        "ef_construct": read_int(body.get("ef_construct"), default=None, least=4, most=MAX_CANDIDATES),
        "full_scan_threshold": read_int(body.get("full_scan_threshold"), default=None, least=0),
        "on_disk": read_bool(body.get("on_disk")),
    }
    return {name: value for name, value in read.items() if value is not None}


def _read_quantization(body: Any) -> dict[str, Any]:
    read_fields(body, "scalar", "binary")
    if (scalar := body.get("scalar")) is not None:
        if body.get("binary") is not None or read_fields(scalar, "type", "always_ram")["type"] != "int8":
            raise BadRequestError("vectors are quantised in one way, and scalars are of type int8")
        return {"scalar": {"type": "int8", "always_ram": bool(read_bool(scalar.get("always_ram")))}}
    binary = read_fields(body["binary"], "always_ram")
    return {"binary": {"always_ram": bool(read_bool(binary.get("always_ram")))}}


# --- for the engine -----------------------------------------------------------------------------


def write_config(description: Description, *, replaces: bool = False) -> edge.EdgeConfig:
    """A description as the engine takes it.

    With ``replaces`` it is for a shard that was made for another description, of which nothing may be left.
    """
    return edge.EdgeConfig(
        vectors={name: _write_dense(params, replaces) for name, params in description["vectors"].items()},
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if params["modifier"] == "idf" else None)
            for name, params in description["sparse_vectors"].items()
        },
        on_disk_payload=description.get("on_disk_payload", True if replaces else None),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INDEXED_KILOBYTES),
        max_search_threads=SEARCH_THREADS,
    )


def _write_dense(params: Mapping[str, Any], replaces: bool) -> edge.EdgeVectorParams:  # noqa: FBT001 — passed on
    graph = _find_graph(params)
    is_told = replaces or "quantization_config" in params
    return edge.EdgeVectorParams(
        params["size"],
        DISTANCES[params["distance"]],
        on_disk=params.get("on_disk", False if replaces else None),
        quantization_config=_write_quantization(params.get("quantization_config")),
        hnsw_config=edge.HnswIndexConfig(**(graph or HNSW)) if graph or is_told else None,
    )


def _find_graph(params: Mapping[str, Any]) -> dict[str, Any] | None:
    asked = params.get("hnsw_config")
    return {**HNSW, "m": LINKS, **asked} if asked else None


def _write_quantization(
    config: Mapping[str, Any] | None,
) -> edge.ScalarQuantizationConfig | edge.BinaryQuantizationConfig | None:
    if config is None:
        return None
    if "scalar" in config:
        return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=config["scalar"]["always_ram"])
    return edge.BinaryQuantizationConfig(always_ram=config["binary"]["always_ram"])


def count_indexable(description: Description, points: int) -> int:
    """How many kilobytes of vectors so many points have that should be indexed in some way."""
    sizes = [
        params["size"]
        for params in description["vectors"].values()
        if "quantization_config" in params or (_find_graph(params) or HNSW)["m"]
    ]
    return points * 4 * max(sizes, default=0) // 1024

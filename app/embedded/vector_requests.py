"""Reads Qdrant's REST bodies into the engine's own requests, and writes its answers back."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import qdrant_edge as edge

from app.embedded.vector_errors import BadRequestError
from app.embedded.vector_parameters import MAX_CANDIDATES
from app.embedded.vector_values import (
    FLOAT32_MAX,
    Layout,
    PointId,
    as_list,
    pack,
    read_bool,
    read_fields,
    read_filter,
    read_id,
    read_ids,
    read_int,
    read_number,
    read_payload_selection,
    read_vector,
    read_vector_selection,
    refusing,
)
from app.embedded.vector_words import embed_document, embed_query

INDEXES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "bool": edge.PayloadSchemaType.Bool,
    "uuid": edge.PayloadSchemaType.Uuid,
}
NAME = re.compile(r"[^<>:\"/\\|?*\x00-\x1f]{1,80}")
POINTS_AT_A_STRETCH = 5
DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
MAX_OVERSAMPLING = 16


# --- collections --------------------------------------------------------------------------------


def read_collection_name(name: str) -> str:
    """A name that is allowed for a new collection or alias."""
    if not NAME.fullmatch(name):
        raise BadRequestError('a name has 1 to 80 characters and none of < > : " / \\ | ? * or control characters')
    return name


def read_layout(description: Mapping[str, Any]) -> Layout:
    """The named vectors in a description of a collection."""
    dense = {name: params["size"] for name, params in description["vectors"].items()}
    return Layout(dense=dense, sparse=frozenset(description["sparse_vectors"]))


@refusing()
def read_index(body: Any) -> edge.UpdateOperation:
    """The body of ``index``: a field and the plain type of its index."""
    read_fields(body, "field_name", "field_schema")
    schema = body["field_schema"]
    kind = schema if isinstance(schema, str) else read_fields(schema, "type")["type"]
    if kind not in INDEXES:
        raise BadRequestError(f"indexes are one of {', '.join(INDEXES)}")
    return edge.UpdateOperation.create_field_index(body["field_name"], INDEXES[kind])


def write_index_kind(kind: edge.PayloadSchemaType) -> str:
    """The type of an index as Qdrant names it."""
    return next(name for name, known in INDEXES.items() if known == kind)


@refusing()
def read_alias_change(body: Any) -> Callable[[dict[str, str]], dict[str, str]]:
    """What the actions of ``collections/aliases`` make of the aliases there are."""
    steps: list[tuple[str, str | None]] = []
    for action in read_fields(body, "actions")["actions"]:
        read_fields(action, "create_alias", "delete_alias")
        if create := action.get("create_alias"):
            read_fields(create, "collection_name", "alias_name")
            steps.append((read_collection_name(create["alias_name"]), create["collection_name"]))
        else:
            steps.append((read_fields(action["delete_alias"], "alias_name")["alias_name"], None))

    def change(aliases: dict[str, str]) -> dict[str, str]:
        for alias, to in steps:
            aliases.pop(alias, None)
            if to is not None:
                aliases[alias] = to
        return aliases

    return change


# --- points -------------------------------------------------------------------------------------


@refusing()
def read_points(body: Any, layout: Layout, *, give_way: Callable[[], None]) -> edge.UpdateOperation:
    """The body of an upsert, all of it or nothing; ``give_way`` is called now and then: others may go first."""
    points: list[edge.Point] = []
    for point in read_fields(body, "points")["points"]:
        if len(points) % POINTS_AT_A_STRETCH == 0:
            give_way()
        read_fields(point, "id", "vector", "payload")
        vectors = point["vector"]
        if not isinstance(vectors, dict):
            raise BadRequestError("vectors must be named")
        named = {name: read_vector(vector, name, layout, embed_document) for name, vector in vectors.items()}
        points.append(edge.Point(read_id(point["id"]), named, point.get("payload") or {}))
    return edge.UpdateOperation.upsert_points(points)


@refusing()
def read_deletion(body: Any) -> edge.UpdateOperation:
    """The body of ``points/delete``: ids or a filter that says something."""
    read_fields(body, "points", "filter")
    if body.get("points") is not None:
        return edge.UpdateOperation.delete_points(read_ids(body["points"]))
    restrict = read_filter(body["filter"])
    if restrict is None:
        raise BadRequestError("an empty filter would delete everything; delete the collection instead")
    return edge.UpdateOperation.delete_points_by_filter(restrict)


@refusing()
def read_payload(body: Any) -> tuple[list[PointId], edge.UpdateOperation]:
    """The body of ``points/payload``: the points it names, and what to do to them."""
    read_fields(body, "payload", "points", "filter", "key")
    payload, key = body["payload"], body.get("key")
    if body.get("points") is not None:
        ids = read_ids(body["points"])
        return ids, edge.UpdateOperation.set_payload(ids, payload, key)
    restrict = read_filter(body["filter"])
    if restrict is None:
        raise BadRequestError("an empty filter would change every point")
    return [], edge.UpdateOperation.set_payload_by_filter(restrict, payload, key)


# --- questions ----------------------------------------------------------------------------------


@refusing()
def read_query(body: Any, layout: Layout) -> edge.QueryRequest:
    """The body of ``points/query``."""
    known = ("query", "using", "prefetch", "filter", "params", "score_threshold", "limit", "offset")
    read_fields(body, *known, "with_payload", "with_vector")
    return edge.QueryRequest(
        offset=read_int(body.get("offset"), default=0, least=0),
        with_vector=read_vector_selection(body.get("with_vector"), layout),
        with_payload=read_payload_selection(body.get("with_payload"), default=False),
        **_read_stage(body, layout),
    )


def _read_prefetch(body: Any, layout: Layout) -> edge.Prefetch:
    read_fields(body, "query", "using", "prefetch", "filter", "params", "score_threshold", "limit")
    return edge.Prefetch(**_read_stage(body, layout))


def _read_stage(body: dict[str, Any], layout: Layout) -> dict[str, Any]:
    prefetches = [_read_prefetch(inner, layout) for inner in as_list(body.get("prefetch"))]
    query, threshold = body["query"], body.get("score_threshold")
    fusion = _read_fusion(query, len(prefetches))
    if (fusion is None) == bool(prefetches):
        raise BadRequestError("prefetches are there to be fused, and a fusion needs them")
    return {
        "limit": read_int(body.get("limit"), default=DEFAULT_LIMIT, least=1),
        "query": _read_nearest(query, body.get("using"), layout) if fusion is None else fusion,
        "prefetches": prefetches,
        "filter": read_filter(body.get("filter")),
        "score_threshold": None if threshold is None else read_number(threshold, least=-FLOAT32_MAX, most=FLOAT32_MAX),
        "params": _read_params(body.get("params")),
    }


def _read_fusion(query: Any, count: int) -> edge.Fusion.Rrf | edge.Fusion.Dbsf | None:
    if not isinstance(query, dict) or not {"rrf", "fusion"} & query.keys():
        return None
    if "rrf" in query:
        rrf = read_fields(read_fields(query, "rrf")["rrf"], "k", "weights")
        weights = rrf.get("weights")
        return edge.Fusion.Rrf(
            read_int(rrf.get("k"), default=DEFAULT_RRF_K, least=1),
            None if weights is None else _read_weights(weights, count),
        )
    named = read_fields(query, "fusion")["fusion"]
    if named not in ("rrf", "dbsf"):
        raise BadRequestError("the fusions of this server are rrf and dbsf")
    return edge.Fusion.Dbsf() if named == "dbsf" else edge.Fusion.Rrf(DEFAULT_RRF_K)


def _read_weights(weights: Any, count: int) -> list[float]:
    if not isinstance(weights, list) or len(weights) != count:
        raise BadRequestError("there are as many weights as prefetches")
    return [read_number(weight, least=0, most=FLOAT32_MAX) for weight in weights]


def _read_nearest(query: Any, using: str | None, layout: Layout) -> edge.Query:
    if isinstance(query, dict) and "nearest" in query:
        query = read_fields(query, "nearest")["nearest"]
    return edge.Query.Nearest(read_vector(query, using, layout, embed_query), using=using)


def _read_params(params: Any) -> edge.SearchParams:
    read_fields(params or {}, "exact", "hnsw_ef", "quantization")
    params = params or {}
    rescored = params.get("quantization")
    return edge.SearchParams(
        exact=bool(read_bool(params.get("exact"))),
        hnsw_ef=read_int(params.get("hnsw_ef"), default=None, least=1, most=MAX_CANDIDATES),
        quantization=None if rescored is None else _read_rescoring(rescored),
    )


def _read_rescoring(params: Any) -> edge.QuantizationSearchParams:
    read_fields(params, "ignore", "rescore", "oversampling")
    oversampling = params.get("oversampling")
    return edge.QuantizationSearchParams(
        ignore=bool(read_bool(params.get("ignore"))),
        rescore=read_bool(params.get("rescore")),
        oversampling=None if oversampling is None else read_number(oversampling, least=1, most=MAX_OVERSAMPLING),
    )


@refusing()
def read_scroll(body: Any, layout: Layout) -> edge.ScrollRequest:
    """The body of ``points/scroll``; pages come in the order of ids."""
    read_fields(body, "offset", "limit", "filter", "with_payload", "with_vector")
    offset = body.get("offset")
    return edge.ScrollRequest(
        offset=None if offset is None else read_id(offset),
        limit=read_int(body.get("limit"), default=DEFAULT_LIMIT, least=1),
        filter=read_filter(body.get("filter")),
        with_payload=read_payload_selection(body.get("with_payload"), default=True),
        with_vector=read_vector_selection(body.get("with_vector"), layout),
    )


@refusing()
def read_count(body: Any) -> edge.CountRequest:
    """The body of ``points/count``; counts are always exact."""
    return edge.CountRequest(exact=True, filter=read_filter(read_fields(body, "filter", "exact").get("filter")))


@refusing()
def read_retrieval(body: Any, layout: Layout) -> tuple[list[PointId], Any, Any]:
    """The body of ``points``: ids, and what of each point to give."""
    read_fields(body, "ids", "with_payload", "with_vector")
    with_payload = read_payload_selection(body.get("with_payload"), default=True)
    return read_ids(body["ids"]), with_payload, read_vector_selection(body.get("with_vector"), layout)


# --- answers ------------------------------------------------------------------------------------


def write_id(value: PointId) -> int | str:
    """A point id as JSON."""
    return value if isinstance(value, int) else str(value)


def _write_vector(value: Any, *, packed: bool) -> Any:
    if isinstance(value, dict):
        return {name: _write_vector(inner, packed=packed) for name, inner in value.items()}
    if isinstance(value, edge.SparseVector):
        return {"indices": value.indices, "values": value.values}
    return pack(value) if packed and isinstance(value, list) else value


def write_record(record: edge.Record | edge.ScoredPoint, *, packed: bool = False) -> dict[str, Any]:
    """A retrieved point; ``packed`` dense vectors are base64 of little-endian float32."""
    vector = _write_vector(record.vector, packed=packed)
    return {"id": write_id(record.id), "payload": record.payload, "vector": vector}


def write_scored(point: edge.ScoredPoint) -> dict[str, Any]:
    """A scored point."""
    return {**write_record(point), "version": point.version, "score": point.score}

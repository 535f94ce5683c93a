"""The embedded vector server: the part of Qdrant's REST API that Vecloom uses, over the same engine as a library.

For one machine, up to about 200 000 chunks; beyond that the answer is a Qdrant server, by one setting.
"""

import argparse
import asyncio
import ctypes
import hmac
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import qdrant_edge as edge
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.embedded.vector_requests import (
    BadRequestError,
    read_filter,
    read_id,
    read_point,
    read_query_request,
    read_scroll,
    write_id,
    write_record,
    write_scored,
)
from app.embedded.vector_shards import ExistingCollectionError, MissingCollectionError, Shard, Shards, opened

PR_SET_PDEATHSIG = 1
UPDATED = {"operation_id": 0, "status": "completed"}
HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
OPTIMIZERS = {"default_segment_number": 0, "flush_interval_sec": 5}

Work = Callable[[Shards, Request, Any], Any]


def _shard(shards: Shards, request: Request) -> Shard:
    return shards.get(request.path_params["name"])


def list_collections(shards: Shards, _: Request, __: Any) -> Any:
    """``GET /collections``."""
    return {"collections": [{"name": name} for name in shards.names()]}


def create_collection(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}``."""
    vectors = body.get("vectors") or {}
    if not vectors or "size" in vectors:
        raise BadRequestError("Wrong input: vectors must be named")
    shards.create(request.path_params["name"], vectors, body.get("sparse_vectors") or {})
    return True


def describe_collection(shards: Shards, request: Request, _: Any) -> Any:
    """``GET /collections/{name}``."""
    shard = _shard(shards, request)
    info = shard.engine.info()
    return {
        "status": "green",
        "optimizer_status": "ok",
        "points_count": info.points_count,
        "indexed_vectors_count": info.indexed_vectors_count,
        "segments_count": info.segments_count,
        "config": {
            "params": {
                "vectors": shard.config["vectors"],
                "sparse_vectors": shard.config["sparse_vectors"],
                "shard_number": 1,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": True,
            },
            "hnsw_config": HNSW,
            "optimizer_config": OPTIMIZERS,
        },
        "payload_schema": {field: {"data_type": kind, "points": 0} for field, kind in shard.indexes.items()},
    }


def drop_collection(shards: Shards, request: Request, _: Any) -> Any:
    """``DELETE /collections/{name}``."""
    return shards.drop(request.path_params["name"])


def create_index(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}/index``."""
    schema = body["field_schema"]
    _shard(shards, request).add_index(body["field_name"], schema if isinstance(schema, str) else schema["type"])
    return UPDATED


def change_aliases(shards: Shards, _: Request, body: Any) -> Any:
    """``POST /collections/aliases``."""
    shards.change_aliases(body["actions"])
    return True


def list_aliases(shards: Shards, _: Request, __: Any) -> Any:
    """``GET /aliases``."""
    aliases = shards.aliases.items()
    return {"aliases": [{"alias_name": alias, "collection_name": to} for alias, to in aliases]}


def upsert_points(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}/points``."""
    shard = _shard(shards, request)
    size = {name: params["size"] for name, params in shard.config["vectors"].items()}
    points = body["points"]
    for point in points:
        for name, dimension in size.items():
            vector = (point.get("vector") or {}).get(name)
            if vector is not None and len(vector) != dimension:
                raise BadRequestError(f"Wrong input: Vector dimension error: expected {dimension}, got {len(vector)}")
    operation = edge.UpdateOperation.upsert_points([read_point(point) for point in points])
    with shard.writing:
        shard.engine.update(operation)
    return UPDATED


def delete_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/delete``."""
    shard = _shard(shards, request)
    if "points" in body:
        operation = edge.UpdateOperation.delete_points([read_id(point) for point in body["points"]])
    else:
        restrict = read_filter(body["filter"])
        if restrict is None:
            raise BadRequestError("Wrong input: an empty filter would delete everything")
        operation = edge.UpdateOperation.delete_points_by_filter(restrict)
    with shard.writing:
        shard.engine.update(operation)
    return UPDATED


def set_payload(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/payload``."""
    shard = _shard(shards, request)
    ids = [read_id(point) for point in body["points"]]
    with shard.writing:
        shard.engine.update(edge.UpdateOperation.set_payload(ids, body["payload"]))
    return UPDATED


def retrieve_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points``."""
    ids = [read_id(point) for point in body["ids"]]
    records = _shard(shards, request).engine.retrieve(
        ids, with_payload=body.get("with_payload", True), with_vector=body.get("with_vector", False)
    )
    return [write_record(record) for record in records]


def scroll_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/scroll``."""
    records, following = _shard(shards, request).engine.scroll(read_scroll(body))
    page = [write_record(record) for record in records]
    return {"points": page, "next_page_offset": None if following is None else write_id(following)}


def count_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/count``."""
    request_ = edge.CountRequest(exact=True, filter=read_filter(body.get("filter")))
    return {"count": _shard(shards, request).engine.count(request_)}


def query_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/query``."""
    found = _shard(shards, request).engine.query(read_query_request(body))
    return {"points": [write_scored(point) for point in found]}


ROUTES: tuple[tuple[str, str, Work], ...] = (
    ("GET", "/collections", list_collections),
    ("GET", "/aliases", list_aliases),
    ("POST", "/collections/aliases", change_aliases),
    ("PUT", "/collections/{name}", create_collection),
    ("GET", "/collections/{name}", describe_collection),
    ("DELETE", "/collections/{name}", drop_collection),
    ("PUT", "/collections/{name}/index", create_index),
    ("PUT", "/collections/{name}/points", upsert_points),
    ("POST", "/collections/{name}/points", retrieve_points),
    ("POST", "/collections/{name}/points/delete", delete_points),
    ("POST", "/collections/{name}/points/payload", set_payload),
    ("POST", "/collections/{name}/points/scroll", scroll_points),
    ("POST", "/collections/{name}/points/count", count_points),
    ("POST", "/collections/{name}/points/query", query_points),
)


def _answer(code: int, started: float, **content: Any) -> Response:
    body = {**content, "time": time.perf_counter() - started}
    return Response(orjson.dumps(body), status_code=code, media_type="application/json")


def _error(code: int, started: float, message: str) -> Response:
    return _answer(code, started, status={"error": message})


def _endpoint(shards: Shards, api_key: str, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        if not hmac.compare_digest(request.headers.get("api-key", "").encode(), api_key.encode()):
            return _error(401, started, "Must provide an API key")
        raw = await request.body()
        try:
            result = await asyncio.to_thread(lambda: work(shards, request, orjson.loads(raw) if raw else {}))
        except MissingCollectionError as error:
            return _error(404, started, f"Not found: Collection `{error}` doesn't exist!")
        except ExistingCollectionError as error:
            return _error(409, started, f"Wrong input: Collection `{error}` already exists!")
        except (BadRequestError, KeyError, TypeError, ValueError, AttributeError) as error:
            return _error(400, started, str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 — the engine raises nothing more exact, and the caller must hear it
            return _error(500, started, f"Service internal error: {type(error).__name__}: {error}")
        return _answer(200, started, result=result, status="ok")

    return handle


def create_server(shards: Shards, api_key: str) -> Starlette:
    """The ASGI application."""
    return Starlette(
        routes=[Route(path, _endpoint(shards, api_key, work), methods=[method]) for method, path, work in ROUTES]
    )


def _die_with_parent() -> None:
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent or parent == 1:
            sys.exit(0)


async def _serve(server: uvicorn.Server, listener: socket.socket, port_file: Path) -> None:
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 — uvicorn offers a flag, no event
        await asyncio.sleep(0.005)
    temporary = port_file.with_suffix(".new")
    temporary.write_text(str(listener.getsockname()[1]))
    temporary.replace(port_file)
    await serving


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m app.embedded.vectors")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--api-key-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--die-with-parent", action="store_true")
    arguments = parser.parse_args()
    if arguments.die_with_parent:
        _die_with_parent()
    api_key = arguments.api_key_file.read_text().strip()
    with opened(arguments.data) as shards:
        listener = socket.create_server(("127.0.0.1", arguments.port))
        config = uvicorn.Config(create_server(shards, api_key), log_config=None, access_log=False, lifespan="off")
        asyncio.run(_serve(uvicorn.Server(config), listener, arguments.port_file))


if __name__ == "__main__":
    main()

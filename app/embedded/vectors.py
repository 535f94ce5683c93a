"""The embedded vector server: the part of Qdrant's REST API that Vecloom uses, over the same engine as a library.

For one machine, up to about 200 000 chunks; beyond that the answer is a Qdrant server, by one setting. It builds no
approximate index unless a collection asks for one: up to that size a plain scan is fast enough.
"""

import argparse
import asyncio
import gc
import hmac
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.domain.errors import DataFolderBusyError
from app.embedded.vector_description import write_description
from app.embedded.vector_errors import (
    AnswerError,
    BadRequestError,
    BodyTooLargeError,
    EngineError,
    MissingPointError,
    WrongKeyError,
    read_os_error,
)
from app.embedded.vector_parameters import read_change, read_collection
from app.embedded.vector_parent import die_with_parent
from app.embedded.vector_rebuilds import Rebuilds
from app.embedded.vector_requests import (
    read_alias_change,
    read_collection_name,
    read_count,
    read_deletion,
    read_index,
    read_layout,
    read_payload,
    read_points,
    read_query,
    read_retrieval,
    read_scroll,
    write_id,
    write_record,
    write_scored,
)
from app.embedded.vector_shard import Shard
from app.embedded.vector_shards import Shards, opened
from app.embedded.vector_turns import Searches, Then
from app.embedded.vector_values import Layout

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
FLUSH_SECONDS = 10.0
"""Searches wait while the engine flushes: some 50 ms, and 5 more for each thousand points. After a crash it replays
what came since."""

GRACE_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
"""Longer than any client keeps an idle connection, so that none is closed under a request."""

READING = threading.Lock()
"""Points are read by one thread at a time: all of it needs the interpreter's lock."""
SWITCH_SECONDS = 0.0005
"""How long a thread that reads points keeps a search waiting for the interpreter's lock."""

SEARCHES = Searches()

UPDATED = {"operation_id": 0, "status": "completed"}

PACKED = "packed-vectors"
ACCEPTS = {"vecloom-accepts": PACKED}
"""In every answer: dense vectors may come as base64 of little-endian float32, which no Qdrant server takes."""
WANTS = "vecloom-wants"
"""A request with this header and the same value gets them so too."""

Work = Callable[[Shards, Request, Any], Any]


def _find(shards: Shards, request: Request) -> tuple[Shard, Layout]:
    shard = shards.get(request.path_params["name"])
    return shard, read_layout(shard.description)


def _wants_packed(request: Request) -> bool:
    return request.headers.get(WANTS) == PACKED


def list_collections(shards: Shards, _: Request, __: Any) -> Any:
    """``GET /collections``."""
    return {"collections": [{"name": name} for name in shards.names]}


def create_collection(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}``."""
    description = read_collection(body)
    shards.create(read_collection_name(request.path_params["name"]), description)
    return True


def describe_collection(shards: Shards, request: Request, _: Any) -> Any:
    """``GET /collections/{name}``."""
    shard, _layout = _find(shards, request)
    return write_description(shard)


def change_collection(shards: Shards, request: Request, body: Any) -> Any:
    """``PATCH /collections/{name}``."""
    shard, _layout = _find(shards, request)
    shard.change(lambda description: read_change(body, description))
    return True


def drop_collection(shards: Shards, request: Request, _: Any) -> Any:
    """``DELETE /collections/{name}``."""
    return shards.drop(request.path_params["name"])


def create_index(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}/index``."""
    shard, _layout = _find(shards, request)
    shard.write(read_index(body))
    return UPDATED


def change_aliases(shards: Shards, _: Request, body: Any) -> Any:
    """``POST /collections/aliases``."""
    shards.change_aliases(read_alias_change(body))
    return True


def list_aliases(shards: Shards, _: Request, __: Any) -> Any:
    """``GET /aliases``."""
    aliases = shards.aliases.items()
    return {"aliases": [{"alias_name": alias, "collection_name": to} for alias, to in aliases]}


def upsert_points(shards: Shards, request: Request, body: Any) -> Any:
    """``PUT /collections/{name}/points``."""
    shard, layout = _find(shards, request)
    with READING:
        points = read_points(body, layout, give_way=SEARCHES.give_way)

    def write() -> Any:
        SEARCHES.give_way()
        shard.write(points, size=int(request.headers.get("content-length", MAX_BODY_BYTES)))
        return UPDATED

    return Then(write)


def delete_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/delete``."""
    shard, _layout = _find(shards, request)
    shard.write(read_deletion(body))
    return UPDATED


def set_payload(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/payload``."""
    shard, _layout = _find(shards, request)
    ids, operation = read_payload(body)
    known = {record.id for record in shard.read(lambda engine: engine.retrieve(ids, False, False))}  # noqa: FBT003 — the engine's own signature
    for point in ids:
        if point not in known:
            raise MissingPointError(point)
    shard.write(operation)
    return UPDATED


def retrieve_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points``."""
    shard, layout = _find(shards, request)
    ids, with_payload, with_vector = read_retrieval(body, layout)
    packed = _wants_packed(request)
    records = shard.read(lambda engine: engine.retrieve(ids, with_payload, with_vector))
    return [write_record(record, packed=packed) for record in records]


def scroll_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/scroll``."""
    shard, layout = _find(shards, request)
    scroll = read_scroll(body, layout)
    records, following = shard.read(lambda engine: engine.scroll(scroll))
    packed = _wants_packed(request)
    page = [write_record(record, packed=packed) for record in records]
    return {"points": page, "next_page_offset": None if following is None else write_id(following)}


def count_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/count``."""
    shard, _layout = _find(shards, request)
    count = read_count(body)
    return {"count": shard.read(lambda engine: engine.count(count))}


def query_points(shards: Shards, request: Request, body: Any) -> Any:
    """``POST /collections/{name}/points/query``."""
    shard, layout = _find(shards, request)
    query = read_query(body, layout)
    return {"points": [write_scored(point) for point in shard.read(lambda engine: engine.query(query))]}


ROUTES: tuple[tuple[str, str, Work], ...] = (
    ("POST", "/collections/{name}/points/query", query_points),
    ("GET", "/collections", list_collections),
    ("GET", "/aliases", list_aliases),
    ("POST", "/collections/aliases", change_aliases),
    ("PUT", "/collections/{name}", create_collection),
    ("GET", "/collections/{name}", describe_collection),
    ("PATCH", "/collections/{name}", change_collection),
    ("DELETE", "/collections/{name}", drop_collection),
    ("PUT", "/collections/{name}/index", create_index),
    ("PUT", "/collections/{name}/points", upsert_points),
    ("POST", "/collections/{name}/points", retrieve_points),
    ("POST", "/collections/{name}/points/delete", delete_points),
    ("POST", "/collections/{name}/points/payload", set_payload),
    ("POST", "/collections/{name}/points/scroll", scroll_points),
    ("POST", "/collections/{name}/points/count", count_points),
)


def _answer(code: int, started: float, **content: Any) -> Response:
    body = {**content, "time": time.perf_counter() - started}
    return Response(orjson.dumps(body), status_code=code, headers=ACCEPTS, media_type="application/json")


async def _read_body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError(MAX_BODY_BYTES)
        parts.append(part)
    return b"".join(parts)


def _do(work: Work, shards: Shards, request: Request, raw: bytes) -> Any:
    """One request, in a thread: parsing and the engine are too slow for the event loop."""
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"not JSON: {error}") from error
    return work(shards, request, body)


def _endpoint(shards: Shards, api_key: bytes, work: Work) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        try:
            if not hmac.compare_digest(request.headers.get("api-key", "").encode(), api_key):
                raise WrongKeyError
            raw = await _read_body(request)
            with SEARCHES.counted() if work is query_points else nullcontext():
                result = await asyncio.to_thread(_do, work, shards, request, raw)
            if isinstance(result, Then):
                result = await result.do(request)
        except ClientDisconnect:
            return _answer(400, started, status={"error": "the client went away"})
        except OSError as failure:
            log.exception("vector_storage_failed")
            error = read_os_error(failure)
            return _answer(error.status, started, status={"error": str(error)})
        except AnswerError as error:
            if isinstance(error, EngineError):
                log.exception("vector_engine_failed")
            return _answer(error.status, started, status={"error": str(error)})
        return _answer(200, started, result=result, status="ok")

    return handle


async def _refuse(_: Request, error: Exception) -> Response:
    """An unknown path or method."""
    code, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return _answer(code, time.perf_counter(), status={"error": detail})


def create_app(shards: Shards, api_key: str) -> Starlette:
    """The ASGI application."""
    routes = [Route(path, _endpoint(shards, api_key.encode(), work), methods=[method]) for method, path, work in ROUTES]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse})


class Server(uvicorn.Server):
    """Tells its port in a file once it answers."""

    def __init__(self, config: uvicorn.Config, port_file: Path) -> None:
        super().__init__(config)
        self._port_file = port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; the file appears whole or not at all."""
        await super().startup(sockets)
        for listener in sockets or []:
            temporary = self._port_file.with_name(self._port_file.name + ".new")
            temporary.write_text(str(listener.getsockname()[1]))
            temporary.replace(self._port_file)


async def _flush_regularly(shards: Shards) -> None:
    """Keep the write-ahead log short, and with it the time the next start takes after a crash."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        await asyncio.to_thread(shards.flush)


async def _serve(server: Server, listener: socket.socket, shards: Shards) -> None:
    async with asyncio.TaskGroup() as group:
        flushing = group.create_task(_flush_regularly(shards))
        await server.serve([listener])
        flushing.cancel()


def _listen(port: int) -> socket.socket:
    # asyncio turns off Nagle's algorithm, worth 40 ms a request, only where the protocol is named
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.embedded.vectors")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--api-key-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--die-with-parent",
        nargs="?",
        type=int,
        const=0,
        metavar="PID",
        help="with the parent's pid, also ends when the parent was gone before this option was read",
    )
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT, then flush."""
    arguments = _parse_arguments()
    if arguments.die_with_parent is not None:
        # what was acknowledged is in the write-ahead log
        die_with_parent(arguments.die_with_parent)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    api_key = arguments.api_key_file.read_text().strip()
    if not api_key:
        sys.exit(f"the API key file {arguments.api_key_file} is empty")
    # uvicorn ends by raising the signal it got once more: that must unwind, not end the process before the flush
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        with (
            opened(arguments.data) as shards,
            Rebuilds(shards, give_way=SEARCHES.give_way),
            _listen(arguments.port) as listener,
        ):
            config = uvicorn.Config(
                create_app(shards, api_key),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            gc.freeze()
            sys.setswitchinterval(SWITCH_SECONDS)
            uvloop.run(_serve(Server(config, arguments.port_file), listener, shards))
    except DataFolderBusyError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()

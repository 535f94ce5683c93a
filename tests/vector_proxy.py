"""Stands in front of a real vector server and spoils what passes, on a socket and a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

START_SECONDS = 10.0
METHODS = ["GET", "PUT", "POST", "DELETE", "PATCH"]
OWN_HEADERS = {"host", "content-length", "connection"}


class Spoil(StrEnum):
    """What is done to a request or its answer."""

    REFUSED = "refused"
    """Answered with a status and never handed on."""

    PAGE = "page"
    """Answered with a web page and 200, and never handed on."""

    HOLLOW = "hollow"
    """Answered with an empty object and 200, and never handed on."""

    CUT_BEFORE = "cut_before"
    """The connection is cut, and the request never handed on."""

    CUT_AFTER = "cut_after"
    """The request is handed on and done; the connection is cut in the middle of the answer."""

    SLOW = "slow"
    """The request is handed on; the answer comes after ``delay_seconds``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to the next requests."""

    spoil: Spoil
    status: int = 500
    reason: str = "as told"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


class _CutResponse(Response):
    """Promises more than it sends; the server then drops the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"result": ', "more_body": False})


class VectorProxy:
    """Passes on everything, but for what ``spoil_next`` says about requests that write points.

    Attributes:
        spoiled: how many requests were spoiled.
        held: set once a request is held.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._plan: Plan | None = None
        self._left = 0
        self._passing = threading.Event()
        self._passing.set()
        self._passes = 0
        self.held = threading.Event()
        self.spoiled = 0
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def spoil_next(self, plan: Plan, *, times: int) -> None:
        """Do this to the next requests that change points."""
        self._plan, self._left = plan, times

    def hold_a_scroll(self, *, after: int) -> None:
        """Hold the page of points that is asked for after so many, until ``mend``; all others pass."""
        self._passes = after
        self.held.clear()
        self._passing.clear()

    def mend(self) -> None:
        """Pass on everything again."""
        self._left = 0
        self._passing.set()

    @contextmanager
    def running(self) -> Iterator["VectorProxy"]:
        """Serve until the block ends."""
        application = Starlette(routes=[Route("/{path:path}", self._pass, methods=METHODS)])
        config = uvicorn.Config(application, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, name="vector-proxy")
        thread.start()
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.started:
                assert thread.is_alive(), "the proxy did not start"
                assert time.monotonic() < deadline, "the proxy did not start in time"
                time.sleep(0.005)
            yield self
        finally:
            self.mend()
            server.should_exit = True
            thread.join()
            self._listener.close()

    async def _pass(self, request: Request) -> Response:
        body = await request.body()
        await self._hold(request)
        plan = self._take_plan(request)
        if plan is None:
            return await self._hand_on(request, body)
        if plan.spoil is Spoil.REFUSED:
            return JSONResponse({"status": {"error": plan.reason}}, plan.status, headers=dict(plan.headers))
        if plan.spoil is Spoil.PAGE:
            return Response("<html>welcome to the network</html>", media_type="text/html")
        if plan.spoil is Spoil.HOLLOW:
            return Response("{}", media_type="application/json")
        if plan.spoil is Spoil.CUT_BEFORE:
            return _CutResponse()
        answer = await self._hand_on(request, body)
        await asyncio.sleep(plan.delay_seconds)
        return _CutResponse() if plan.spoil is Spoil.CUT_AFTER else answer

    async def _hold(self, request: Request) -> None:
        if self._passing.is_set() or not request.url.path.endswith("/points/scroll"):
            return
        self._passes -= 1
        if self._passes == -1:
            self.held.set()
            await asyncio.to_thread(self._passing.wait)

    def _take_plan(self, request: Request) -> Plan | None:
        writes = request.method == "PUT" and request.url.path.endswith("/points")
        if not self._left or not (writes or request.url.path.endswith("/points/delete")):
            return None
        self._left -= 1
        self.spoiled += 1
        return self._plan

    async def _hand_on(self, request: Request, body: bytes) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in OWN_HEADERS}
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            url = f"{self._target}{request.url.path}?{request.url.query}"
            answer = await client.request(request.method, url, content=body, headers=headers)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

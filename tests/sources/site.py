"""A web site over a real socket, that can move, refuse and break its pages."""

import gzip
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML = "text/html; charset=utf-8"
TEXT = "text/plain"
HELD_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePage:
    """What the site answers at a path."""

    body: bytes = b""
    content_type: str = TEXT
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    has_etag: bool = True
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int
    sent: int


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that go away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """See the library."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class Site:
    """Pages by path. ``requests`` are those that were answered; ``is_gone`` makes everything 404.

    Paths in ``held`` are answered once their event is set.
    """

    def __init__(self) -> None:
        self.pages: dict[str, SitePage] = {}
        self.requests: list[Request] = []
        self.is_gone = False
        self.held: dict[str, threading.Event] = {}
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._make_handler())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, body: bytes | str, **options: Any) -> None:
        """Answer a path with a page."""
        content = body.encode() if isinstance(body, str) else body
        self.pages[path] = SitePage(body=content, **options)

    def link(self, path: str, *links: str, title: str = "", head: str = "", text: str = "", **options: Any) -> None:
        """Answer a path with a page of links."""
        anchors = "".join(f'<a href="{link}">x</a>' for link in links)
        body = (
            f"<!doctype html><html><head><title>{title}</title>{head}</head><body><p>{text}</p>{anchors}</body></html>"
        )
        self.put(path, body, content_type=HTML, **options)

    def redirect(self, path: str, to: str) -> None:
        """Answer a path with another place."""
        self.pages[path] = SitePage(status=302, headers={"Location": to})

    def asked(self) -> list[str]:
        """Paths of all requests so far, in order."""
        return [request.path for request in self.requests]

    def forget_requests(self) -> None:
        """Begin to count anew."""
        self.requests.clear()

    @contextmanager
    def running(self) -> Iterator["Site"]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        with self.lock:
            page = None if self.is_gone else self.pages.get(path)
            if page is not None and page.failures > 0:
                self.pages[path] = SitePage(
                    body=page.body, content_type=page.content_type, headers=page.headers, failures=page.failures - 1
                )
                return 503, {"Retry-After": "0"}, b"busy"
        if page is None:
            return 404, {}, b"nothing here"
        said = {"Content-Type": page.content_type, "Accept-Ranges": "bytes", **page.headers}
        etag = f'"{sha256(page.body).hexdigest()[:16]}"'
        if page.has_etag and page.status == 200:
            said["ETag"] = etag
            if headers.get("if-none-match") == etag:
                return 304, said, b""
        body = page.body
        if "gzip" in headers.get("accept-encoding", "") and said.get("Content-Encoding") == "gzip":
            body = gzip.compress(body)
        return page.status, said, body

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                if (gate := site.held.get(self.path)) is not None:
                    gate.wait(HELD_SECONDS)
                status, said, body = site.answer(self.path, headers)
                if status == 200 and (wanted := headers.get("range", "")).startswith("bytes="):
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    end = min(int(last or len(body)), len(body) - 1)
                    said["Content-Range"] = f"bytes {first}-{end}/{len(body)}"
                    status, body = 206, body[int(first) : end + 1]
                site.requests.append(Request(path=self.path, headers=headers, status=status, sent=len(body)))
                self.send_response(status)
                for name, value in said.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 — the library's own name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the library's own name
                """Say nothing."""

        return Handler

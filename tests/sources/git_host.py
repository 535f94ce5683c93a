"""Git repositories over a real socket: git's own server program behind a small HTTP server."""

import gzip
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PERSON = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
CLEAN = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(folder: Path, *arguments: str, asked: bytes = b"") -> str:
    """What git says; it must succeed."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**CLEAN, **PERSON, "HOME": str(folder)},
        input=asked,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    return done.stdout.decode("utf-8", "surrogateescape").strip()


class Repository:
    """A bare repository of one branch ``main``, each change of which is a commit."""

    def __init__(self, bare: Path, *, format: str = "sha1") -> None:  # noqa: A002 — git's own name
        self.bare = bare
        self.files: dict[str, tuple[str, str]] = {}
        """Mode and object id by path."""
        bare.mkdir(parents=True)
        git(bare, "init", "--quiet", "--bare", "--initial-branch=main", f"--object-format={format}")
        self.set("uploadpack.allowFilter", "true")

    def set(self, name: str, value: str) -> None:
        """Configure the server."""
        git(self.bare, "config", name, value)

    def store(self, content: bytes) -> str:
        """Id of an object."""
        return git(self.bare, "hash-object", "-w", "--stdin", asked=content)

    def write(self, path: str, content: bytes, *, mode: str = "100644") -> str:
        """Commit a file; the id of its object."""
        blob = self.store(content)
        self.files[path] = (mode, blob)
        self.commit()
        return blob

    def write_all(self, files: dict[str, bytes]) -> None:
        """Commit files, at once."""
        for path, content in files.items():
            self.files[path] = ("100644", self.store(content))
        self.commit()

    def remove(self, path: str) -> None:
        """Commit that a file is gone."""
        del self.files[path]
        self.commit()

    def commit(self, branch: str = "main", *, forgets: bool = False) -> str:
        """A commit of what is there; one that ``forgets`` has none before it."""
        index = self.bare / "index"
        index.unlink(missing_ok=True)
        lines = "".join(f"{mode} {blob}\t{path}\0" for path, (mode, blob) in self.files.items())
        git(self.bare, "update-index", "-z", "--index-info", asked=lines.encode("utf-8", "surrogateescape"))
        tree = git(self.bare, "write-tree", "--missing-ok")
        known = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        parents = ["-p", known] if known and not forgets else []
        commit = git(self.bare, "commit-tree", tree, "-m", "x", *parents)
        git(self.bare, "update-ref", f"refs/heads/{branch}", commit)
        return commit

    def forget(self) -> None:
        """A forced push: only the newest commit is there, and nothing else."""
        self.commit(forgets=True)
        git(self.bare, "reflog", "expire", "--expire=now", "--all")
        git(self.bare, "prune", "--expire=now")

    def lose(self, blob: str) -> None:
        """Damage: an object is gone that a commit names."""
        (self.bare / "objects" / blob[:2] / blob[2:]).unlink()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def wants(self) -> list[str]:
        """Ids of objects that are asked for."""
        return [found.decode() for found in re.findall(rb"want ([0-9a-f]{40,64})", self.body)]


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that go away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """See the library."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, whole."""

    protocol_version = "HTTP/1.1"
    host: "GitHost"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 — the library's name
        """Nothing."""

    def do_GET(self) -> None:
        """See the library."""
        self._answer(b"")

    def do_POST(self) -> None:
        """See the library."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self._answer(self._read_chunks())
        else:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes) -> None:
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        path, _, query = self.path.partition("?")
        said = {name.lower(): value for name, value in self.headers.items()}
        request = Asked(method=self.command, path=path, query=query, headers=said, body=body)
        self.host.asked.append(request)
        status, headers, answer = self.host.answer(request)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class GitHost:
    """Repositories below a folder.

    Attributes:
        asked: requests so far.
        login: the ``Authorization`` that it wants, if any.
        redirect: where it sends everybody, if anywhere.
        forgets_protocol: whether it is as old as to know the first protocol alone.
        stalls: whether it says nothing when asked for objects, until it ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Asked] = []
        self.login: str | None = None
        self.redirect: str | None = None
        self.forgets_protocol = False
        self.stalls = False
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._make_handler())

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url_of(self, repository: Repository, *, host: str = "127.0.0.1") -> str:
        """As a source."""
        return f"git+http://{host}:{self.port}/{repository.bare.relative_to(self.folder)}"

    def make(self, name: str = "a.git") -> Repository:
        """An empty repository."""
        return Repository(self.folder / name)

    def wants(self) -> list[str]:
        """Ids of all objects that were asked for, in order."""
        return [want for request in self.asked for want in request.wants]

    @contextmanager
    def running(self) -> Iterator["GitHost"]:
        """Serve while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"host": self})

    def answer(self, request: Asked) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        if self.redirect is not None:
            return 301, {"Location": f"{self.redirect}/info/refs?service=git-upload-pack"}, b""
        if self.login is not None and request.headers.get("authorization") != self.login:
            return 401, {"WWW-Authenticate": 'Basic realm="git"'}, b""
        if self.stalls and b"want " in request.body:
            self.ended.wait()
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                **CLEAN,
                "GIT_PROJECT_ROOT": str(self.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": request.method,
                "PATH_INFO": request.path,
                "QUERY_STRING": request.query,
                "CONTENT_TYPE": request.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(request.body)),
                "GIT_PROTOCOL": "" if self.forgets_protocol else request.headers.get("git-protocol", ""),
            },
            input=request.body,
            capture_output=True,
            check=False,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200").split()[0])
        return status, headers, body

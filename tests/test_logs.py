"""Every line any entry point logs is one JSON object without a secret in it."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app.settings import Settings
from tests.harness import Api, environment_of, wait_until

PREPARE = """
import logging, structlog
from app.domain.errors import SourceNotFoundError
from app.logs import log_to_file, log_to_stderr
logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
logging.getLogger("uvicorn").propagate = False
log_to_stderr("INFO")
log = structlog.get_logger("app.somewhere")
"""


def log_lines(code: str) -> list[dict[str, Any]]:
    """What a process writes to stderr that runs this code with logging set up."""
    done = subprocess.run([sys.executable, "-c", PREPARE + code], capture_output=True, check=True, timeout=60)
    assert done.stdout == b""
    return parse(done.stderr)


def parse(text: bytes) -> list[dict[str, Any]]:
    """Each line as JSON."""
    return [orjson.loads(line) for line in text.splitlines()]


def test_our_lines_and_those_of_libraries_look_the_same() -> None:
    """Both have time, level, logger, event and the bound context."""
    ours, theirs = log_lines("""
with structlog.contextvars.bound_contextvars(operation_id="o1", attempt=2):
    log.info("attempt_failed", code="disk_full")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
""")

    common = {"level": "info", "operation_id": "o1", "attempt": 2}
    assert ours.pop("timestamp") <= theirs.pop("timestamp")
    assert ours == {**common, "event": "attempt_failed", "code": "disk_full", "logger": "app.somewhere"}
    assert theirs == {**common, "event": "Started server process [7]", "logger": "uvicorn.error"}


def test_a_library_cannot_take_logging_over() -> None:
    """Importing a library that calls ``basicConfig`` changes nothing; a forced one keeps our lines."""
    lines = log_lines("""
import wordllama
logging.getLogger("httpx").info("HTTP Request: GET https://h/?key=k1")
logging.getLogger("arq.worker").info("0.01s -> job")
logging.getLogger("httpx").warning("still said")
logging.basicConfig(level=logging.INFO, force=True)
log.info("ours")
""")

    assert [line["event"] for line in lines] == ["still said", "ours"]


def test_the_level_holds_for_us_and_only_warnings_come_from_others() -> None:
    """At DEBUG our own details are told; libraries stay quiet."""
    lines = log_lines("""
log_to_stderr("DEBUG")
log.debug("ours")
logging.getLogger("asyncpg").debug("theirs")
log_to_stderr("ERROR")
log.warning("ours")
logging.getLogger("uvicorn.error").warning("theirs")
logging.getLogger("other").warning("theirs")
""")

    assert [(line["event"], line["level"]) for line in lines] == [("ours", "debug")]


def test_an_exception_is_told_without_its_text() -> None:
    """Type, frames and causes of any exception; the message only of our own errors."""
    bug, theirs, known = log_lines("""
def fail():
    raise ValueError("cannot parse hunter2")
try:
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("hunter2") from error
except RuntimeError:
    log.exception("job_failed")
    logging.getLogger("asyncio").exception("Task exception was never retrieved\\nfuture: RuntimeError('hunter2')")
try:
    raise SourceNotFoundError("file:///home/bob/docs")
except SourceNotFoundError as error:
    log.warning("attempt_failed", exc_info=error)
""")

    assert bug["event"] == "job_failed"
    assert bug["exception"]["type"] == "RuntimeError"
    assert bug["exception"]["cause"]["type"] == "ValueError"
    assert [frame.rpartition(" ")[2] for frame in bug["exception"]["cause"]["frames"]] == ["<module>", "fail"]
    assert theirs["event"] == "Task exception was never retrieved"
    assert theirs["exception"] == bug["exception"]
    assert "hunter2" not in str([bug, theirs])
    assert known["exception"]["code"] == "source_not_found"
    assert known["exception"]["message"] == "nothing readable at file://~/docs; check the path and its permissions"


def test_no_field_carries_a_secret() -> None:
    """Values are sanitised however deep they are, and fields with a secret's name lose theirs."""
    [line] = log_lines("""
log.info("opened", url="redis://:hunter2@cache", api_key="hunter2", error=ValueError("hunter2"), tokens=512,
         nested={"list": ["password=hunter2", {"lease_token": "hunter2"}], "none": None})
""")

    assert "hunter2" not in str(line)
    assert line["url"] == "redis://<secret>@cache"
    assert (line["api_key"], line["error"], line["tokens"]) == ("<secret>", "ValueError", 512)
    assert line["nested"] == {"list": ["password=<secret>", {"lease_token": "<secret>"}], "none": None}


def test_a_file_takes_the_same_lines(tmp_path: Path) -> None:
    """A command that shows its own progress logs to a file and nothing to stderr."""
    path = tmp_path / "vecloom.log"

    lines = log_lines(f"""
from pathlib import Path
log_to_file("INFO", Path({str(path)!r}))
log.info("ours")
logging.getLogger("other").warning("theirs")
""")

    assert lines == []
    assert [line["event"] for line in parse(path.read_bytes())] == ["ours", "theirs"]


@asynccontextmanager
async def running(arguments: Sequence[str], settings: Settings, log: Path) -> AsyncIterator[None]:
    """A Python module as a process of its own, ended by SIGTERM."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment_of(settings), stdout=stream, stderr=stream
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


async def test_uvicorn_logs_one_json_line_a_request(settings: Settings, tmp_path: Path) -> None:
    """From start to end uvicorn's process writes JSON only, and the query of a URL is in none of it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/v1"

    async def is_alive() -> bool:
        try:
            return (await client.get(f"{url}/health/live")).status_code == 200
        except httpx.TransportError:
            return False

    arguments = ["uvicorn", "--factory", "app.main:create_app", "--port", str(port)]
    async with httpx.AsyncClient() as client, running(arguments, settings, tmp_path / "log"):
        await wait_until(is_alive)
        answer = await client.get(f"{url}/collections/secrets?key=hunter2", headers={"X-Request-Id": "r-1"})

    text = (tmp_path / "log").read_bytes()
    [line] = [line for line in parse(text) if line.get("request_id") == "r-1"]
    assert b"hunter2" not in text
    assert answer.headers["x-request-id"] == "r-1"
    assert line["ms"] >= 0
    assert {name: line[name] for name in ("event", "level", "method", "route", "status")} == {
        "event": "request_done",
        "level": "info",
        "method": "GET",
        "route": "/api/v1/collections/{collection}",
        "status": 401,
    }


@pytest.mark.parametrize(
    "arguments", [["arq", "app.worker.WorkerSettings"], ["app.cli.main", "worker"]], ids=["arq", "vecloom worker"]
)
async def test_a_worker_logs_json_with_the_operation(
    api: Api, settings: Settings, tmp_path: Path, arguments: list[str]
) -> None:
    """What a worker says while an operation fails names the operation and its attempt, and every line is JSON."""
    async with running(arguments, settings, tmp_path / "log"):
        ended = await api.wait(await api.create("notes", tmp_path / "nothing"))

    lines = parse((tmp_path / "log").read_bytes())
    [failed] = [line for line in lines if line["event"] == "attempt_failed"]
    assert ended["state"] == "failed"
    assert (failed["operation_id"], failed["attempt"], failed["code"]) == (
        ended["operation_id"],
        1,
        "source_not_found",
    )


async def test_a_line_from_deep_inside_a_stage_says_whose_it_is(
    api: Api, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    """The document, and the operation, collection, kind, attempt and worker it is looked at for."""
    (folder / "empty.txt").touch()
    async with running(["app.cli.main", "worker"], settings, tmp_path / "log"):
        ended = await api.wait(await api.create("notes", folder))
    document = (await api.documents("notes"))["empty.txt"]

    [line] = [line for line in parse((tmp_path / "log").read_bytes()) if line["event"] == "documents_failed"]
    assert line["documents"] == {document["id"]: "empty_document"}
    assert {name: line[name] for name in ("operation_id", "collection_id", "kind", "attempt", "worker")} == {
        "operation_id": ended["operation_id"],
        "collection_id": ended["collection_id"],
        "kind": "INDEX",
        "attempt": 1,
        "worker": ended["worker"],
    }
    assert line["logger"] == "app.pipeline.write"
    assert b"empty.txt" not in (tmp_path / "log").read_bytes()

"""A process that has imported the worker and becomes workers by forking, each in the moment it takes to fork.

It has one thread and no event loop, so what is forked is as good as new. Commands come as lines of JSON on its stdin,
answers go to its stdout; the end of stdin is the end of all that it started.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

IMPORTED = ("app.worker", "app.embedders.static")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
POLL_SECONDS = 0.01
WORK = "from app.settings import Settings; from app.worker import run_worker; run_worker(Settings())"


class WarmProcess:
    """Starts workers; processes that it started end with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **ONE_THREAD},
        )

    def start(self, *, module: str | None, environment: dict[str, str], log: Path) -> int:
        """Run a module as a process, without one a worker; gives its process id."""
        # there from the start: whoever looks into it may be quicker than the process
        log.touch()
        pid: int = self._ask({"module": module, "environment": environment, "log": str(log), "folder": str(Path.cwd())})
        return pid

    def wait(self, pid: int, *, seconds: float) -> int:
        """Wait for the end of one that it started; gives the exit status, once.

        Raises:
            TimeoutError: if it runs on.
        """
        deadline = time.monotonic() + seconds
        while (status := self._ask({"poll": pid})) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {pid} has not ended within {seconds} s")
            time.sleep(POLL_SECONDS)
        found: int = status
        return found

    def close(self) -> None:
        """End it and all that it started."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@cache
def find_warm() -> WarmProcess:
    """That of this process, started when it is first asked for."""
    opened = WarmProcess()
    atexit.register(opened.close)
    return opened


def _poll(children: set[int], pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    children.discard(pid)
    return os.waitstatus_to_exitcode(status)


def _serve() -> dict[str, Any] | None:
    """Answer commands to their end; in a forked process, what it is to become."""
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "poll" in command:
            answer = _poll(children, command["poll"])
        elif answer := os.fork():
            children.add(answer)
        else:
            sys.stdin.close()
            return command  # type: ignore[no-any-return]  # an object, by the protocol
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def _become(command: dict[str, Any]) -> None:
    """Be a process of that environment, whose output goes to its log."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ.clear()
    os.environ.update(command["environment"])
    os.chdir(command["folder"])
    if command["module"] is None:
        exec(WORK, {"__name__": "__main__"})  # noqa: S102 — as a Python of its own would
    else:
        runpy.run_module(command["module"], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import, then serve."""
    # an extra that the client of the vector store imports where it is installed; its library starts a thread
    sys.modules["fastembed"] = None  # type: ignore[assignment]  # makes an import fail
    for module in IMPORTED:
        importlib.import_module(module)
    del sys.modules["fastembed"]
    gc.collect()
    gc.freeze()
    if threading.active_count() > 1 or (sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) > 1):
        raise SystemExit("an import has started a thread: what is forked would lack it")
    command = _serve()
    if command is not None:
        _become(command)


if __name__ == "__main__":
    main()

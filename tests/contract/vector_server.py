"""The embedded vector server as a child process, and points to put into it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from app.domain.points import PointBatch

KEY = "contract-key"
DIMENSION = 8
DEADLINE_SECONDS = 30.0
ROOT = Path(__file__).resolve().parents[2]
SOURCE = uuid4()


class VectorServer:
    """The server on a folder of its own; start, stop and kill it as often as needed."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port_file = folder / "port"
        self.key_file = folder / "key"
        self.key_file.write_text(f"{KEY}\n")
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Address, once it has started."""
        return f"http://127.0.0.1:{self.port_file.read_text()}"

    @property
    def command(self) -> list[str]:
        """How it is started."""
        files = ["--port-file", str(self.port_file), "--api-key-file", str(self.key_file)]
        return [sys.executable, "-m", "app.embedded.vectors", "--data", str(self.data), *files]

    def spawn(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a process without waiting for it."""
        return subprocess.Popen(
            [*self.command, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ}
        )

    def start(self) -> None:
        """Start it and wait until it has told its port."""
        self.port_file.unlink(missing_ok=True)
        self.process = self.spawn("--die-with-parent", str(os.getpid()))
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.port_file.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, "the vector server did not start"
            time.sleep(0.01)

    def stop(self) -> int:
        """End it gently; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self._wait(self.process)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self._wait(self.process)

    @staticmethod
    def _wait(process: "subprocess.Popen[str]") -> int:
        process.communicate(timeout=DEADLINE_SECONDS)
        return process.returncode


def axis(number: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A unit vector."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[number] = 1.0
    return vector


def make_points(
    texts: Sequence[str],
    *,
    ids: Sequence[UUID] | None = None,
    document: UUID | None = None,
    path: str = "guides/sea/whales.md",
    source: UUID = SOURCE,
) -> PointBatch:
    """Points of one document; the n-th lies on the n-th axis, as far as there are any."""
    document = document or uuid4()
    parts = path.split("/")
    payload = {
        "document_id": str(document),
        "source_id": str(source),
        "file_type": path.rpartition(".")[2],
        "folders": ["/".join(parts[: depth + 1]) for depth in range(len(parts))],
    }
    return PointBatch(
        ids=ids or [uuid4() for _ in texts],
        vectors=np.stack([axis(number % DIMENSION) for number in range(len(texts))]),
        texts=texts,
        payloads=[payload] * len(texts),
    )

"""How far a layout is, from the child that makes it to the parent that tells."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import orjson

INTERVAL_SECONDS: Final = 0.1
MAX_BYTES: Final = 1000


class ProgressFile:
    """One small file, replaced as a whole at most ten times a second; without a path nothing is written."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        self._written: tuple[str, float] = ("", 0.0)

    def write(self, stage: str, done: int, total: int) -> None:
        """Say how much of a stage is done; a map does not fail for want of a file that only tells about it."""
        now = time.monotonic()
        stage_before, before = self._written
        if self._path is None or (stage == stage_before and done < total and now - before < INTERVAL_SECONDS):
            return
        self._written = (stage, now)
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            beside.write_bytes(orjson.dumps([stage, done, total]))
            beside.replace(self._path)

    def read(self) -> tuple[str, int, int] | None:
        """What was written last; None before anything was."""
        if self._path is None:
            return None
        try:
            with self._path.open("rb") as file:
                stage, done, total = orjson.loads(file.read(MAX_BYTES))
            return str(stage), int(done), int(total)
        except (OSError, ValueError, TypeError):
            return None

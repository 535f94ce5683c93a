"""Texts that are shown for points, read from a file by row so that a million of them need not be held."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from app.projection.texts import fit

MISSING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is known of a point for people; all of it may come from anyone."""

    preview: str = ""
    title: str = ""
    uri: str = ""


class Previews:
    """Lines ``{"row", "preview", "document_id", "uri", "title"}`` of a file, in any order, not of all points.

    Memory is 8 bytes a point: where its line begins.
    """

    def __init__(self, path: str | None, points: int) -> None:
        self._starts = np.full(points, MISSING, dtype=np.int64)
        self._file = Path(path).open("rb") if path is not None else None  # noqa: SIM115 - closed by __exit__
        start = 0
        for line in self._file or ():
            row = json.loads(line)["row"]
            if 0 <= row < points:
                self._starts[row] = start
            start += len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, row: int, longest: int) -> Preview:
        """What is known of a point, each text cut to ``longest`` characters; empty texts if nothing is."""
        start = int(self._starts[row])
        if self._file is None or start == MISSING:
            return Preview()
        self._file.seek(start)
        found = json.loads(self._file.readline())
        return Preview(
            preview=fit(found.get("preview"), longest),
            title=fit(found.get("title"), longest),
            uri=fit(found.get("uri"), longest),
        )

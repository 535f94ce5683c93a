"""Pickles of any size that never hold up the event loop.

What is large is pickled in a thread. A thread alone would not help, since ``pickle.dumps`` and ``pickle.loads`` keep
the interpreter's lock until they are done. Over an object with Python methods both come back to the interpreter for
every 64 KiB, and the event loop gets its turn there.
"""

import asyncio
import pickle
from collections.abc import Sequence
from typing import Any

LARGE_BYTES = 1024 * 1024
PART_BYTES = 256 * 1024


class _TooLargeError(Exception):
    """More was written than wanted."""


class _Sink:
    """What a pickler writes to."""

    def __init__(self, most: int | None = None) -> None:
        self.parts: list[bytes] = []
        self._size = 0
        self._most = most

    def write(self, part: bytes | pickle.PickleBuffer) -> int:
        size = memoryview(part).nbytes
        self._size += size
        if self._most is not None and self._size > self._most:
            raise _TooLargeError
        self.parts.append(bytes(part))
        return size


class _Source:
    """What an unpickler reads from."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self._index = 0
        self._offset = 0

    def read(self, size: int) -> bytes:
        taken = []
        while size > 0 and (part := self._take(size)):
            taken.append(part)
            size -= len(part)
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def readinto(self, target: bytearray | memoryview) -> int:
        view, filled = memoryview(target), 0
        while filled < len(view) and (part := self._take(len(view) - filled)):
            view[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def readline(self) -> bytes:
        """Of no use to the protocols that are written today."""
        raise pickle.UnpicklingError("a pickle of an old protocol")

    def _take(self, size: int) -> bytes:
        if self._index == len(self._parts):
            return b""
        part = self._parts[self._index]
        taken = part[self._offset : self._offset + size]
        self._offset += len(taken)
        if self._offset == len(part):
            self._index, self._offset = self._index + 1, 0
        return taken


def _dump(value: object, most: int | None) -> list[bytes]:
    sink = _Sink(most)
    pickle.Pickler(sink, protocol=5).dump(value)
    return sink.parts


def _load(parts: Sequence[bytes]) -> Any:  # noqa: ANN401 — whatever was pickled
    return pickle.Unpickler(_Source(parts)).load()  # noqa: S301 — written by our own child


async def dump(value: object) -> list[bytes]:
    """Pickle a value, in parts."""
    try:
        return _dump(value, LARGE_BYTES)
    except _TooLargeError:
        return await asyncio.to_thread(_dump, value, None)


async def load(parts: Sequence[bytes]) -> Any:  # noqa: ANN401 — whatever was pickled
    """The value of a pickle in parts."""
    if sum(map(len, parts)) <= LARGE_BYTES:
        return _load(parts)
    return await asyncio.to_thread(_load, parts)


async def read_parts(reader: asyncio.StreamReader, size: int) -> list[bytes]:
    """So many bytes, in parts.

    Raises:
        IncompleteReadError: if the stream ends before.
    """
    parts = []
    while size:
        part = await reader.read(min(size, PART_BYTES))
        if not part:
            raise asyncio.IncompleteReadError(b"", size)
        parts.append(part)
        size -= len(part)
    return parts


async def write_parts(writer: asyncio.StreamWriter, parts: Sequence[bytes]) -> None:
    """Write parts, never more at once than the other side takes."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), PART_BYTES):
            writer.write(view[start : start + PART_BYTES])
            await writer.drain()

"""What an IMAP server says, read piece by piece and bounded, whatever it sends."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.domain.errors import SourceGarbageError

LINE_BYTES = 256 * 1024
RESPONSE_BYTES = 512 * 1024
"""A response with more is read through and not kept: one absurd message must not hide the others."""
COMMAND_BYTES = 32 * 1024 * 1024
COMMAND_RESPONSES = 50_000
PART_BYTES = 64 * 1024
DEPTH = 100
HEAD_BYTES, TAIL_BYTES = 64, 32
LITERAL = re.compile(rb"~?\{(\d{1,20})\+?\}\r?\n\Z")
TOKEN = re.compile(
    rb"[ \t]*(?:(?P<open>\()|(?P<close>\))|\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<atom>(?:[^ \t()\"\[\]]|\[[^\]]*\])+))",
    re.DOTALL,
)
ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
Result = TypeVar("Result")
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a server is waited for: until it lets us in, for its next bytes, and for all that a command answers."""

    connect_seconds: float = 15.0
    read_seconds: float = 60.0
    command_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the one literal that a command is for goes, instead of into memory."""

    write: Write
    most_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response: text and literals in turn. ``is_whole`` is False of one that was too large to be kept."""

    parts: tuple[bytes, ...]
    is_whole: bool = True
    is_poured: bool = False

    @property
    def text(self) -> bytes:
        """What it begins with."""
        return self.parts[0]


class Wire:
    """Both directions of a connection.

    Everything it raises leaves the connection where nobody knows what comes next: it has to be closed.

    Args:
        shown: the server, for errors.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, shown: str, patience: Patience
    ) -> None:
        self.writer = writer
        self._reader = reader
        self._shown = shown
        self._patience = patience
        self._bytes = self._responses = 0
        self._fits = True

    def begin(self) -> None:
        """What follows is the answer to another command."""
        self._bytes, self._responses = COMMAND_BYTES, COMMAND_RESPONSES

    async def send(self, line: bytes) -> None:
        """Send a line."""
        self.writer.write(line + b"\r\n")
        async with asyncio.timeout(self._patience.read_seconds):
            await self.writer.drain()

    async def read(self, sink: Sink | None = None) -> Response:
        """The next response.

        Raises:
            SourceGarbageError: if a command is answered with more than it can have asked for.
            TimeoutError: if nothing comes.
            OSError, EOFError: if the connection breaks.
        """
        self._spend_response()
        # what has come already is read without a pause, and others want to run too
        await asyncio.sleep(0)
        parts: list[bytes] = []
        self._fits, poured, size = True, False, 0
        while True:
            line = await self._read_line()
            size += len(line)
            found = LITERAL.search(line[-TAIL_BYTES:])
            if size > RESPONSE_BYTES:
                self._fits = False
            parts.append(line[:HEAD_BYTES] if not self._fits else line)
            if found is None:
                break
            parts[-1] = parts[-1].removesuffix(found.group())
            length = int(found.group(1))
            if sink is not None and b"BODY[" in line[-200:].upper():
                await self._pour(length, sink, again=poured)
                parts.append(b"")
                poured = True
                continue
            size += length
            parts.append(await self._read_literal(length, keep=size <= RESPONSE_BYTES))
        parts[-1] = parts[-1].rstrip(b"\r\n")
        return Response(parts=tuple(parts) if self._fits else (parts[0],), is_whole=self._fits, is_poured=poured)

    async def _wait(self, reading: Awaitable[Result]) -> Result:
        async with asyncio.timeout(self._patience.read_seconds):
            return await reading

    def _spend(self, number: int) -> None:
        self._bytes -= number
        if self._bytes < 0:
            raise SourceGarbageError(self._shown, "more bytes than anybody has asked for")

    def _spend_response(self) -> None:
        self._responses -= 1
        if self._responses < 0:
            raise SourceGarbageError(self._shown, "responses without an end")

    async def _read_line(self) -> bytes:
        """A line; of one that is too long how it begins and ends."""
        line = b""
        while True:
            try:
                piece = await self._wait(self._reader.readuntil(b"\n"))
            except asyncio.LimitOverrunError as error:
                self._fits = False
                piece = await self._reader.readexactly(max(error.consumed, 1))
                self._spend(len(piece))
                line = (line or piece)[:HEAD_BYTES] + piece[-TAIL_BYTES:]
                continue
            self._spend(len(piece))
            return line + piece

    async def _read_literal(self, length: int, *, keep: bool) -> bytes:
        self._spend(length)
        kept = [part if keep else b"" async for part in self._stream(length)]
        self._fits = self._fits and keep
        return b"".join(kept)

    async def _stream(self, length: int) -> AsyncIterator[bytes]:
        while length:
            part = await self._wait(self._reader.read(min(PART_BYTES, length)))
            if not part:
                raise EOFError
            length -= len(part)
            yield part

    async def _pour(self, length: int, sink: Sink, *, again: bool) -> None:
        if again or length > sink.most_bytes:
            raise SourceGarbageError(self._shown, "more of a message than was asked for")
        async for part in self._stream(length):
            await sink.write(part)


def parse(parts: Sequence[bytes]) -> list[Any]:
    """Words of a response: bytes, None for NIL, and lists.

    Raises:
        ValueError: if it is not written as it should be, or is nested too deeply.
    """
    root: list[Any] = []
    stack = [root]
    for index, part in enumerate(parts):
        if index % 2:
            stack[-1].append(part)
            continue
        position = 0
        text = part.rstrip(b" \t")
        while position < len(text):
            found = TOKEN.match(text, position)
            if found is None:
                raise ValueError("no word of IMAP")
            position = found.end()
            _place(found, stack)
    if len(stack) != 1:
        raise ValueError("a list without an end")
    return root


def _place(found: re.Match[bytes], stack: list[list[Any]]) -> None:
    if found["open"]:
        inner: list[Any] = []
        stack[-1].append(inner)
        stack.append(inner)
        if len(stack) > DEPTH:
            raise ValueError("too deep")
    elif found["close"]:
        stack.pop()
        if not stack:
            raise ValueError("an end without a list")
    elif found["quoted"] is not None:
        stack[-1].append(ESCAPED.sub(rb"\1", found["quoted"]))
    else:
        atom = found["atom"]
        stack[-1].append(None if atom.upper() == b"NIL" else atom)

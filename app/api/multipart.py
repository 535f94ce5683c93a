"""Files of a form, as they come: nothing is kept but what the parser has not given yet."""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.domain.uploads import LONGEST_PATH_BYTES, InvalidUploadError

PATH_FIELD = "path"


@dataclass(slots=True, kw_only=True)
class Part:
    """One part of a form; of ``headers`` only what says which part it is."""

    headers: dict[str, bytes] = field(default_factory=dict)

    def name(self, key: str) -> str | None:
        """``name`` or ``filename``, as the sender says it."""
        _, options = parse_options_header(self.headers.get("content-disposition", b""))
        said = options.get(key.encode())
        return None if said is None else said.decode("utf-8", "replace")


class FormReader:
    """Reads ``multipart/form-data``: files, and before each of them, if its name does not say it, a field ``path``.

    Args:
        content_type: of the request.
        chunks: its body.

    Raises:
        InvalidUploadError: if that is no such form.
    """

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidUploadError("send the files as multipart/form-data, as `curl -F file=@NAME` does")
        self._chunks = chunks
        self._events: deque[Part | bytes | None] = deque()
        self._header = bytearray()
        self._value = bytearray()
        self._part = Part()
        self._is_over = False
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": lambda: self._events.append(self._part),
                    "on_part_data": lambda data, start, end: self._events.append(bytes(data[start:end])),
                    "on_part_end": lambda: self._events.append(None),
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidUploadError("the boundary of the form is too long") from error

    def _begin_part(self) -> None:
        self._part = Part()

    def _end_header(self) -> None:
        self._part.headers[self._header.decode("latin-1").lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self._is_over = True

    async def _next(self) -> Part | bytes | None:
        """A part that begins, some of its bytes, or None at its end.

        Raises:
            EOFError: at the end of the form.
            InvalidUploadError: if that does not come.
        """
        while not self._events:
            if self._is_over:
                raise EOFError
            chunk = await anext(self._chunks, None)
            if chunk is None:
                raise InvalidUploadError("the form ends in the middle")
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise InvalidUploadError("the body is not the form that its header says") from error
        return self._events.popleft()

    async def read_files(self) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Path and content of each file; the content has to be read before the next one.

        Raises:
            InvalidUploadError: if something else is in the form.
        """
        path: str | None = None
        while True:
            try:
                part = await self._next()
            except EOFError:
                return
            if not isinstance(part, Part):
                # somebody has not read the content of the part before
                continue
            filename = part.name("filename")
            if filename is None:
                path = await self._read_path(part)
                continue
            yield path or filename, self._read_content()
            path = None

    async def _read_content(self) -> AsyncIterator[bytes]:
        while isinstance(content := await self._next(), bytes):
            yield content

    async def _read_path(self, part: Part) -> str:
        if part.name("name") != PATH_FIELD:
            raise InvalidUploadError(f"a form has files, and before a file a field `{PATH_FIELD}`; nothing else")
        content = bytearray()
        async for more in self._read_content():
            content += more
            if len(content) > LONGEST_PATH_BYTES:
                raise InvalidUploadError("a path is too long")
        return content.decode("utf-8", "replace")

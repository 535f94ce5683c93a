"""Read, gate, extract and chunk documents. Runs in child processes; every problem becomes an error code."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from app.domain.documents import Chunking, Locator, PreparedDocument, PrepareRequest, TextChunk
from app.pipeline.chunk import TextKind, chunk_text
from app.pipeline.chunking.code import is_code
from app.pipeline.extract import MARKDOWN, Extracted, ExtractionError, clean, extract
from app.pipeline.records import read_record
from app.sources.archives import MemberError, read_member

Value = TypeVar("Value")


def prepare_documents(requests: Sequence[PrepareRequest], chunking: Chunking) -> list[PreparedDocument]:
    """Prepare documents one after the other; a bad one does not touch the others.

    Raises:
        MemoryError: if memory runs out, for it may not be the document that used it up.
    """
    return [_prepare(request, chunking) for request in requests]


def _prepare(request: PrepareRequest, chunking: Chunking) -> PreparedDocument:
    seconds: dict[str, float] = {}
    outcome = PreparedDocument(document_id=request.document_id)
    try:
        content = _timed(seconds, "read", lambda: read_content(request))
        digest = hashlib.sha256(content).digest()
        outcome = replace(outcome, content_hash=digest)
        if digest == request.known_hash:
            return replace(outcome, unchanged=True, seconds=seconds)
        extracted = _timed(seconds, "extract", lambda: _extract(request, content))
        chunks = _timed(seconds, "chunk", lambda: _chunk(request, extracted, chunking))
        return replace(
            outcome, mime_type=extracted.mime_type, title=extracted.title, chunks=tuple(chunks), seconds=seconds
        )
    except ExtractionError as error:
        code, message = error.code, error.message
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 — a bad document costs one document; panics of Rust are no Exception
        code, message = "extraction_failed", f"reading the document failed with {type(error).__name__}"
    return replace(outcome, error_code=code, error_message=message, seconds=seconds)


def _chunk(request: PrepareRequest, extracted: Extracted, chunking: Chunking) -> list[TextChunk]:
    kind = TextKind.PROSE
    if extracted.mime_type == MARKDOWN:
        kind = TextKind.MARKDOWN
    elif request.locator.offset is None and is_code(request.path):
        kind = TextKind.CODE
    return chunk_text(extracted.text, chunking, kind=kind, tokenizer=request.tokenizer)


def _timed(seconds: dict[str, float], stage: str, work: Callable[[], Value]) -> Value:
    started = time.perf_counter()
    try:
        return work()
    finally:
        seconds[stage] = time.perf_counter() - started


def read_content(request: PrepareRequest) -> bytes:
    """Bytes of a file, of a member of an archive, or of a record without its line end.

    Raises:
        ExtractionError: ``file_vanished``, ``unreadable_file``, ``document_too_large`` or ``corrupt_archive``.
    """
    locator = request.locator
    try:
        if locator.members:
            return _limited(_read_member(locator, request.max_bytes), request.max_bytes)
        with open(locator.path, "rb") as file:  # noqa: PTH123 — names that are not UTF-8 stay as they are
            if locator.offset is not None:
                file.seek(locator.offset)
                return file.read(locator.length or 0).strip()
            content = file.read(request.max_bytes + 1)
    except FileNotFoundError as error:
        raise ExtractionError("file_vanished", "the file is not there any more") from error
    except OSError as error:
        raise ExtractionError("unreadable_file", error.strerror or "the file cannot be read") from error
    return _limited(content, request.max_bytes)


def _read_member(locator: Locator, max_bytes: int) -> bytes:
    try:
        return read_member(
            locator.path, locator.members, offset=locator.offset, length=locator.length, max_bytes=max_bytes
        )
    except MemberError as error:
        raise ExtractionError(error.code, error.message) from error


def _limited(content: bytes, max_bytes: int) -> bytes:
    if len(content) > max_bytes:
        raise ExtractionError("document_too_large", f"more than {max_bytes} bytes")
    return content


def _extract(request: PrepareRequest, content: bytes) -> Extracted:
    if request.locator.offset is None or request.locator.members:
        return extract(content, request.path, request.ocr)
    try:
        record = read_record(content)
        title, text = str(record.get("title") or "").strip(), str(record["text"]).strip()
    except (ValueError, TypeError, KeyError) as error:
        raise ExtractionError("invalid_record", "not a JSON object with a `text`") from error
    whole = clean(f"{title}\n\n{text}" if title and text else title or text)
    # a record without text is what its author wrote down, not a broken file: it is complete, with no chunks
    return Extracted(text=whole, mime_type="application/json", title=clean(title) or None)

"""Read, gate, extract and chunk documents. Runs in child processes; every problem becomes an error code."""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import IO, TypeVar

from app.domain.documents import (
    NEVER_SEEN_NS,
    Chunking,
    FileVersion,
    PreparedDocument,
    PrepareRequest,
    TextChunk,
)
from app.pipeline.chunk import TextKind, chunk_text
from app.pipeline.chunking.code import is_code
from app.pipeline.extract import MARKDOWN, Extracted, ExtractionError, clean, extract
from app.pipeline.records import read_record
from app.sources.archives import MemberError, passes_check, read_member

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
        content, version = _timed(seconds, "read", lambda: read_content(request))
        outcome = replace(outcome, read_version=version)
        _require_size(content, request.max_bytes)
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


def read_content(request: PrepareRequest) -> tuple[bytes, FileVersion | None]:
    """Bytes of a file, of a member of an archive, or of a record without its line end: all, or more than are read.

    The version is that of a file or a member that is not as the scan saw it, else None.

    Raises:
        ExtractionError: ``file_vanished``, ``unreadable_file`` or ``corrupt_archive``.
    """
    locator = request.locator
    try:
        if locator.members:
            return _read_member(request)
        with open(locator.path, "rb") as file:  # noqa: PTH123 — names that are not UTF-8 stay as they are
            if locator.offset is None:
                return _read_file(file, request)
            file.seek(locator.offset)
            return file.read(locator.length or 0).strip(), None
    except FileNotFoundError as error:
        raise ExtractionError("file_vanished", "the file is not there any more") from error
    except OSError as error:
        raise ExtractionError("unreadable_file", error.strerror or "the file cannot be read") from error


def _read_file(file: IO[bytes], request: PrepareRequest) -> tuple[bytes, FileVersion | None]:
    if request.seen_version is None:
        return file.read(request.max_bytes + 1), None
    before = os.fstat(file.fileno())
    content = file.read(request.max_bytes + 1)
    after = os.fstat(file.fileno())
    version = FileVersion(size=after.st_size, modified_ns=after.st_mtime_ns)
    # whoever gives a file an older time changes this one all the same
    if before.st_ctime_ns != after.st_ctime_ns:
        return content, replace(version, modified_ns=NEVER_SEEN_NS)
    return content, None if version == request.seen_version else version


def _read_member(request: PrepareRequest) -> tuple[bytes, FileVersion | None]:
    place, seen = request.locator, request.seen_version
    try:
        content = read_member(
            place.path, place.members, offset=place.offset, length=place.length, max_bytes=request.max_bytes
        )
    except MemberError as error:
        raise ExtractionError(error.code, error.message) from error
    archive = place.members[-2] if len(place.members) > 1 else place.path
    if seen is None or len(content) > request.max_bytes or passes_check(content, archive, seen.modified_ns):
        return content, None
    return content, FileVersion(size=len(content), modified_ns=NEVER_SEEN_NS)


def _require_size(content: bytes, max_bytes: int) -> None:
    if len(content) > max_bytes:
        raise ExtractionError("document_too_large", f"more than {max_bytes} bytes")


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

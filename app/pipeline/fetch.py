"""Brings the bytes of a group of documents to this machine, has them prepared, and removes them again."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from app.domain.documents import Document, Fetched, PreparedDocument
from app.domain.ports import DocumentSource

UNREADABLE = frozenset({"file_vanished", "unreadable_file", "fetch_failed"})
"""Errors of a document that may be those of its whole source."""

Prepare = Callable[[Sequence[Document]], Awaitable[list[PreparedDocument]]]


async def prepare_fetched(
    adapter: DocumentSource,
    group: Sequence[Document],
    *,
    spool: Path,
    prepare: Prepare,
    note_seconds: Callable[[float], None],
) -> list[PreparedDocument]:
    """Prepare documents wherever their bytes are; in several goes if they fill the folder they are fetched into.

    Args:
        adapter: of the source that they are from.
        group: documents of one source.
        spool: the folder that holds such folders; what is in it is removed when it was read.
        prepare: reads documents whose locators are files.
        note_seconds: is told how long the fetching took.

    Raises:
        DomainError: what ``DocumentSource.fetch`` raises, which is no document's fault.
    """
    prepared: list[PreparedDocument] = []
    left = list(group)
    while left:
        folder = spool / uuid4().hex
        try:
            started = time.monotonic()
            fetched = await adapter.fetch(left, folder)
            note_seconds(time.monotonic() - started)
            begun = [document for document in left if document.id in fetched]
            if not begun:
                raise AssertionError(f"{type(adapter).__name__} has fetched none of {len(left)} documents")
            answers = [fetched[document.id] for document in begun]
            readable = [_located(*pair) for pair in zip(begun, answers, strict=True) if pair[1].path is not None]
            if readable:
                prepared += await prepare(readable)
            prepared += [_failed(*pair) for pair in zip(begun, answers, strict=True) if pair[1].path is None]
        finally:
            if not adapter.is_local:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        left = [document for document in left if document.id not in fetched]
    return prepared


def _located(document: Document, fetched: Fetched) -> Document:
    if fetched.path is None or fetched.path == document.locator.path:
        return document
    # its path is kept elsewhere: what reads it here goes by how it ends
    path = f"{document.path}{fetched.suffix}"
    return replace(document, path=path, locator=replace(document.locator, path=fetched.path))


def _failed(document: Document, fetched: Fetched) -> PreparedDocument:
    return PreparedDocument(document_id=document.id, error_code=fetched.error_code, error_message=fetched.error_message)

"""What a folder amounts to by the pipeline's own pure functions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.domain.documents import Chunking, ChunkingStrategy, PrepareRequest
from app.domain.identity import chunk_ids, document_id, locator_of
from app.pipeline.prepare import prepare_documents
from tests.chaos.folders import list_files

Span = tuple[str, int, int, int, int, str]
"""Document id, ordinal, start, end, tokens and text of a chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a folder amounts to: states and error codes by URI, chunks by id."""

    states: dict[str, tuple[str, str | None]]
    chunks: dict[UUID, Span]


def chunking_of(collection: Mapping[str, Any]) -> Chunking:
    """The chunking of a collection as the API describes it."""
    chunking = collection["chunking"]
    return Chunking(**{**chunking, "strategy": ChunkingStrategy(chunking["strategy"])})


def expect(folder: Path, collection_id: UUID, chunking: Chunking) -> Expected:
    """Every document and chunk of a folder."""
    states: dict[str, tuple[str, str | None]] = {}
    chunks: dict[UUID, Span] = {}
    for path in list_files(folder):
        uri = path.as_uri()
        identity = document_id(collection_id, uri)
        request = PrepareRequest(
            document_id=identity,
            uri=uri,
            path=str(path.relative_to(folder)),
            locator=locator_of(uri),
            known_hash=None,
            max_bytes=os.path.getsize(path) + 1,  # noqa: PTH202 — shorter
        )
        prepared = prepare_documents([request], chunking)[0]
        code = prepared.error_code
        states[uri] = (("needs_ocr" if code == "needs_ocr" else "failed") if code else "completed", code)
        ids = chunk_ids(identity, (chunk.embedded for chunk in prepared.chunks))
        for ordinal, (chunk_id, chunk) in enumerate(zip(ids, prepared.chunks, strict=True)):
            chunks[chunk_id] = (str(identity), ordinal, chunk.start, chunk.end, chunk.tokens, chunk.text)
    return Expected(states=states, chunks=chunks)

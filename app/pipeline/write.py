"""Stores a group of prepared documents: new points first, then the manifest, then the old points go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import structlog

from app.db.documents import ChunkRow, DocumentRepository
from app.domain.documents import Document, PreparedDocument
from app.domain.errors import DomainError
from app.domain.identity import chunk_ids
from app.domain.points import PointBatch, Vectors
from app.pipeline.context import IngestContext
from app.pipeline.copies import load_copies
from app.pipeline.embed import embed_texts
from app.pipeline.vector_check import CHECK, take_checks
from app.traces import stage_span

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a group of documents changes in the manifest."""

    added: list[ChunkRow]
    moved: list[ChunkRow]
    gone: dict[UUID, set[UUID]]


def diff_chunks(prepared: Sequence[PreparedDocument], present: dict[UUID, set[UUID]]) -> Changes:
    """Compare new chunks with those the manifest has; equal texts keep their ids and are not embedded again."""
    added: list[ChunkRow] = []
    moved: list[ChunkRow] = []
    gone: dict[UUID, set[UUID]] = {}
    for document in prepared:
        had = present.get(document.document_id, set())
        ids = chunk_ids(document.document_id, (chunk.text for chunk in document.chunks))
        for ordinal, (chunk_id, chunk) in enumerate(zip(ids, document.chunks, strict=True)):
            row = ChunkRow(
                id=chunk_id,
                document_id=document.document_id,
                ordinal=ordinal,
                start=chunk.start,
                end=chunk.end,
                tokens=chunk.tokens,
                text=chunk.text,
            )
            (moved if chunk_id in had else added).append(row)
        if left := had.difference(ids):
            gone[document.document_id] = left
    return Changes(added=added, moved=moved, gone=gone)


def payload_of(document_id: UUID, source_id: UUID, path: str) -> dict[str, Any]:
    """What filters see of a document: every folder above it, and its own path."""
    parts = path.partition("#")[0].split("/")
    folders = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    suffix = PurePosixPath(parts[-1]).suffix.lower().lstrip(".")
    return {
        "document_id": str(document_id),
        "source_id": str(source_id),
        "file_type": suffix,
        "folders": folders,
    }


def make_points(chunks: Sequence[ChunkRow], vectors: Vectors, payloads: Sequence[dict[str, Any]]) -> PointBatch:
    """Points of chunks, each with the check that ``vecloom verify`` compares its vector by."""
    ids = [chunk.id for chunk in chunks]
    checks = take_checks(ids, vectors)
    return PointBatch(
        ids=ids,
        vectors=vectors,
        texts=[chunk.text for chunk in chunks],
        payloads=[{**payload, CHECK: check} for payload, check in zip(payloads, checks, strict=True)],
    )


async def write_group(
    context: IngestContext, documents: Sequence[Document], prepared: Sequence[PreparedDocument]
) -> None:
    """Embed what is new, store it, commit the group."""
    account = context.account
    by_id = {document.id: document for document in documents}
    unchanged = [item.document_id for item in prepared if item.unchanged]
    failures = [item for item in prepared if item.error_code is not None]
    fresh = [item for item in prepared if not item.unchanged and item.error_code is None]
    async with context.database.begin() as connection:
        manifest = DocumentRepository(connection, context.collection.id)
        present = await manifest.chunk_ids(context.generation.id, [item.document_id for item in fresh])
    changes = diff_chunks(fresh, present)
    tokens = [chunk.tokens for chunk in changes.added]
    known = await load_copies(context, fresh) if changes.added else {}
    with stage_span("embed", chunks=len(tokens), tokens=sum(tokens)):
        embedded = await embed_texts(context, [chunk.text for chunk in changes.added], tokens, known=known)
    vectors = embedded.vectors
    account.add_tokens(sum(tokens[index] for index in embedded.new))
    account.reused += len(tokens) - len(embedded.new)
    if embedded.refused:
        broken = {changes.added[index].document_id: error for index, error in embedded.refused.items()}
        failures += [_as_failure(item, broken[item.document_id]) for item in fresh if item.document_id in broken]
        fresh = [item for item in fresh if item.document_id not in broken]
        keep = [index for index, chunk in enumerate(changes.added) if chunk.document_id not in broken]
        changes = Changes(
            added=[changes.added[index] for index in keep],
            moved=[chunk for chunk in changes.moved if chunk.document_id not in broken],
            gone={key: ids for key, ids in changes.gone.items() if key not in broken},
        )
        vectors = vectors[np.array(keep, dtype=np.intp)]
    if changes.added:
        owners = [by_id[chunk.document_id] for chunk in changes.added]
        payloads = [payload_of(owner.id, owner.source_id, owner.path) for owner in owners]
        points = make_points(changes.added, vectors, payloads)
        context.require_lease()
        with account.timed("store", len(points)), stage_span("store", points=len(points)):
            await context.store.upsert(context.generation.name, points)
    with account.timed("commit", len(prepared)), stage_span("commit", documents=len(prepared)):
        async with context.database.fenced(context.lease) as connection:
            manifest = DocumentRepository(connection, context.collection.id)
            await manifest.replace_chunks(
                context.generation.id,
                added=changes.added,
                moved=changes.moved,
                gone=[chunk_id for ids in changes.gone.values() for chunk_id in ids],
            )
            if fresh:
                await manifest.complete(fresh, dirty=changes.gone.keys())
            if unchanged:
                await manifest.complete_unchanged(unchanged)
            if failures:
                await manifest.fail(failures)
    _count(context, fresh, unchanged, failures, changes)
    await _report_failures(context, by_id, failures)


def _as_failure(item: PreparedDocument, error: DomainError) -> PreparedDocument:
    return PreparedDocument(
        document_id=item.document_id, mime_type=item.mime_type, error_code=error.code, error_message=error.message
    )


def _count(
    context: IngestContext,
    fresh: Sequence[PreparedDocument],
    unchanged: Sequence[UUID],
    failures: Sequence[PreparedDocument],
    changes: Changes,
) -> None:
    account = context.account
    scans = sum(item.error_code == "needs_ocr" for item in failures)
    account.done += len(fresh) + len(unchanged)
    account.skipped += len(unchanged)
    account.failed += len(failures) - scans
    account.needs_ocr += scans
    account.chunks += len(changes.added) + len(changes.moved)
    account.reused += len(changes.moved)


async def _report_failures(
    context: IngestContext, by_id: dict[UUID, Document], failures: Sequence[PreparedDocument]
) -> None:
    if failures:
        # one line a group: a folder full of scans would otherwise write a line for each
        codes = {str(item.document_id): item.error_code for item in failures}
        log.info("documents_failed", documents=codes)
    for item in failures:
        await context.report.send_update(
            "document_failed",
            {
                "document_id": str(item.document_id),
                "uri": by_id[item.document_id].uri,
                "error_code": item.error_code,
                "error_message": item.error_message,
            },
        )


async def delete_leftovers(context: IngestContext, source_id: UUID) -> None:
    """Delete points of settled documents that the manifest does not know (any more)."""
    while True:
        async with context.database.begin() as connection:
            manifest = DocumentRepository(connection, context.collection.id)
            dirty = await manifest.list_dirty(source_id, limit=context.limits.removal_batch_size)
            known = await manifest.chunk_ids(context.generation.id, dirty)
        if not dirty:
            return
        context.require_lease()
        keep = [chunk_id for ids in known.values() for chunk_id in ids]
        await context.store.delete_documents(context.generation.name, dirty, keep=keep)
        async with context.database.fenced(context.lease) as connection:
            await DocumentRepository(connection, context.collection.id).mark_clean(dirty)

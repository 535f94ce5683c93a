"""Stores a group of prepared documents: new points first, then the manifest, then the old points go."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import structlog

from app.db.documents import ChunkRow, DocumentRepository
from app.db.totals import TotalsRepository
from app.domain.documents import Document, PreparedDocument
from app.domain.errors import DomainError
from app.domain.identity import chunk_ids
from app.domain.points import PointBatch, Vectors
from app.domain.sparse_settings import SparseSettings
from app.pipeline.context import IngestContext
from app.pipeline.copies import load_copies
from app.pipeline.demand import Held
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

    def without(self, documents: Container[UUID]) -> "Changes":
        """The same but for some documents."""
        return Changes(
            added=[chunk for chunk in self.added if chunk.document_id not in documents],
            moved=[chunk for chunk in self.moved if chunk.document_id not in documents],
            gone={document: ids for document, ids in self.gone.items() if document not in documents},
        )


def diff_chunks(prepared: Sequence[PreparedDocument], present: dict[UUID, set[UUID]]) -> Changes:
    """Compare new chunks with those the manifest has; equal texts keep their ids and are not embedded again."""
    added: list[ChunkRow] = []
    moved: list[ChunkRow] = []
    gone: dict[UUID, set[UUID]] = {}
    for document in prepared:
        had = present.get(document.document_id, set())
        ids = chunk_ids(document.document_id, (chunk.embedded for chunk in document.chunks))
        for ordinal, (chunk_id, chunk) in enumerate(zip(ids, document.chunks, strict=True)):
            row = ChunkRow(
                id=chunk_id,
                document_id=document.document_id,
                ordinal=ordinal,
                start=chunk.start,
                end=chunk.end,
                tokens=chunk.tokens,
                text=chunk.text,
                headings=chunk.headings,
                parent_start=chunk.parent_start,
                parent_end=chunk.parent_end,
                gap=chunk.gap,
            )
            (moved if chunk_id in had else added).append(row)
        if left := had.difference(ids):
            gone[document.document_id] = left
    return Changes(added=added, moved=moved, gone=gone)


def payload_of(document_id: UUID, source_id: UUID, path: str, *, others: Sequence[UUID] = ()) -> dict[str, Any]:
    """What filters see of a document: all its sources, every folder above it, and its own path."""
    parts = path.partition("#")[0].split("/")
    folders = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    suffix = PurePosixPath(parts[-1]).suffix.lower().lstrip(".")
    return {
        "document_id": str(document_id),
        "source_id": [str(source_id), *map(str, others)] if others else str(source_id),
        "file_type": suffix,
        "folders": folders,
    }


def make_points(
    chunks: Sequence[ChunkRow], vectors: Vectors, payloads: Sequence[dict[str, Any]], *, sparse: SparseSettings
) -> PointBatch:
    """Points of chunks, each with the check that ``vecloom verify`` compares its vector by."""
    ids = [chunk.id for chunk in chunks]
    checks = take_checks(ids, vectors)
    return PointBatch(
        ids=ids,
        vectors=vectors,
        texts=[chunk.embedded for chunk in chunks],
        payloads=[{**payload, CHECK: check} for payload, check in zip(payloads, checks, strict=True)],
        sparse=sparse,
    )


@dataclass(slots=True, kw_only=True)
class GroupWork:
    """What is done about a group of prepared documents, and what it takes.

    Attributes:
        fresh: documents with new content.
        unchanged: documents that were touched only.
        failures: documents that cannot be indexed.
        changes: what the fresh ones change in the manifest.
        vectors: those of the added chunks.
        embedded: chunks that the model had to embed.
        tokens: how many tokens those have.
        reused: chunks that cost no work of the model.
        cache_hits, cache_misses: how many texts were looked up in the cache and were there, or not.
    """

    prepared: Sequence[PreparedDocument]
    fresh: list[PreparedDocument]
    unchanged: list[UUID]
    failures: list[PreparedDocument]
    changes: Changes
    vectors: Vectors
    embedded: int
    tokens: int
    reused: int
    cache_hits: int
    cache_misses: int

    @property
    def scans(self) -> int:
        """Documents that hold images of text alone."""
        return sum(item.error_code == "needs_ocr" for item in self.failures)

    @property
    def chunks(self) -> int:
        """Chunks that the group's fresh documents have."""
        return len(self.changes.added) + len(self.changes.moved)

    def amounts(self) -> dict[str, float]:
        """What is added to the operation's totals once the group is committed; see ``Account.carry_on``."""
        items = Counter(stage for document in self.prepared for stage in document.seconds)
        items.update(reuse=self.chunks, pack=self.embedded, embed=self.embedded)
        items.update(store=len(self.changes.added), commit=len(self.prepared))
        return {
            "documents_done": len(self.fresh) + len(self.unchanged),
            "documents_skipped": len(self.unchanged),
            "documents_failed": len(self.failures) - self.scans,
            "documents_needs_ocr": self.scans,
            "chunks": self.chunks,
            "tokens": self.tokens,
            "reused_chunks": self.reused,
            "cache_hits": self.cache_hits,
            "cache_misses": self.cache_misses,
            **{f"{stage}_items": count for stage, count in items.items()},
        }


async def write_group(
    context: IngestContext, documents: Sequence[Document], prepared: Sequence[PreparedDocument], held: Held
) -> None:
    """Embed what is new, store it, commit the group; not before the generation may be written to."""
    by_id = {document.id: document for document in documents}
    work = await _embed_group(context, prepared, held)
    held.drop_all()
    if work.changes.added:
        await _store_points(context, by_id, work)
    with context.account.timed("commit", len(prepared)), stage_span("commit", documents=len(prepared)):
        await _commit(context, work)
    context.note_progress()
    _count(context, work)
    await _report_failures(context, by_id, work.failures)


async def _embed_group(context: IngestContext, prepared: Sequence[PreparedDocument], held: Held) -> GroupWork:
    """Compare with the manifest and make the vectors that are missing; a document the model refuses is a failure."""
    failures = [item for item in prepared if item.error_code is not None]
    fresh = [item for item in prepared if not item.unchanged and item.error_code is None]
    with context.account.timed("reuse", sum(len(item.chunks) for item in fresh)):
        async with context.database.begin() as connection:
            manifest = DocumentRepository(connection, context.collection.id)
            present = await manifest.chunk_ids(context.generation.id, [item.document_id for item in fresh])
        changes = diff_chunks(fresh, present)
        known = await load_copies(context, fresh) if changes.added else {}
    tokens = [chunk.tokens for chunk in changes.added]
    await context.may_write.wait()
    with stage_span("embed", chunks=len(tokens), tokens=sum(tokens)):
        texts = [chunk.embedded for chunk in changes.added]
        embedded = await embed_texts(context, texts, tokens, known=known, on_answer=held.drop)
    vectors, new_tokens = embedded.vectors, sum(tokens[index] for index in embedded.new)
    context.account.add("pack", 0.0, len(embedded.new))
    context.account.add_tokens(new_tokens)
    if embedded.refused:
        broken = {changes.added[index].document_id: error for index, error in embedded.refused.items()}
        failures += [_as_failure(item, broken[item.document_id]) for item in fresh if item.document_id in broken]
        fresh = [item for item in fresh if item.document_id not in broken]
        keep = [index for index, chunk in enumerate(changes.added) if chunk.document_id not in broken]
        changes, vectors = changes.without(broken), vectors[np.array(keep, dtype=np.intp)]
    return GroupWork(
        prepared=prepared,
        fresh=fresh,
        unchanged=[item.document_id for item in prepared if item.unchanged],
        failures=failures,
        changes=changes,
        vectors=vectors,
        embedded=len(embedded.new),
        tokens=new_tokens,
        reused=len(tokens) - len(embedded.new) + len(changes.moved),
        cache_hits=embedded.cache_hits,
        cache_misses=embedded.cache_misses,
    )


async def _store_points(context: IngestContext, by_id: Mapping[UUID, Document], work: GroupWork) -> None:
    added = work.changes.added
    owners = [by_id[document] for document in dict.fromkeys(chunk.document_id for chunk in added)]
    payloads = {owner.id: payload_of(owner.id, owner.source_id, owner.path) for owner in owners}
    sparse = context.generation.sparse
    points = make_points(added, work.vectors, [payloads[chunk.document_id] for chunk in added], sparse=sparse)
    context.require_lease()
    with context.account.timed("store", len(points)), stage_span("store", points=len(points)):
        await context.store.upsert(context.generation.name, points)


async def _commit(context: IngestContext, work: GroupWork) -> None:
    """Write the manifest and the operation's totals, both or none."""
    changes = work.changes
    async with context.database.fenced(context.lease) as connection:
        manifest = DocumentRepository(connection, context.collection.id)
        await manifest.replace_chunks(
            context.generation.id,
            added=changes.added,
            moved=changes.moved,
            gone=[chunk_id for ids in changes.gone.values() for chunk_id in ids],
        )
        if work.fresh:
            await manifest.complete(work.fresh, dirty=changes.gone.keys())
        if work.unchanged:
            await manifest.complete_unchanged(work.unchanged)
        if work.failures:
            await manifest.fail(work.failures)
        await manifest.note_versions(
            {item.document_id: item.read_version for item in work.prepared if item.read_version is not None}
        )
        amounts = work.amounts() | context.account.take_passed()
        context.account.note_committed(amounts)
        await TotalsRepository(connection, context.lease.operation_id).add(amounts)


def _as_failure(item: PreparedDocument, error: DomainError) -> PreparedDocument:
    return PreparedDocument(
        document_id=item.document_id,
        mime_type=item.mime_type,
        error_code=error.code,
        error_message=error.message,
    )


def _count(context: IngestContext, work: GroupWork) -> None:
    account = context.account
    account.done += len(work.fresh) + len(work.unchanged)
    account.skipped += len(work.unchanged)
    account.failed += len(work.failures) - work.scans
    account.needs_ocr += work.scans
    account.chunks += work.chunks
    account.reused += work.reused
    account.cache_hits += work.cache_hits
    account.cache_misses += work.cache_misses


async def _report_failures(
    context: IngestContext, by_id: Mapping[UUID, Document], failures: Sequence[PreparedDocument]
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
        await context.may_write.wait()
        context.require_lease()
        keep = [chunk_id for ids in known.values() for chunk_id in ids]
        await context.store.delete_documents(context.generation.name, dirty, keep=keep)
        async with context.database.fenced(context.lease) as connection:
            await DocumentRepository(connection, context.collection.id).mark_clean(dirty)

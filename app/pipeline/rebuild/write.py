"""Brings a group of documents into the generation that is made: points first, then its manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from app.db.documents import DocumentRepository
from app.db.rebuilds import Claimed, HeldDocument, RebuildRepository
from app.db.totals import TotalsRepository
from app.domain.documents import PreparedDocument
from app.domain.errors import DomainError
from app.domain.points import Vectors
from app.pipeline.demand import Held
from app.pipeline.embed import embed_texts
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.read import Rebuilt
from app.pipeline.rebuild.vectors import load_vectors
from app.pipeline.write import Changes, diff_chunks, make_points, payload_of
from app.traces import stage_span


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What is done about a group; ``refused`` says of documents why the model does not take them."""

    changes: Changes
    vectors: Vectors
    refused: Mapping[UUID, DomainError]
    embedded: int
    tokens: int
    reused: int
    cache_hits: int
    cache_misses: int

    @property
    def chunks(self) -> int:
        return len(self.changes.added) + len(self.changes.moved)


async def write_group(
    context: RebuildContext, group: Sequence[Claimed], rebuilt: Sequence[Rebuilt], held: Held
) -> None:
    """Embed what has no vector yet, store it, commit the group.

    Raises:
        DomainError: if the model or the store does not answer; the group is as if it had not been begun.
    """
    ingest = context.ingest
    work = await _embed(context, rebuilt, held)
    held.drop_all()
    claimed = {one.document.id: one for one in group}
    async with context.give_way():
        await _store(context, claimed, work)
    async with context.give_way():
        with ingest.account.timed("commit", len(group)), stage_span("commit", documents=len(group)):
            await _commit(context, claimed, rebuilt, work)
    ingest.note_progress()
    _count(context, rebuilt, work)
    await _tell_failures(context, claimed, rebuilt, work)


async def _embed(context: RebuildContext, rebuilt: Sequence[Rebuilt], held: Held) -> _Work:
    ingest = context.ingest
    with ingest.account.timed("reuse", sum(len(one.chunks) for one in rebuilt)):
        async with ingest.database.begin() as connection:
            manifest = DocumentRepository(connection, ingest.collection.id)
            present = await manifest.chunk_ids(context.generation.id, [one.document_id for one in rebuilt])
        changes = diff_chunks(
            [PreparedDocument(document_id=one.document_id, chunks=one.chunks) for one in rebuilt], present
        )
        known = await load_vectors(context, changes.added)
    tokens = [chunk.tokens for chunk in changes.added]
    await ingest.may_write.wait()
    with stage_span("embed", chunks=len(tokens), tokens=sum(tokens)):
        texts = [chunk.embedded for chunk in changes.added]
        embedded = await embed_texts(ingest, texts, tokens, known=known, on_answer=held.drop)
    vectors, new_tokens = embedded.vectors, sum(tokens[index] for index in embedded.new)
    ingest.account.add("pack", 0.0, len(embedded.new))
    ingest.account.add_tokens(new_tokens)
    refused = {changes.added[index].document_id: error for index, error in embedded.refused.items()}
    if refused:
        keep = [index for index, chunk in enumerate(changes.added) if chunk.document_id not in refused]
        moved = {chunk.id for chunk in changes.moved if chunk.document_id in refused}
        gone = {document: present.get(document, set()) for document in refused}
        changes = changes.without(refused)
        # of a document that the model refuses the generation holds nothing, not what it held of an older version
        changes.gone.update({document: ids | moved for document, ids in gone.items() if ids})
        vectors = vectors[np.array(keep, dtype=np.intp)]
    return _Work(
        changes=changes,
        vectors=vectors,
        refused=refused,
        embedded=len(embedded.new),
        tokens=new_tokens,
        reused=len(tokens) - len(embedded.new) + len(changes.moved),
        cache_hits=embedded.cache_hits,
        cache_misses=embedded.cache_misses,
    )


async def _store(context: RebuildContext, claimed: Mapping[UUID, Claimed], work: _Work) -> None:
    ingest, name = context.ingest, context.generation.name
    payloads = {
        document: payload_of(document, one.document.source_id, one.document.path, others=one.others)
        for document, one in claimed.items()
    }
    # what it holds of them is labelled as they were
    relabelled = [one for one in claimed.values() if one.held_labels not in (None, one.labels)]
    if not work.changes.added and not relabelled:
        return
    ingest.require_lease()
    points = make_points(
        work.changes.added,
        work.vectors,
        [payloads[chunk.document_id] for chunk in work.changes.added],
        sparse=context.generation.sparse,
    )
    with ingest.account.timed("store", len(points)), stage_span("store", points=len(points)):
        if len(points):
            await ingest.store.upsert(name, points)
        for one in relabelled:
            await ingest.store.set_payload(name, [one.document.id], payloads[one.document.id])


async def _commit(
    context: RebuildContext, claimed: Mapping[UUID, Claimed], rebuilt: Sequence[Rebuilt], work: _Work
) -> None:
    """Write the generation's manifest and the operation's totals, both or none."""
    ingest, changes = context.ingest, work.changes
    async with ingest.database.fenced(ingest.lease) as connection:
        await DocumentRepository(connection, ingest.collection.id).replace_chunks(
            context.generation.id,
            added=changes.added,
            moved=changes.moved,
            gone=[chunk_id for ids in changes.gone.values() for chunk_id in ids],
        )
        rebuilds = RebuildRepository(connection, ingest.collection.id, context.generation.id)
        await rebuilds.hold([_held(claimed[one.document_id], one, work) for one in rebuilt])
        amounts = _amounts(rebuilt, work) | ingest.account.take_passed()
        ingest.account.note_committed(amounts)
        await TotalsRepository(connection, ingest.lease.operation_id).add(amounts)


def _held(claimed: Claimed, one: Rebuilt, work: _Work) -> HeldDocument:
    error = work.refused.get(one.document_id)
    chunks = () if error else one.chunks
    return HeldDocument(
        document_id=one.document_id,
        version=claimed.version,
        labels=claimed.labels,
        chunk_count=len(chunks),
        tokens=sum(chunk.tokens for chunk in chunks),
        is_dirty=one.document_id in work.changes.gone,
        error_code=error.code if error else one.error_code,
        error_message=error.message if error else one.error_message,
    )


def _amounts(rebuilt: Sequence[Rebuilt], work: _Work) -> dict[str, float]:
    items = {"reuse": work.chunks, "pack": work.embedded, "embed": work.embedded}
    items |= {"store": len(work.changes.added), "commit": len(rebuilt)}
    return {
        "documents_done": len(rebuilt) - len(work.refused),
        "documents_failed": len(work.refused),
        "documents_outdated": sum(one.is_outdated for one in rebuilt),
        "chunks": work.chunks,
        "points": len(work.changes.added),
        "tokens": work.tokens,
        "reused_chunks": work.reused,
        "cache_hits": work.cache_hits,
        "cache_misses": work.cache_misses,
        **{f"{stage}_items": count for stage, count in items.items()},
    }


def _count(context: RebuildContext, rebuilt: Sequence[Rebuilt], work: _Work) -> None:
    account = context.ingest.account
    account.done += len(rebuilt) - len(work.refused)
    account.failed += len(work.refused)
    account.chunks += work.chunks
    account.reused += work.reused
    account.cache_hits += work.cache_hits
    account.cache_misses += work.cache_misses


async def _tell_failures(
    context: RebuildContext, claimed: Mapping[UUID, Claimed], rebuilt: Sequence[Rebuilt], work: _Work
) -> None:
    for one in rebuilt:
        error = work.refused.get(one.document_id)
        code = error.code if error else one.error_code
        if code is not None:
            await context.ingest.report.send_update(
                "document_failed",
                {
                    "document_id": str(one.document_id),
                    "uri": claimed[one.document_id].document.uri,
                    "error_code": code,
                    "error_message": error.message if error else one.error_message,
                },
            )

"""Makes the vector store agree with the manifest again; safe to run twice."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.documents import ChunkRow
from app.db.verification import DocumentMark, ManifestRepository
from app.domain.documents import DocumentState
from app.domain.identity import text_hash
from app.pipeline.compare import Fault, Suspect, owns_text
from app.pipeline.context import IngestContext
from app.pipeline.embed import embed_batches
from app.pipeline.findings import Findings
from app.pipeline.write import make_points, payload_of


def manifest_of(context: IngestContext, connection: AsyncConnection) -> ManifestRepository:
    """The manifest of the context's generation."""
    return ManifestRepository(connection, collection_id=context.collection.id, generation_id=context.generation.id)


async def repair_points(context: IngestContext, findings: Findings, suspects: Sequence[Suspect]) -> None:
    """Write what is missing or wrong from the stored texts, delete what is too much."""
    extra = [suspect.id for suspect in suspects if suspect.fault is Fault.EXTRA]
    damaged = [suspect.id for suspect in suspects if suspect.fault is Fault.TEXT and isinstance(suspect.id, UUID)]
    rewrite = {suspect.id for suspect in suspects if isinstance(suspect.id, UUID)} - {*extra, *damaged}
    damaged += await _rewrite(context, findings, [point for point in rewrite if isinstance(point, UUID)])
    if extra:
        context.require_lease()
        await context.store.delete_points(context.generation.name, extra)
    async with context.database.fenced(context.lease) as connection:
        manifest = manifest_of(context, connection)
        chunks = await manifest.load_chunks(damaged)
        findings.to_read |= await manifest.read_again([chunk.document_id for chunk, _ in chunks])
        await manifest.forget_chunks([*damaged, *(point for point in extra if isinstance(point, UUID))])
    findings.repaired += len(extra) + len(damaged)


async def _rewrite(context: IngestContext, findings: Findings, ids: Sequence[UUID]) -> list[UUID]:
    """Embed stored texts again and write their points; gives the chunks whose text is not theirs."""
    async with context.database.begin() as connection:
        manifest = manifest_of(context, connection)
        found = await manifest.load_chunks(ids)
        marks = await manifest.find_marks([chunk.document_id for chunk, _ in found])
    damaged = {chunk.id for chunk, _ in found if not _is_whole(chunk, marks[chunk.document_id])}
    whole = [item for item in found if item[0].id not in damaged]
    chunks = [chunk for chunk, _ in whole]
    vectors, refused = await embed_batches(
        context, [chunk.embedded for chunk in chunks], [chunk.tokens for chunk in chunks]
    )
    keep = [number for number in range(len(chunks)) if number not in refused]
    payloads = [
        payload_of(chunk.document_id, owner.source_id, owner.path, others=owner.others)
        for chunk, owner in (whole[number] for number in keep)
    ]
    if keep:
        context.require_lease()
        kept = [chunks[number] for number in keep]
        points = make_points(kept, vectors[keep], payloads, sparse=context.generation.sparse)
        await context.store.upsert(context.generation.name, points)
    if keep and context.cache is not None:
        # the wrong vector may have come from there
        await context.cache.keep([chunks[number].embedded for number in keep], vectors[keep])
    findings.repaired += len(keep)
    return list(damaged)


def _is_whole(chunk: ChunkRow, mark: DocumentMark) -> bool:
    return owns_text(chunk.id, chunk.document_id, text_hash(chunk.embedded), occurrences=mark.most_chunks)


async def repair_documents(context: IngestContext, findings: Findings, marks: Sequence[DocumentMark]) -> None:
    """Have documents read again whose chunks are not as many as they say; equal chunks keep their points."""
    removed = [mark.id for mark in marks if mark.state is DocumentState.REMOVED]
    others = [mark.id for mark in marks if mark.state is not DocumentState.REMOVED]
    async with context.database.fenced(context.lease) as connection:
        manifest = manifest_of(context, connection)
        await manifest.forget_removed(removed)
        findings.to_read |= await manifest.read_again(others)
    findings.repaired += len(marks)

"""Copies of documents that the collection holds already under another URI."""

from collections.abc import Sequence
from uuid import UUID

from app.db.documents import DocumentRepository
from app.domain.documents import PreparedDocument
from app.domain.identity import chunk_ids, text_hash
from app.domain.points import Vectors
from app.pipeline.context import IngestContext
from app.pipeline.vector_check import CHECK, are_units, check_vectors


async def load_copies(context: IngestContext, documents: Sequence[PreparedDocument]) -> dict[bytes, Vectors]:
    """Vectors of the texts of documents that the collection holds already under another URI, by ``text_hash``.

    Only those that are what was stored once: a damaged vector would spread, and be taken for right from then on.
    """
    by_content = {document.content_hash: document for document in documents if document.content_hash is not None}
    async with context.database.begin() as connection:
        manifest = DocumentRepository(connection, context.collection.id)
        copies = await manifest.find_copies(list(by_content), besides=[item.document_id for item in documents])
    texts: dict[UUID, str] = {}
    for content_hash, copy in copies.items():
        chunks = [chunk.embedded for chunk in by_content[content_hash].chunks]
        texts.update(zip(chunk_ids(copy, chunks), chunks, strict=True))
    if not texts:
        return {}
    generation = context.generation
    found = await context.store.retrieve_points(generation.name, list(texts), dimension=generation.dimension)
    known = [number for number, point in enumerate(found.ids) if isinstance(point, UUID)]
    ids, vectors = [point for point in found.ids if isinstance(point, UUID)], found.vectors[known]
    checks = [found.payloads[number].get(CHECK) for number in known]
    sound = are_units(vectors) & check_vectors(ids, vectors, checks)
    return {text_hash(texts[point]): vectors[row] for row, point in enumerate(ids) if sound[row]}

"""Vectors that the generation which serves has already of the same texts."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db.documents import ChunkRow
from app.domain.errors import GenerationMissingError
from app.domain.identity import text_hash
from app.domain.points import Vectors
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.vector_check import CHECK, are_units, check_vectors

AT_ONCE = 100


async def load_vectors(context: RebuildContext, chunks: Sequence[ChunkRow]) -> Mapping[bytes, Vectors]:
    """Vectors of chunks by ``text_hash``, none if the model is another one.

    A chunk's id follows from its document and text, so the point of the same id is of the same text. Only those are
    taken that are what was stored once: a damaged one would spread, and be taken for right from then on.
    """
    if not context.is_same_model:
        return {}
    known: dict[bytes, Vectors] = {}
    for start in range(0, len(chunks), AT_ONCE):
        known |= await _load(context, {chunk.id: chunk.embedded for chunk in chunks[start : start + AT_ONCE]})
    return known


async def _load(context: RebuildContext, texts: Mapping[UUID, str]) -> Mapping[bytes, Vectors]:
    old = context.old
    try:
        found = await context.ingest.store.retrieve_points(old.name, list(texts), dimension=old.dimension)
    except GenerationMissingError:
        return {}
    known = [number for number, point in enumerate(found.ids) if isinstance(point, UUID)]
    ids, vectors = [point for point in found.ids if isinstance(point, UUID)], found.vectors[known]
    checks = [found.payloads[number].get(CHECK) for number in known]
    sound = are_units(vectors) & check_vectors(ids, vectors, checks)
    return {text_hash(texts[point]): vectors[row] for row, point in enumerate(ids) if sound[row]}


async def find_known(context: RebuildContext, chunks: Sequence[ChunkRow]) -> set[bytes]:
    """Which of some chunks, by ``text_hash``, ``load_vectors`` would give."""
    return set(await load_vectors(context, chunks))

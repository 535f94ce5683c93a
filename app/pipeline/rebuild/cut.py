"""Cuts stored texts into other chunks. Runs in child processes."""

from collections.abc import Sequence
from uuid import UUID

from app.db.documents import ChunkRow
from app.db.validation import Piece, TextDocument
from app.domain.documents import Chunking, TextChunk
from app.pipeline.chunk import chunk_text
from app.pipeline.validation.recut import join_pieces, kind_of


def cut_documents(
    documents: Sequence[TextDocument], chunking: Chunking, tokenizer: str | None
) -> list[tuple[UUID, tuple[TextChunk, ...]]]:
    """The new chunks of documents, whose texts are put together from those they have."""
    return [
        (
            document.id,
            tuple(chunk_text(join_pieces(document), chunking, kind=kind_of(document), tokenizer=tokenizer)),
        )
        for document in documents
    ]


def to_pieces(chunks: Sequence[ChunkRow]) -> tuple[Piece, ...]:
    """Chunks of one document, in the order of their places."""
    return tuple(
        Piece(
            id=chunk.id,
            start=chunk.start,
            end=chunk.end,
            text=chunk.text,
            headings=chunk.headings,
            parent_start=chunk.parent_start,
            parent_end=chunk.parent_end,
            gap=chunk.gap,
        )
        for chunk in sorted(chunks, key=lambda chunk: (chunk.start, chunk.end, chunk.id))
    )

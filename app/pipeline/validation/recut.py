"""Cuts documents again as a generation says it was done. Runs in child processes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.validation import Piece, TextDocument
from app.domain.documents import Chunking
from app.pipeline.chunk import TextKind, chunk_text
from app.pipeline.chunking.code import is_code
from app.pipeline.extract.kinds import MARKDOWN

LEFT_OUT = 2
"""Chunks at the end of a text that goes on: where they end depends on what comes after."""
RUNS = re.compile(r"(?<=\S)\s+(?=\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecutRequest:
    """A document whose text is cut again, and the places of the chunks it has."""

    document: TextDocument
    places: tuple[tuple[int, int], ...]
    is_whole: bool


def recut_documents(
    requests: Sequence[RecutRequest], chunking: Chunking, tokenizer: str | None
) -> list[tuple[UUID, int, int]]:
    """For each document how many chunks are the same, and how many the side has that has more."""
    return [(request.document.id, *_recut(request, chunking, tokenizer)) for request in requests]


def _recut(request: RecutRequest, chunking: Chunking, tokenizer: str | None) -> tuple[int, int]:
    """The better of two texts: nobody knows any more what white space lay between the chunks."""
    document = request.document
    texts = {join_pieces(document), join_pieces(document, as_lines=True)}
    return max(_compare(request, text, chunking, tokenizer) for text in sorted(texts))


def _compare(request: RecutRequest, text: str, chunking: Chunking, tokenizer: str | None) -> tuple[int, int]:
    again = chunk_text(text, chunking, kind=kind_of(request.document), tokenizer=tokenizer)
    stored, made = list(request.places), [(chunk.start, chunk.end) for chunk in again]
    if not request.is_whole:
        end = min(places[max(0, len(places) - 1 - LEFT_OUT)][1] for places in (stored, made) if places)
        stored, made = ([place for place in places if place[1] <= end] for places in (stored, made))
    return len(set(stored) & set(made)), max(len(stored), len(made))


def kind_of(document: TextDocument) -> TextKind:
    """What its text was taken for when it was cut."""
    if document.mime_type == MARKDOWN:
        return TextKind.MARKDOWN
    if not document.is_record and is_code(document.path):
        return TextKind.CODE
    return TextKind.PROSE


def join_pieces(document: TextDocument, *, as_lines: bool = False) -> str:
    """The text of a document, put together from its chunks.

    What lies between them is white space. Of chunks that an older version has written only its length is known: it
    becomes what most white space of that length is inside the chunks, or ends of lines where there is none or
    ``as_lines`` says so.
    """
    pieces = document.pieces
    fillers = {} if as_lines else _find_fillers(pieces)
    parts: list[str] = []
    length = 0
    for piece in pieces:
        gap = piece.start - length
        if gap > 0:
            is_known = piece.gap is not None and len(piece.gap) == gap
            parts.append(piece.gap if is_known and piece.gap else fillers.get(gap, "\n" * gap))
        parts.append(piece.text[max(0, -gap) :])
        length = max(length, piece.end)
    return "".join(parts)


def _find_fillers(pieces: Sequence[Piece]) -> dict[int, str]:
    """The most common white space of each length."""
    counts = Counter(run for piece in pieces for run in RUNS.findall(piece.text))
    # the last one that is written for a length is the most common one
    return {len(run): run for run, _ in reversed(counts.most_common())}

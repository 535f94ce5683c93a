"""Texts are put together from chunks as they were, and cut again as they were cut."""

from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.db.validation import Piece, TextDocument
from app.domain.documents import Chunking, ChunkingStrategy
from app.pipeline.chunk import TextKind, chunk_text
from app.pipeline.validation.recut import RecutRequest, join_pieces, kind_of, recut_documents

PARAGRAPHS = "\n\n".join(
    f"The {subject} has been known for long. It is found in many places, and few of them are warm.  Nobody asks why."
    for subject in ("whale", "squid", "glacier", "violin", "rocket", "volcano", "comet", "beehive")
)


def cut(
    text: str,
    chunking: Chunking,
    *,
    path: str = "a.txt",
    mime_type: str = "text/plain",
    kind: TextKind = TextKind.PROSE,
) -> TextDocument:
    """A document as it is stored."""
    pieces = tuple(
        Piece(
            id=uuid4(),
            start=chunk.start,
            end=chunk.end,
            text=chunk.text,
            headings=chunk.headings,
            parent_start=chunk.parent_start,
            parent_end=chunk.parent_end,
        )
        for chunk in chunk_text(text, chunking, kind=kind)
    )
    return TextDocument(
        id=uuid4(), path=path, title=None, mime_type=mime_type, is_record=False, is_whole=True, pieces=pieces
    )


def count(stored: TextDocument, chunking: Chunking, *, is_whole: bool = True) -> tuple[int, int]:
    """How many of the document's chunks come out again, and of how many."""
    places = tuple((piece.start, piece.end) for piece in stored.pieces)
    request = RecutRequest(document=stored, places=places, is_whole=is_whole)
    return recut_documents([request], chunking, None)[0][1:]


@given(st.lists(st.sampled_from(["word", "Longer", "end.", " ", "  ", "\n", "\n\n", "\u00a0", "\t"]), max_size=120))
@settings(max_examples=60, deadline=None)
def test_a_joined_text_differs_in_white_space_alone(parts: list[str]) -> None:
    """Chunks stand where they stood, and what lies between them has the length it had."""
    text = "".join(parts)
    stored = cut(text, Chunking(size=5, overlap=1))
    joined = join_pieces(stored)

    assert all(joined[piece.start : piece.end] == piece.text for piece in stored.pieces)
    assert joined.split() == text.split()
    assert len(joined) <= len(text)


@pytest.mark.parametrize("strategy", [name for name in ChunkingStrategy if name is not ChunkingStrategy.CHARACTER])
@pytest.mark.parametrize("overlap", [0, 5])
def test_what_was_cut_so_comes_out_again(strategy: ChunkingStrategy, overlap: int) -> None:
    """For every strategy; another size gives other chunks."""
    chunking = Chunking(strategy=strategy, size=40, overlap=overlap)
    stored = cut(PARAGRAPHS, chunking)
    same, total = count(stored, chunking)
    other, of = count(stored, Chunking(strategy=strategy, size=90, overlap=overlap))

    assert (same, total) == (len(stored.pieces), len(stored.pieces))
    assert other < of / 2


def test_a_missing_overlap_is_seen() -> None:
    """Chunks of the same size that share nothing, where something was to be shared."""
    stored = cut(PARAGRAPHS, Chunking(size=40, overlap=0))
    same, total = count(stored, Chunking(size=40, overlap=10))

    assert same < total / 2


def test_the_end_of_a_part_does_not_count() -> None:
    """Where a text goes on, its last chunks end elsewhere."""
    chunking = Chunking(size=40, overlap=5)
    stored = cut(PARAGRAPHS, chunking)
    last = stored.pieces[-1]
    shorter = Piece(
        id=last.id,
        start=last.start,
        end=last.end - 5,
        text=last.text[:-5],
        headings=(),
        parent_start=None,
        parent_end=None,
    )
    part = TextDocument(
        id=stored.id,
        path=stored.path,
        title=None,
        mime_type=None,
        is_record=False,
        is_whole=False,
        pieces=(*stored.pieces[:-2], shorter),
    )
    same, total = count(part, chunking, is_whole=False)

    assert same == total > 3


def test_kinds_are_those_of_ingestion() -> None:
    """By what was extracted, or the name of a file of code; records have no kind."""
    markdown = cut("# A\n\ntext", Chunking(), mime_type="text/markdown")
    code = cut("def a(): pass", Chunking(), path="a/b.py")

    assert kind_of(markdown) is TextKind.MARKDOWN
    assert kind_of(code) is TextKind.CODE
    assert kind_of(cut("text", Chunking())) is TextKind.PROSE

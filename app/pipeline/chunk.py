"""Cuts texts into chunks, sized in tokens. Runs in child processes."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import accumulate, pairwise
from zlib import crc32

from app.domain.documents import HEADINGS_END, HEADINGS_JOIN, Chunking, ChunkingStrategy, TextChunk
from app.pipeline.chunking.boundaries import Boundary, Find, find_lines, find_parts, find_sentences, find_words
from app.pipeline.chunking.code import find_definitions
from app.pipeline.chunking.cutting import cut_text
from app.pipeline.chunking.markdown import Outline, find_sections, read_outline
from app.pipeline.chunking.semantic import find_turns
from app.pipeline.chunking.tokens import WORDS, Characters, Measured, Sizes, load_counter, load_tokenizer

__all__ = ["TextKind", "chunk_text", "load_tokenizer"]

PIECE_CHARACTERS = 1_000_000
GAPS = re.compile(r"\n[^\S\n]*\n\s*(?=\S)")
LINE_ENDS = re.compile(r"\n(?=.)")
LONGEST_TOKEN = 8
"""Characters; only where tokens are longer is less shared than could be."""
SENTENCE_STARTS = re.compile(r"(?:[.!?…。\uff01\uff1f][\"'”\u2019)\]]*\s?|\n.?)$", re.DOTALL)
"""How a text ends where a sentence or a line begins, and the space or first character of that."""


class TextKind(StrEnum):
    """How a text says where its parts begin."""

    PROSE = "prose"
    MARKDOWN = "markdown"
    CODE = "code"


FORCED = {
    ChunkingStrategy.MARKDOWN: TextKind.MARKDOWN,
    ChunkingStrategy.CODE: TextKind.CODE,
    ChunkingStrategy.CHARACTER: TextKind.PROSE,
}
"""Strategies that take every text for one of a kind."""
CHILDREN = 4
"""How many full chunks fit into the parent that ``hierarchical`` shows."""
PATH_SHARE = 10
"""The headings over a chunk may take a tenth of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A text, the places where it may be cut, and how it is.

    ``path_size`` is how much of a chunk the headings over it may take.
    """

    text: str
    places: list[Boundary]
    outline: Outline
    sizes: Sizes
    measured: Measured
    size: int
    overlap: int
    path_size: int

    def cut(self, span: tuple[int, int], *, size: int, overlap: int) -> list[tuple[int, int]]:
        """Spans that follow on each other; the overlap, less the headings, will fit before each."""
        if self.measured.count([span])[0] <= size - self.path_size:
            return [span]
        finer: list[Find] = [find_sentences, find_words, find_parts(self.sizes)]
        most = max(1, size - max(overlap, self.path_size))
        return cut_text(self.text, span, self.places, finer, limit=most, measured=self.measured)


def chunk_text(
    text: str, chunking: Chunking, *, kind: TextKind = TextKind.PROSE, tokenizer: str | None = None
) -> list[TextChunk]:
    """Chunks in order, ``text[start:end] == chunk.text``; none is empty or white space alone.

    A text that fits into one chunk is one chunk; very long texts are cut into pieces between paragraphs first.
    ``tokenizer`` is a file that says how many tokens a text has; None is the packaged one. White space at the end
    changes nothing: chunks and the gaps between them are all that is kept of a text, and give the same chunks again.
    """
    text = text.rstrip()
    kind = FORCED.get(chunking.strategy, kind)
    is_by_character = chunking.strategy is ChunkingStrategy.CHARACTER
    sizes: Sizes = Characters() if is_by_character else load_counter(tokenizer)
    chunks: list[TextChunk] = []
    for start, end in _pieces(text):
        piece = _read_piece(text[start:end], chunking, kind, sizes)
        chunks += _shift(_chunk_piece(piece, chunking.strategy), start)
    return _note_gaps(text, chunks)


def _note_gaps(text: str, chunks: Sequence[TextChunk]) -> list[TextChunk]:
    """The same chunks, each with the white space before it that is in none."""
    covered, noted = 0, []
    for chunk in chunks:
        noted.append(replace(chunk, gap=text[covered : chunk.start]) if chunk.start > covered else chunk)
        covered = max(covered, chunk.end)
    return noted


def _read_piece(text: str, chunking: Chunking, kind: TextKind, sizes: Sizes) -> _Piece:
    outline = read_outline(text) if kind is TextKind.MARKDOWN else Outline([], [])
    if chunking.strategy is ChunkingStrategy.SEMANTIC:
        find: Find = find_turns
    elif kind is TextKind.CODE:
        find = find_definitions
    elif kind is TextKind.MARKDOWN:
        find = partial(find_sections, outline=outline)
    else:
        find = find_lines
    return _Piece(
        text=text,
        places=list(find(text)),
        outline=outline,
        sizes=sizes,
        measured=sizes.read(text),
        size=chunking.size,
        overlap=chunking.overlap,
        path_size=chunking.size // PATH_SHARE if kind is TextKind.MARKDOWN else 0,
    )


def _chunk_piece(piece: _Piece, strategy: ChunkingStrategy) -> list[TextChunk]:
    whole = (0, len(piece.text))
    if strategy is not ChunkingStrategy.HIERARCHICAL:
        return _to_chunks(piece, piece.cut(whole, size=piece.size, overlap=piece.overlap))
    chunks: list[TextChunk] = []
    for parent in piece.cut(whole, size=piece.size * CHILDREN, overlap=0):
        span = _trim(piece.text, *parent)
        if span[0] < span[1]:
            bodies = piece.cut(span, size=piece.size, overlap=piece.overlap)
            children = _to_chunks(piece, bodies, trim=False)
            chunks += [replace(child, parent_start=span[0], parent_end=span[1]) for child in children]
    return chunks


def _to_chunks(piece: _Piece, bodies: Sequence[tuple[int, int]], *, trim: bool = True) -> list[TextChunk]:
    """Chunks of spans that follow on each other; ``trim`` says whether white space around them is left out."""
    text, measured = piece.text, piece.measured
    bodies = [_trim(text, *body) for body in bodies] if trim else bodies
    paths = _paths_of(piece, [start for start, _ in bodies])
    spans = _overlap(piece, bodies, [size for _, size in paths])
    spans = [_trim(text, *span) for span in spans] if trim else spans
    counts = measured.count(spans)
    most = [piece.size - size for _, size in paths]
    # a word cut in two may have more tokens than it had
    spans = [span if size <= top else body for span, body, size, top in zip(spans, bodies, counts, most, strict=True)]
    counts = measured.count(spans)
    chunks: list[TextChunk] = []
    for (start, end), size, (path, path_size) in zip(spans, counts, paths, strict=True):
        body = text[start:end]
        # the rest is white space of a size of its own, or that and what the chunk before has too
        if body.strip() and (not chunks or end > chunks[-1].end):
            chunks.append(TextChunk(text=body, start=start, end=end, tokens=size + path_size, headings=path))
    return chunks


def _paths_of(piece: _Piece, places: Sequence[int]) -> list[tuple[tuple[str, ...], int]]:
    """The headings over each place, as far as they fit, and their size: outer ones are left out first."""
    known: dict[tuple[str, ...], tuple[tuple[str, ...], int]] = {(): ((), 0)}
    found = []
    for place in places:
        path = piece.outline.path_at(place)
        if path not in known:
            known[path] = _fit_path(path, piece)
        found.append(known[path])
    return found


def _fit_path(path: tuple[str, ...], piece: _Piece) -> tuple[tuple[str, ...], int]:
    words = path[-1].split()
    tries = [path[number:] for number in range(len(path))]
    tries += [(" ".join(words[:number]),) for number in range(len(words) - 1, 0, -1)]
    for some in tries:
        size = piece.sizes.count([HEADINGS_JOIN.join(some) + HEADINGS_END])[0]
        if size <= piece.path_size:
            return some, size
    return (), 0


def _shift(chunks: Sequence[TextChunk], by: int) -> list[TextChunk]:
    """The same chunks in a text that has more before them."""
    if by == 0:
        return list(chunks)
    return [
        replace(
            chunk,
            start=chunk.start + by,
            end=chunk.end + by,
            parent_start=None if chunk.parent_start is None else chunk.parent_start + by,
            parent_end=None if chunk.parent_end is None else chunk.parent_end + by,
        )
        for chunk in chunks
    ]


def _overlap(piece: _Piece, bodies: Sequence[tuple[int, int]], taken: Sequence[int]) -> list[tuple[int, int]]:
    """The same spans, each begun a little earlier, but for those that begin with a heading.

    ``taken`` is the size of the headings over each, which they take from the room for the overlap.
    """
    headings = piece.outline.starts
    room = max(piece.overlap, piece.path_size)
    spans = list(bodies[:1])
    for ((first, stop), (start, end)), size in zip(pairwise(bodies), taken[1:], strict=True):
        shared = 0 if start in headings else min(piece.overlap, room - size)
        begin = _begin_earlier(piece, first, stop, shared) if shared > 0 else stop
        spans.append((begin if begin < stop else start, end))
    return spans


def _begin_earlier(piece: _Piece, first: int, start: int, overlap: int) -> int:
    """Where a chunk begins that shares the end of its neighbour: with a sentence, or else a word, within the overlap.

    A sentence is taken only if half of the overlap is left.
    """
    begin = max(first, start - overlap * LONGEST_TOKEN)
    tail = piece.text[begin:start]
    words = WORDS.findall(tail)
    ends = list(accumulate(piece.sizes.measure(words)))
    places = [0, *accumulate(map(len, words[:-1]))]
    if not ends:
        return start
    earliest = 0 if begin == first and ends[-1] <= overlap else bisect_left(ends, ends[-1] - overlap) + 1
    if earliest == len(places):
        parts = piece.sizes.split(tail)
        return begin + parts[-overlap] if len(parts) > overlap else start
    half = bisect_left(ends, ends[-1] - overlap / 2)
    sentences = (at for at in places[earliest : half + 1] if SENTENCE_STARTS.search(tail[max(0, at - 8) : at + 1]))
    return begin + next(sentences, places[earliest])


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    body = text[start:end]
    return start + len(body) - len(body.lstrip()), start + len(body.rstrip())


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Spans of at most ``PIECE_CHARACTERS``; the paragraphs around a place decide which one it is."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        window = (start + PIECE_CHARACTERS // 2, start + PIECE_CHARACTERS)
        places = [gap.end() for gap in GAPS.finditer(text, *window)]
        places = places or [gap.end() for gap in LINE_ENDS.finditer(text, *window)] or [window[1]]
        end = min(places, key=lambda place: crc32(text[place : place + 64].encode("utf-8", "surrogatepass")))
        yield start, end
        start = end
    yield start, len(text)

"""Cuts texts into chunks, sized in tokens. Runs in child processes."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import accumulate, pairwise
from zlib import crc32

from app.domain.documents import Chunking, ChunkingStrategy, TextChunk
from app.pipeline.chunking.boundaries import Find, find_lines, find_parts, find_sentences, find_words
from app.pipeline.chunking.cutting import cut_text
from app.pipeline.chunking.markdown import Outline, find_sections, read_outline
from app.pipeline.chunking.tokens import WORDS, Characters, Sizes, load_counter, load_tokenizer

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """How one text is cut."""

    sizes: Sizes
    limit: int
    overlap: int
    outline: Outline


def chunk_text(text: str, chunking: Chunking, *, kind: TextKind = TextKind.PROSE) -> list[TextChunk]:
    """Chunks in order, ``text[start:end] == chunk.text``; none is empty or white space alone.

    A text that fits into one chunk is one chunk; very long texts are cut into pieces between paragraphs first.
    """
    return [chunk for start, end in _pieces(text) for chunk in _chunk_piece(text[start:end], start, chunking, kind)]


def _chunk_piece(text: str, offset: int, chunking: Chunking, kind: TextKind) -> Iterator[TextChunk]:
    strategy = chunking.strategy
    sizes: Sizes = Characters() if strategy is ChunkingStrategy.CHARACTER else load_counter()
    is_markdown = kind is TextKind.MARKDOWN or strategy is ChunkingStrategy.MARKDOWN
    outline = read_outline(text) if is_markdown else Outline([], [])
    rules = _Rules(sizes=sizes, limit=chunking.size, overlap=chunking.overlap, outline=outline)
    find: Find = partial(find_sections, outline=outline) if is_markdown else find_lines
    bodies = [_trim(text, *span) for span in _cut(text, rules, find)]
    spans = [_trim(text, *span) for span in _overlap(text, bodies, rules)]
    counts = sizes.count([text[start:end] for start, end in spans])
    # a word cut in two may have more tokens than it had
    spans = [span if size <= chunking.size else body for span, body, size in zip(spans, bodies, counts, strict=True)]
    counts = sizes.count([text[start:end] for start, end in spans]) if max(counts) > chunking.size else counts
    covered = 0
    for (start, end), size in zip(spans, counts, strict=True):
        # the rest is white space of a size of its own, or that and what the chunk before has too
        if start < end and end > covered:
            covered = end
            yield TextChunk(text=text[start:end], start=offset + start, end=offset + end, tokens=size)


def _cut(text: str, rules: _Rules, find: Find) -> list[tuple[int, int]]:
    """Spans that follow on each other, each within the limit less the overlap."""
    if rules.sizes.count([text])[0] <= rules.limit:
        return [(0, len(text))]
    most = max(1, rules.limit - rules.overlap)
    starts = cut_text(text, most, [find, find_sentences, find_words, find_parts(rules.sizes)], rules.sizes)
    return list(pairwise([*starts, len(text)]))


def _overlap(text: str, bodies: Sequence[tuple[int, int]], rules: _Rules) -> list[tuple[int, int]]:
    """The same spans, each begun a little earlier, but for those that begin with a heading."""
    headings = {heading.at for heading in rules.outline.headings}
    spans = list(bodies[:1])
    for (before, start), (_, end) in pairwise(bodies):
        if rules.overlap == 0 or start in headings:
            spans.append((start, end))
        else:
            spans.append((_begin_earlier(text, before, start, rules), end))
    return spans


def _begin_earlier(text: str, first: int, start: int, rules: _Rules) -> int:
    """Where a chunk begins that shares the end of its neighbour: with a sentence, or else a word, within the overlap.

    A sentence is taken only if half of the overlap is left.
    """
    begin = max(first, start - rules.overlap * LONGEST_TOKEN)
    tail = text[begin:start]
    words = WORDS.findall(tail)
    ends = list(accumulate(rules.sizes.measure(words)))
    places = [0, *accumulate(map(len, words[:-1]))]
    if not ends:
        return start
    earliest = 0 if begin == first and ends[-1] <= rules.overlap else bisect_left(ends, ends[-1] - rules.overlap) + 1
    if earliest == len(places):
        parts = rules.sizes.split(tail)
        return begin + parts[-rules.overlap] if len(parts) > rules.overlap else start
    half = bisect_left(ends, ends[-1] - rules.overlap / 2)
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

"""Where a text may be cut, and how good a place that is; only the text around a place decides."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from app.pipeline.chunking.tokens import WORDS, Sizes

HEADING = 20
"""Strength of a boundary before a heading of level 1; each level below is one less."""
PARAGRAPH = 12
LINE_AFTER_SENTENCE = 9
LINE = 8
SENTENCE = 6
CLAUSE = 5
WORD = 4
CHARACTER = 1

AROUND = 32
"""Characters on each side of a boundary that rank it among its equals."""

BREAKS = re.compile(r"\n(?:[^\S\n]*\n)*")
SENTENCE_ENDS = re.compile(r"[.!?…][\"'”\u2019)\]]*\s+|[。\uff01\uff1f]+\s*")
CLAUSE_ENDS = re.compile(r"[,;:—]\s+|[、\uff0c\uff1b\uff1a]")
ENDS_OF_SENTENCES = frozenset('.!?:;…。\uff01\uff1f"”)`')
BULLET = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]")


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place in a text where a part may begin."""

    at: int
    strength: int


Find = Callable[[str], Iterator[Boundary]]
"""Boundaries inside a text, in order; neither its start nor its end."""


def find_lines(text: str) -> Iterator[Boundary]:
    """Paragraphs and lines."""
    for gap in BREAKS.finditer(text):
        start, at = gap.span()
        if start == 0 or at == len(text):
            continue
        if at - start > 1 and text.find("\n", start + 1, at) != -1:
            yield Boundary(at, PARAGRAPH)
        elif text[start - 1] in ENDS_OF_SENTENCES or BULLET.match(text, at):
            yield Boundary(at, LINE_AFTER_SENTENCE)
        else:
            yield Boundary(at, LINE)


def find_sentences(text: str) -> Iterator[Boundary]:
    """Ends of sentences."""
    for end in SENTENCE_ENDS.finditer(text):
        if end.end() < len(text):
            yield Boundary(end.end(), SENTENCE)


def find_words(text: str) -> Iterator[Boundary]:
    """Every word; those that begin a clause are better places."""
    clauses = {end.end() for end in CLAUSE_ENDS.finditer(text)}
    for word in WORDS.finditer(text):
        at = word.end() - len(word.group().lstrip())
        if 0 < at < len(text):
            yield Boundary(at, CLAUSE if at in clauses else WORD)
    yield from ()


def find_parts(sizes: Sizes) -> Find:
    """Every token, for words that are longer than a chunk."""

    def find(text: str) -> Iterator[Boundary]:
        for at in sizes.split(text):
            if 0 < at < len(text):
                yield Boundary(at, CHARACTER)

    return find


def rank_places(text: str, places: Sequence[Boundary]) -> list[int]:
    """An order over boundaries: strength first, then a hash of the text around each.

    So a place ranks the same wherever it moves, and among equals the choice does not depend on what comes before.
    """
    return [
        place.strength << 32
        | crc32(text[max(0, place.at - AROUND) : place.at + AROUND].encode("utf-8", "surrogatepass"))
        for place in places
    ]

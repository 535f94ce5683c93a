"""Finds the words of a query in a text."""

import re
import string
import unicodedata
from functools import lru_cache

WORD = re.compile(r"[\w\u0300-\u036f]+")
"""An accent may be a character of its own, as in file names and texts from macOS."""

WORD_CHARACTERS = frozenset(string.ascii_lowercase + string.digits + "_")
"""Of a text in lower case that is ASCII."""

SHORTEST_STEM = 4
REMEMBERED_WORDS = 32_768
"""A text has few words that others have not, and each of a search's texts has hundreds."""

REMEMBERED_QUERIES = 64
"""Those that are answered at this moment: each is asked for once a hit."""

ENDINGS = ("ingly", "edly", "ing", "ies", "ed", "es", "ly", "s")
COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does for from has have how i if in into is it its of on or that the their"
        " this to was what when where which who why will with you",
    )
)


@lru_cache(maxsize=REMEMBERED_WORDS)
def stem(word: str) -> str:
    """A rough English stem, enough to mark ``wings`` for ``wing``."""
    word = unicodedata.normalize("NFKD", word.casefold())
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM - 1:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > SHORTEST_STEM else word


@lru_cache(maxsize=REMEMBERED_QUERIES)
def _find_stems(query: str) -> frozenset[str]:
    words = {word.casefold() for word in WORD.findall(query)}
    return frozenset({stem(word) for word in words - COMMON} or {stem(word) for word in words})


def find_highlights(text: str, query: str) -> list[tuple[int, int]]:
    """Spans ``(start, end)`` of the text, in characters, whose words the query has too."""
    wanted = _find_stems(query)
    if not text.isascii():
        return [match.span() for match in WORD.finditer(text) if stem(match.group()) in wanted]
    lowered, spans = text.lower(), set()
    for beginning in wanted:
        # all words that have a stem begin with it; that is found faster than all words are looked at
        start = lowered.find(beginning)
        while start >= 0:
            is_inside = start > 0 and lowered[start - 1] in WORD_CHARACTERS
            if not is_inside and (word := WORD.match(lowered, start)) and stem(word[0]) in wanted:
                spans.add(word.span())
            start = lowered.find(beginning, start + 1)
    return sorted(spans)

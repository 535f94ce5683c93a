"""Words and pairs of words of a text, in any language, without those that say nothing."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from app.projection.stop_words import OF_THE_WEB, SHARED, STOP_WORDS

LONGEST_TEXT = 2000
"""Characters of a text that are read."""
LONGEST_WORD = 30
SPOKEN_SHARE = 0.05
"""Of the texts: a language that fewer are written in takes no word from the others."""
MARKS = "\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e00-\u0e7f"
"""Accents and vowels that are characters of their own, which Python does not count as parts of a word."""
WORD = re.compile(rf"[^\W_](?:[\w'&+#{MARKS}]*[^\W_]|[+#]{{1,2}})?[{MARKS}]*")
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
"""Scripts without spaces between words: Chinese, Japanese, Thai."""
BETWEEN = frozenset(" \t\r\n")
"""What may stand between two words of a pair."""


def find_stop_words(texts: Iterable[str], language: str | None = None) -> frozenset[str]:
    """Those of the language, if it is one that has a list, else of the languages that the texts are written in."""
    named = SHARED.get(language or "", language or "")
    spoken = [named] if named in STOP_WORDS else _find_languages(texts)
    return frozenset(OF_THE_WEB.split()).union(*(STOP_WORDS[one] for one in spoken))


def _find_languages(texts: Iterable[str]) -> list[str]:
    votes = Counter(filter(None, map(_find_language, texts)))
    return [name for name, count in votes.items() if count >= SPOKEN_SHARE * votes.total()]


def _find_language(text: str) -> str | None:
    words = WORD.findall(text[:LONGEST_TEXT].lower().replace("\u2019", "'"))
    counts = {name: sum(word in listed for word in words) for name, listed in STOP_WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else None


def read_terms(text: str, stop_words: frozenset[str]) -> Iterator[str]:
    """Words in lower case, and pairs of neighbouring ones; may come more than once.

    ``boundary-layer`` is the pair *boundary layer*, and so is ``two-dimensional``, though *two* says nothing alone.
    """
    read = text[:LONGEST_TEXT].lower().replace("\u2019", "'")
    before, end, gap = "", -1, ""
    for match in WORD.finditer(read):
        word = match.group().removesuffix("'s")
        gap, end = read[end : match.start()] if end >= 0 else "", match.end()
        if UNSPACED.match(word):
            yield from (word[at : at + 2] for at in range(len(word) - 1))
            before = ""
            continue
        says = says_something(word, stop_words)
        if says:
            yield word
        if before and before != word and _is_pair(before, gap, word, stop_words):
            yield f"{before} {word}"
        before = word


def _is_pair(before: str, gap: str, word: str, stop_words: frozenset[str]) -> bool:
    if gap == "-":
        return len(before) > 2 and says_something(word, stop_words)
    if len(gap) > 2 or not BETWEEN.issuperset(gap):
        return False
    return says_something(before, stop_words) and says_something(word, stop_words)


def says_something(word: str, stop_words: frozenset[str]) -> bool:
    """A word that could stand on a map: no number, no stop word, not just a letter or two."""
    return 2 < len(word) <= LONGEST_WORD and word not in stop_words and not word[0].isdigit()


def find_stem(word: str) -> str:
    """What a word and its plural have in common, roughly; only to see that two terms say the same."""
    for ending, kept in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and not word.endswith(("ss", "us", "is")) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + kept
    return word

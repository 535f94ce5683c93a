"""Words and pairs of words of texts, in any language, without those that say nothing."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.projection.stop_words import OF_THE_WEB, SHARED, STOP_WORDS

LONGEST_TEXT = 1500
"""Characters of a text that are read."""
LONGEST_WORD = 30
LONGEST_RUN = 60
"""Of letters without a space; what is longer is no word."""
KNOWN_TOKENS = 200_000
RECOGNISED = 300
"""Texts whose language is looked at."""
SPOKEN_SHARE = 0.05
"""Of these: a language that fewer are written in takes no word from the others."""
MARKS = "\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff\u0e00-\u0e7f"
"""Accents and vowels that are characters of their own, which Python does not count as parts of a word."""
LETTERS = rf"[^\W_](?:[\w'&+#{MARKS}]*[^\W_]|[+#]{{1,2}})?[{MARKS}]*"
WORD = re.compile(LETTERS)
TOKEN = re.compile(rf"{LETTERS}(?:-{LETTERS})*|[^\w\s]")
"""A word, several that a hyphen joins, or a mark that ends what belongs together."""
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")
"""Scripts without spaces between words: Chinese, Japanese, Thai."""


@dataclass(frozen=True, slots=True)
class Token:
    """What is read from a token: terms, and what a pair with its neighbours would begin and end with."""

    terms: Sequence[str] = ()
    first: str = ""
    last: str = ""


BREAK = Token()


class TermReader:
    """Reads terms of texts; remembers tokens, for most come again."""

    def __init__(self, stop_words: frozenset[str]) -> None:
        self._stop_words = stop_words
        self._known: dict[str, Token] = {}

    def read(self, text: str) -> set[str]:
        """Words in lower case, and pairs of neighbouring ones.

        ``boundary-layer`` is the pair *boundary layer*, and so is ``two-dimensional``, though *two* says nothing.
        """
        if len(self._known) > KNOWN_TOKENS:
            self._known.clear()
        terms: set[str] = set()
        before = ""
        for found in TOKEN.findall(_normalise(text)):
            token = self._known.get(found)
            if token is None:
                token = self._known[found] = self._read_token(found)
            terms.update(token.terms)
            if before and token.first and before != token.first:
                terms.add(f"{before} {token.first}")
            before = token.last
        return terms

    def _read_token(self, found: str) -> Token:
        if UNSPACED.match(found):
            return Token(terms=[found[at : at + 2] for at in range(min(len(found), LONGEST_RUN) - 1)])
        parts = [part.removesuffix("'s") for part in found.split("-")]
        if len(found) > LONGEST_RUN:
            return BREAK
        telling = [self._says_something(part) for part in parts]
        pairs = [
            f"{one} {other}"
            for one, other, tells in zip(parts, parts[1:], telling[1:], strict=False)
            if tells and len(one) > 2
        ]
        return Token(
            terms=[*(part for part, tells in zip(parts, telling, strict=True) if tells), *pairs],
            first=parts[0] if telling[0] else "",
            last=parts[-1] if telling[-1] else "",
        )

    def _says_something(self, word: str) -> bool:
        """A word that could stand on a map: no number, no stop word, not just a letter or two."""
        return 2 < len(word) <= LONGEST_WORD and word not in self._stop_words and not word[0].isdigit()


def find_stop_words(texts: Iterable[str], language: str | None = None) -> frozenset[str]:
    """Those of the language, if it is one that has a list, else of the languages that the texts are written in."""
    named = SHARED.get(language or "", language or "")
    spoken = [named] if named in STOP_WORDS else _find_languages(texts)
    return frozenset(OF_THE_WEB.split()).union(*(STOP_WORDS[one] for one in spoken))


def _find_languages(texts: Iterable[str]) -> list[str]:
    votes = Counter(filter(None, map(_find_language, texts)))
    return [name for name, count in votes.items() if count >= SPOKEN_SHARE * votes.total()]


def _find_language(text: str) -> str | None:
    words = WORD.findall(_normalise(text))
    counts = {name: sum(word in listed for word in words) for name, listed in STOP_WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else None


def _normalise(text: str) -> str:
    return text[:LONGEST_TEXT].lower().replace("\u2019", "'").replace("\u2010", "-").replace("\u2011", "-")


def find_stem(word: str) -> str:
    """What a word and its plural have in common, roughly; only to see that two terms say the same."""
    for ending, kept in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending) and not word.endswith(("ss", "us", "is")) and len(word) > len(ending) + 2:
            return word[: -len(ending)] + kept
    return word

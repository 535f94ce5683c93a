"""Queries whose answers are known, for they are made of documents: pure functions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.db.validation import TextDocument
from app.pipeline.validation.recut import join_pieces

TEXT_CHARACTERS = 4000
"""Of a document, which queries are made of."""
QUERY_CHARACTERS = 300
RARE_WORDS = 4
FEWEST_WORDS = 2
WORDS = re.compile(r"[^\W\d_]{4,}")
SENTENCE = re.compile(r"\s*(.+?(?:[.!?…。\uff01\uff1f](?=\s|$)|\n\s*\n|$))", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question and what answers it.

    Attributes:
        group: queries of one document have one number; given ones have a number each.
        relevant: grades of documents; empty where nobody knows.
        is_given: whether somebody asked it, so that it was not made of a document.
    """

    text: str
    group: int
    relevant: dict[UUID, float] = field(default_factory=dict)
    is_given: bool = False


def make_queries(documents: Sequence[TextDocument]) -> list[Query]:
    """For each document its title, its first sentence and its rarest words, as far as it has them."""
    texts = [join_pieces(document)[:TEXT_CHARACTERS] for document in documents]
    spread = Counter(word for text in texts for word in {match.lower() for match in WORDS.findall(text)})
    queries = []
    for group, (document, text) in enumerate(zip(documents, texts, strict=True)):
        asked = dict.fromkeys([_title(document), _first_sentence(document, text), _rare_words(text, spread)])
        queries += [
            Query(text=query, group=group, relevant={document.id: 1.0})
            for query in asked
            if len(WORDS.findall(query)) >= FEWEST_WORDS
        ]
    return queries


def _title(document: TextDocument) -> str:
    return " ".join((document.title or "").split())[:QUERY_CHARACTERS]


def _first_sentence(document: TextDocument, text: str) -> str:
    """The first one that says more than the title."""
    title = _title(document)
    for match in SENTENCE.finditer(text):
        sentence = " ".join(match[1].split())
        if len(WORDS.findall(sentence)) >= FEWEST_WORDS and sentence.rstrip(".") != title.rstrip("."):
            return sentence[:QUERY_CHARACTERS]
    return ""


def _rare_words(text: str, spread: Counter[str]) -> str:
    """The words that fewest other documents have; the first of those that are equally rare."""
    words = dict.fromkeys(match.lower() for match in WORDS.findall(text))
    return " ".join(sorted(words, key=lambda word: spread[word])[:RARE_WORDS])

"""Turns texts into sparse vectors, each as its options say; the part of Qdrant's BM25 inference that we use."""

from functools import lru_cache
from typing import Any

import qdrant_edge as edge

from app.embedded.vector_errors import BadRequestError
from app.embedded.vector_values import read_fields, read_number

BM25_MODEL = "qdrant/bm25"
USUAL = edge.Bm25()
MODELS_KEPT = 64
MOST_WORDS = 1_000_000
NO_STEMMER = {"type": "none"}
NO_STOPWORDS: dict[str, list[str]] = {"languages": [], "custom": []}


def embed_document(value: Any) -> edge.SparseVector:
    """The vector of an inference object of a point."""
    return _read_model(value).embed_document(value["text"])


def embed_query(value: Any) -> edge.SparseVector:
    """The vector of an inference object of a query."""
    return _read_model(value).embed_query(value["text"])


def _read_model(value: Any) -> edge.Bm25:
    read_fields(value, "text", "model", "options")
    if str(value["model"]).lower() != BM25_MODEL:
        raise BadRequestError(f"the only model of this server is {BM25_MODEL}")
    options = value.get("options")
    return USUAL if options is None else read_options(options)


def read_options(options: Any) -> edge.Bm25:
    """The model that options ask for: with other constants, another language, or none at all."""
    read_fields(options, "k", "b", "avg_len", "language", "stemmer", "stopwords")
    without = [options.get("stemmer"), options.get("stopwords")]
    if without not in ([None, None], [NO_STEMMER, NO_STOPWORDS]):
        raise BadRequestError("stems and stop words are those of a language, or there are none of either")
    language = options.get("language")
    if language is not None and (not isinstance(language, str) or without != [None, None]):
        raise BadRequestError("a language is a name, and has its own stems and stop words")
    constants = [
        None if options.get(name) is None else read_number(options[name], least=least, most=most)
        for name, least, most in (("k", 0, 1000), ("b", 0, 1), ("avg_len", 1, MOST_WORDS))
    ]
    return _make_model(*constants, language, has_language=without == [None, None])


@lru_cache(MODELS_KEPT)
def _make_model(
    k: float | None, b: float | None, avg_len: float | None, language: str | None, *, has_language: bool
) -> edge.Bm25:
    if has_language:
        return edge.Bm25(edge.Bm25Config(k=k, b=b, avg_len=avg_len, language=language))
    nothing = edge.StopwordsSet(set(), set())
    return edge.Bm25(edge.Bm25Config(k=k, b=b, avg_len=avg_len, stemmer=edge.DisabledStemmer(), stopwords=nothing))

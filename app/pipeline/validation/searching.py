"""Asks both sides the same queries, each with its own model and as users' searches do."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np

from app.db.validation import ValidationRepository
from app.domain.errors import DomainError, EmbedderDimensionError
from app.domain.points import Hit, SearchMode
from app.domain.search_settings import SearchSettings
from app.evaluation.bootstrap import Interval, mean_by_group, mean_interval
from app.evaluation.findings import KNOWN_ITEM, Overlap, Quality
from app.evaluation.metrics import (
    Scores,
    best_grades,
    grade_rankings,
    ndcg,
    number_rankings,
    overlaps,
    reciprocal_ranks,
)
from app.pipeline.validation.meaning import ask_each
from app.pipeline.validation.queries import QUERY_CHARACTERS, Query, make_queries
from app.pipeline.validation.sides import GivenQuery, Side, Validation

DEPTH = 10
TIED = 5
"""Hits beyond those that count, for some have the score of the last one."""
MODES = (SearchMode.DENSE, SearchMode.HYBRID)
TEXT_CHARACTERS = 8000
MOVED = 10
GIVEN_CHARACTERS = 2000
URI_CHARACTERS = 500
TITLE_CHARACTERS = 200

Ranking = list[UUID]


class SideFailedError(Exception):
    """One of the sides cannot be searched; never leaves this package."""

    def __init__(self, side: Side, code: str) -> None:
        super().__init__(code)
        self.side = side
        self.code = code


@dataclass(slots=True)
class Answers:
    """What one side has found for each query, by mode, and how long that took without embedding."""

    rankings: dict[SearchMode, list[Ranking]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    milliseconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Searches:
    """The queries, and what both sides have found."""

    queries: Sequence[Query]
    old: Answers
    new: Answers
    documents: Mapping[UUID, Mapping[str, str | None]]
    """URI and title of each document of the rankings, so that whoever reads the report later need not look them up."""


async def list_queries(validation: Validation, documents: Sequence[UUID]) -> list[Query]:
    """Queries of documents, as the old generation has them, then the given ones."""
    async with validation.database.begin() as connection:
        repository = ValidationRepository(connection, validation.collection_id)
        texts = await repository.load_texts(
            validation.old.generation.id, documents[: validation.sizes.documents], characters=TEXT_CHARACTERS
        )
    queries = make_queries(texts)
    given = _sample_given(validation)
    return queries + [
        Query(text=query.text[:GIVEN_CHARACTERS], group=number, relevant=dict(query.relevant), is_given=True)
        for number, query in enumerate(given, len(texts))
    ]


def _sample_given(validation: Validation) -> list[GivenQuery]:
    """As many judged queries as of the others, which are the newest ones."""
    most, asked = validation.sizes.given, [query for query in validation.given if query.text.strip()]
    judged = [query for query in asked if query.relevant]
    if len(judged) > most:
        chosen = np.random.default_rng(validation.seed).choice(len(judged), size=most, replace=False)
        judged = [judged[number] for number in sorted(chosen)]
    return judged + [query for query in asked if not query.relevant][:most]


async def search_both(validation: Validation, queries: Sequence[Query]) -> Searches:
    """Ask everything on both sides, in turns, so that both have the same load beside them.

    Raises:
        SideFailedError: if a side refuses for good, or the old one does not answer.
        TransientError: if the new side does not answer, which says nothing about it.
    """
    old, new = Answers(), Answers()
    documents: dict[UUID, Mapping[str, str | None]] = {}

    async def ask(numbered: tuple[int, Query]) -> list[tuple[dict[SearchMode, Ranking], list[float]]]:
        number, query = numbered
        sides = (validation.old, validation.new)
        order = (0, 1) if number % 2 else (1, 0)
        found = {place: await _ask_side(validation, sides[place], query.text, documents) for place in order}
        return [found[0], found[1]]

    for pair in await ask_each(validation, "searches", list(enumerate(queries)), ask):
        for answers, (rankings, milliseconds) in zip((old, new), pair, strict=True):
            for mode in MODES:
                answers.rankings[mode].append(rankings[mode])
            answers.milliseconds += milliseconds
    return Searches(queries=queries, old=old, new=new, documents=documents)


async def _ask_side(
    validation: Validation, side: Side, text: str, documents: dict[UUID, Mapping[str, str | None]]
) -> tuple[dict[SearchMode, Ranking], list[float]]:
    """Rankings and times by mode; ``documents`` is added to."""
    rankings: dict[SearchMode, Ranking] = {}
    milliseconds = []
    try:
        vector = await side.embedder.embed_query(text)
        if len(vector) != side.generation.dimension:
            raise EmbedderDimensionError(side.generation.model, expected=side.generation.dimension, actual=len(vector))
        for mode in MODES:
            started = time.perf_counter()
            hits = await validation.find_hits(
                side.generation, query=text, vector=vector, settings=SearchSettings(mode=mode), limit=DEPTH + TIED
            )
            milliseconds.append((time.perf_counter() - started) * 1000)
            rankings[mode] = rank_documents(hits)
            for hit in hits:
                documents.setdefault(hit.document_id, _name_document(hit))
    except DomainError as error:
        if error.retryable and side is validation.new:
            raise
        raise SideFailedError(side, error.code) from error
    return rankings, milliseconds


def rank_documents(hits: Sequence[Hit]) -> Ranking:
    """Documents in the order of their scores; those of equal ones come by chance, so here they come by their ids."""
    return [hit.document_id for hit in sorted(hits, key=lambda hit: (-hit.score, hit.document_id))][:DEPTH]


def _name_document(hit: Hit) -> Mapping[str, str | None]:
    return {"uri": _cut(hit.uri, URI_CHARACTERS), "title": hit.title and _cut(hit.title, TITLE_CHARACTERS)}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def overlap_of(searches: Searches, mode: SearchMode) -> Overlap:
    """How far both sides agree, and the queries where they agree least."""
    known: dict[UUID, int] = {}
    old, new = (number_rankings(side.rankings[mode], depth=DEPTH, known=known) for side in (searches.old, searches.new))
    shares = overlaps(old, new)
    least = [int(number) for number in np.argsort(shares, kind="stable")[:MOVED] if shares[number] < 1]
    moved = tuple(_describe_moved(searches, mode, number, overlap=float(shares[number])) for number in least)
    return Overlap(queries=len(shares), mean=float(shares.mean()), moved=moved)


def _describe_moved(searches: Searches, mode: SearchMode, number: int, *, overlap: float) -> dict[str, Any]:
    old, new = (side.rankings[mode][number] for side in (searches.old, searches.new))
    return {
        "query": searches.queries[number].text[:QUERY_CHARACTERS],
        "overlap": round(overlap, 3),
        "old": [str(document) for document in old],
        "new": [str(document) for document in new],
        "documents": {str(document): dict(searches.documents[document]) for document in (*new, *old)},
    }


def quality_of(searches: Searches, *, seed: int) -> Quality:
    """New minus old: of what is known to be relevant, and of what somebody has judged."""
    pooled: dict[str, Interval] = {}
    by_mode: dict[str, Interval] = {}
    for is_given, word in ((False, KNOWN_ITEM), (True, "judged")):
        chosen = [
            number for number, query in enumerate(searches.queries) if query.is_given is is_given and query.relevant
        ]
        if not chosen:
            continue
        groups = np.array([searches.queries[number].group for number in chosen], dtype=np.int64)
        gains = {mode: _gain(searches, mode, chosen) for mode in MODES}
        for measure in ("mrr", "ndcg@10"):
            each = {mode: mean_by_group(gain[measure], groups) for mode, gain in gains.items()}
            pooled[f"{word}_{measure}"] = mean_interval(np.mean(list(each.values()), axis=0), seed=seed)
            for mode, values in each.items():
                by_mode[f"{word}_{measure}_{mode.value}"] = mean_interval(values, seed=seed)
    return Quality(queries=len(searches.queries), pooled=pooled, by_mode=by_mode)


def _gain(searches: Searches, mode: SearchMode, chosen: Sequence[int]) -> dict[str, Scores]:
    old, new = (_score(searches, side, mode, chosen) for side in (searches.old, searches.new))
    return {measure: new[measure] - old[measure] for measure in new}


def _score(searches: Searches, side: Answers, mode: SearchMode, chosen: Sequence[int]) -> dict[str, Scores]:
    judged: list[Mapping[UUID, float]] = [searches.queries[number].relevant for number in chosen]
    rankings = [side.rankings[mode][number] for number in chosen]
    grades, best = grade_rankings(rankings, judged, depth=DEPTH), best_grades(judged, depth=DEPTH)
    return {"mrr": reciprocal_ranks(grades), "ndcg@10": ndcg(grades, best, k=DEPTH)}

"""Asks two generations of a collection the same queries, each with its own model, and puts the answers side by side."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.comparison import (
    ComparedHit,
    ComparedQuery,
    ComparedSide,
    Comparison,
    GenerationUnknownError,
    NothingToCompareError,
)
from app.domain.errors import CollectionNotReadyError, DomainError, EmbedderUnavailableError, InvalidInputError
from app.domain.points import Hit, SearchFilter, SearchMode, Vectors
from app.domain.search_settings import SearchSettings
from app.evaluation.alignment import align_rankings
from app.evaluation.metrics import number_rankings, overlaps, rank_biased_overlaps
from app.search.excerpt import cut_excerpt
from app.search.service import SearchService

MODEL_SECONDS = 30.0
"""How long a side's model may take for all queries; a person waits."""
TIED = 5
"""Hits beyond those that are shown, for some have the score of the last one."""
STANDING = tuple(state for state in GenerationState if state is not GenerationState.DROPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one side has found for each query, or why it was not asked."""

    found: Sequence[Sequence[Hit]] = ()
    error: DomainError | None = None


def compare_hits(query: str, old: Sequence[Hit] | None, new: Sequence[Hit] | None, *, depth: int) -> ComparedQuery:
    """Align the first hits of two answers to a query; None stands for a side that could not be asked."""
    before, after = (_rank_hits(side or (), depth) for side in (old, new))
    is_asked = old is not None and new is not None
    known: dict[UUID, int] = {}
    left, right = (number_rankings([list(side)], depth=depth, known=known) for side in (before, after))
    return ComparedQuery(
        query=query,
        overlap=float(overlaps(left, right)[0]) if is_asked else None,
        rank_biased_overlap=float(rank_biased_overlaps(left, right)[0]) if is_asked else None,
        hits=[
            ComparedHit(
                change=aligned.change if is_asked else None,
                old=before.get(aligned.item),
                new=after.get(aligned.item),
            )
            for aligned in align_rankings(list(before), list(after))
        ],
    )


def _rank_hits(hits: Sequence[Hit], depth: int) -> dict[UUID, Hit]:
    """The best hits by document; those of equal scores come by chance, so here they come by their documents' ids."""
    ordered = sorted(hits, key=lambda hit: (-hit.score, hit.document_id))[:depth]
    return {hit.document_id: replace(cut_excerpt(hit), rank=rank) for rank, hit in enumerate(ordered, 1)}


def choose_other(
    collection: Collection, standing: Sequence[Generation], named: str | None, *, kept_seconds: float
) -> tuple[Generation, Generation]:
    """The active generation and the one it is compared with, the older one first; ``standing`` is oldest first.

    Raises:
        CollectionNotReadyError: if nothing is active.
        NothingToCompareError: if none is named and there is no other complete one.
        GenerationUnknownError: if the named one does not exist any more.
    """
    active = next((one for one in standing if one.state is GenerationState.ACTIVE), None)
    if active is None:
        raise CollectionNotReadyError(collection.name)
    others = [one for one in standing if one is not active]
    if named is None:
        complete = [one for one in others if one.is_complete]
        if not complete:
            building = others[-1].name if others else None
            raise NothingToCompareError(collection.name, kept_seconds=kept_seconds, building=building)
        other = complete[-1]
    else:
        other = _find_named(standing, named)
        if other is active:
            raise InvalidInputError(f"{named} is the generation that serves; name another one to compare it with")
    old, new = sorted((active, other), key=standing.index)
    return old, new


def _find_named(standing: Sequence[Generation], named: str) -> Generation:
    for generation in standing:
        if named in (generation.name, str(generation.id)):
            return generation
    raise GenerationUnknownError(named, [generation.name for generation in standing])


class ComparisonService:
    """Compares the active generation of a collection with another one that still exists.

    Args:
        kept_seconds: how long retired generations are kept, as is said where there is none.
        model_seconds: how long a side's model may take.
    """

    def __init__(
        self,
        database: Database,
        search: SearchService,
        *,
        kept_seconds: float,
        model_seconds: float = MODEL_SECONDS,
    ) -> None:
        self._database = database
        self._search = search
        self._kept_seconds = kept_seconds
        self._model_seconds = model_seconds

    async def compare(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        queries: Sequence[str],
        mode: SearchMode,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
        generation: str | None,
    ) -> Comparison:
        """Both answers to each query; a side that cannot be asked has its error instead.

        Raises:
            CollectionNotFoundError: if the caller has no such collection.
            NothingToCompareError: if there is no other generation; see ``choose_other``.
            DomainError: the active side's, if neither can be asked.
        """
        async with self._database.begin() as connection:
            repository = CollectionRepository(connection)
            collection = await repository.get(user_id, id_or_name)
            standing = await repository.list_generations(collection.id, *STANDING)
        sides = choose_other(collection, standing, generation, kept_seconds=self._kept_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._ask(collection, side, queries, mode=mode, limit=limit, filter=filter))
                    for side in sides
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        old, new = (task.result() for task in asked)
        if old.error is not None and new.error is not None:
            raise old.error if sides[0].state is GenerationState.ACTIVE else new.error
        return Comparison(
            mode=mode,
            limit=limit,
            old=_describe(sides[0], old),
            new=_describe(sides[1], new),
            queries=[
                compare_hits(query, _hits_of(old, number), _hits_of(new, number), depth=limit)
                for number, query in enumerate(queries)
            ],
        )

    async def _ask(
        self,
        collection: Collection,
        generation: Generation,
        queries: Sequence[str],
        *,
        mode: SearchMode,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
    ) -> Answers:
        """All of one side. One query after the other: users' searches have the other turns."""
        settings = SearchSettings(mode=mode)
        try:
            vectors = await self._embed(generation, queries, mode)
            found = [
                await self._search.find_hits(
                    collection,
                    generation,
                    query=query,
                    vector=vector,
                    settings=settings,
                    limit=limit + TIED,
                    filter=filter,
                )
                for query, vector in zip(queries, vectors, strict=True)
            ]
        except DomainError as error:
            return Answers(error=error)
        return Answers(found=found)

    async def _embed(
        self, generation: Generation, queries: Sequence[str], mode: SearchMode
    ) -> Sequence[Vectors | None]:
        if mode is SearchMode.BM25:
            return [None] * len(queries)
        try:
            async with asyncio.timeout(self._model_seconds):
                return [await self._search.embed_query(generation, query) for query in queries]
        except TimeoutError as error:
            raise EmbedderUnavailableError(
                f"the model {generation.model!r} has not answered within {self._model_seconds:g} s"
            ) from error


def _hits_of(answers: Answers, number: int) -> Sequence[Hit] | None:
    return None if answers.error is not None else answers.found[number]


def _describe(generation: Generation, answers: Answers) -> ComparedSide:
    if answers.error is None:
        return ComparedSide(generation=generation)
    return ComparedSide(generation=generation, error_code=answers.error.code, error_message=answers.error.message)

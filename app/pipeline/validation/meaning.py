"""Looks closely at a sample of points: by their meaning, words, neighbours and filters."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np

from app.db.documents import ChunkRow
from app.db.verification import ManifestRepository
from app.domain.errors import (
    DomainError,
    EmbedderBatchTooLargeError,
    EmbedderChangedError,
    EmbedderRejectedError,
)
from app.domain.index_settings import IndexSettings
from app.domain.points import PointQuery, ScoredPoint, SearchFilter, SearchMode, Vectors
from app.domain.ports import Embedder
from app.embedders.fingerprint import SMALLEST_COSINE, check_canaries
from app.evaluation.findings import Canaries, Found, Meaning
from app.evaluation.metrics import Scores, recall_by_score
from app.pipeline.validation.sample import IdSample
from app.pipeline.validation.sides import Side, Validation

TEXTS_PER_CALL = 32
NEIGHBOURS = 10
WORDS = re.compile(r"[^\W_]{3,}")
FEWEST_WORDS = 5
"""Different ones: a text of fewer may be found by the words of many."""
WORDS_CHARACTERS = 4000
QUESTION_REST = 1.0
"""Questions are small: as long a rest as each of them took, while people search, is enough."""

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")


async def check_model(side: Side) -> Canaries:
    """Whether the model of a side is what it was.

    Raises:
        TransientError: if the model does not answer, which says nothing about the generation.
    """
    generation = side.generation
    try:
        await check_canaries(side.embedder, generation.canaries, dimension=generation.dimension)
    except EmbedderChangedError as error:
        return Canaries(passed=False, words=f"differ ({error.message})", fingerprint=generation.fingerprint)
    except DomainError as error:
        if error.retryable:
            raise
        return Canaries(passed=False, words=f"cannot be taken ({error.code})", fingerprint=generation.fingerprint)
    return Canaries(passed=True, words="as they were", fingerprint=generation.fingerprint)


async def load_chunks(validation: Validation, ids: Sequence[UUID]) -> dict[UUID, ChunkRow]:
    """Chunks of the new generation by id."""
    async with validation.database.begin() as connection:
        manifest = ManifestRepository(
            connection, collection_id=validation.collection_id, generation_id=validation.new.generation.id
        )
        return {chunk.id: chunk for chunk, _ in await manifest.load_chunks(ids)}


async def check_meaning(validation: Validation, sample: IdSample) -> Meaning:
    """Embed texts again and compare with what is stored.

    Raises:
        TransientError: if the model does not answer.
    """
    meaning, embedder = Meaning(), validation.new.embedder
    ids = sample.ids[: validation.sizes.texts]
    for start in range(0, len(ids), TEXTS_PER_CALL):
        chunks = await load_chunks(validation, ids[start : start + TEXTS_PER_CALL])
        wanted = [(number, chunks[point]) for number, point in enumerate(ids[start:], start) if point in chunks]
        try:
            made = await embed(embedder, [chunk.embedded for _, chunk in wanted])
        except DomainError as error:
            if error.retryable:
                raise
            meaning.error_code = error.code
            return meaning
        for (number, chunk), vector in zip(wanted, made, strict=True):
            if vector is None:
                meaning.refused += 1
            else:
                fits = vector.shape == sample.rows[number].shape
                cosine = float(vector @ sample.rows[number]) if fits else -1.0
                meaning.add(chunk.id, cosine, least=SMALLEST_COSINE)
        await validation.tell("vectors", start + len(chunks), len(ids))
    return meaning


async def embed(embedder: Embedder, texts: Sequence[str]) -> list[Vectors | None]:
    """Vectors of texts; a batch that is too large is halved, a text that is refused on its own has none."""
    if not texts:
        return []
    try:
        return list(await embedder.embed_documents(texts))
    except (EmbedderBatchTooLargeError, EmbedderRejectedError):
        if len(texts) == 1:
            return [None]
    half = len(texts) // 2
    return [*await embed(embedder, texts[:half]), *await embed(embedder, texts[half:])]


async def check_words(validation: Validation, ids: Sequence[UUID]) -> tuple[int, Found]:
    """Search for texts by their own words: how many were found, and which were not."""
    chunks = [
        chunk
        for chunk in (await load_chunks(validation, ids[: validation.sizes.words])).values()
        if len({word.lower() for word in WORDS.findall(chunk.embedded)}) >= FEWEST_WORDS
    ]

    async def find(chunk: ChunkRow) -> bool:
        text, generation = chunk.embedded[:WORDS_CHARACTERS], validation.new.generation
        query = PointQuery(mode=SearchMode.BM25, text=text, limit=NEIGHBOURS, sparse=generation.sparse)
        found = await validation.store.search(generation.name, query)
        # of many texts that are the same it is chance which ones are shown
        same = len(found) == NEIGHBOURS and found[0].score == found[-1].score
        return same or any(point.id == chunk.id for point in found)

    missed = Found()
    answers = await ask_each(validation, "words", chunks, find)
    for chunk, was_found in zip(chunks, answers, strict=True):
        if not was_found:
            missed.add(chunk.id)
    return sum(answers), missed


async def check_neighbours(validation: Validation, sample: IdSample) -> Scores:
    """For each of some vectors the share of its nearest neighbours that the index finds."""
    name = validation.new.generation.name
    index = IndexSettings.from_config(validation.new.generation.index_settings)

    async def search(vector: Vectors) -> tuple[list[ScoredPoint], list[ScoredPoint]]:
        found, exact = [
            await validation.store.search(
                name,
                PointQuery(
                    mode=SearchMode.DENSE,
                    vector=vector,
                    limit=NEIGHBOURS,
                    exact=is_exact,
                    hnsw_ef=index.ef_search,
                    oversampling=index.oversampling,
                ),
            )
            for is_exact in (False, True)
        ]
        return found, exact

    pairs = await ask_each(validation, "neighbours", list(sample.rows[: validation.sizes.neighbours]), search)
    return recall_by_score(*(_scores_of([pair[side] for pair in pairs]) for side in (0, 1)))


def _scores_of(answers: Sequence[Sequence[ScoredPoint]]) -> Scores:
    scores = np.full((len(answers), NEIGHBOURS), -np.inf)
    for row, points in zip(scores, answers, strict=True):
        row[: len(points)] = [point.score for point in points]
    return scores


async def check_filters(validation: Validation, points: Mapping[str, int]) -> Found:
    """Documents of which a filter finds another number of points than say that they are theirs."""

    async def count(document: str) -> int:
        restrict = SearchFilter(document_ids=(UUID(document),))
        return await validation.store.count(validation.new.generation.name, restrict)

    wrong = Found()
    for document, found in zip(points, await ask_each(validation, "filters", list(points), count), strict=True):
        if found != points[document]:
            wrong.add(document)
    return wrong


async def ask_each(
    validation: Validation, stage: str, things: Sequence[Thing], ask: Callable[[Thing], Awaitable[Answer]]
) -> list[Answer]:
    """The answers in order; some questions are asked at once, fewer while people search.

    Raises:
        DomainError: the first that a question raised.
    """
    answers: list[Answer] = []
    giving_way = validation.giving_way
    while len(answers) < len(things):
        share = await giving_way.find_share(validation.database, validation.sizes.at_once)
        some = things[len(answers) : len(answers) + share]
        started = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_await(ask(thing))) for thing in some]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        answers += [task.result() for task in tasks]
        await giving_way.pause(time.monotonic() - started, most=QUESTION_REST)
        await validation.tell(stage, len(answers), len(things))
    return answers


async def _await(answer: Awaitable[Answer]) -> Answer:
    return await answer

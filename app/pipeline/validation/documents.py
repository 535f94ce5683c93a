"""Compares what two generations hold of each document, and looks at the chunks of the new one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from uuid import UUID

from app.db.validation import Span, ValidationRepository
from app.domain.errors import ProcessDiedError, ProcessTimeoutError
from app.evaluation.findings import Coverage, Found, Recut
from app.pipeline.compare import owns_text
from app.pipeline.validation.recut import RecutRequest, recut_documents
from app.pipeline.validation.sample import IdSample
from app.pipeline.validation.sides import Validation

DOCUMENTS_PER_PAGE = 200
CHUNKS_PER_PAGE = 40_000
"""Of both sides together."""
RECUT_CHARACTERS = 100_000
"""Of each document; cuts depend on what is near them."""
RECUT_PER_CALL = 8
RECUT_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Texts:
    """What one pass over all documents has found.

    Attributes:
        sample: documents that both generations have.
        wrong: chunks whose id is not that of their text.
        repeated: chunks at a place where another chunk of their document is.
        recut: how many chunks are where they must be; filled where both generations are cut in the same way.
    """

    sample: IdSample
    coverage: Coverage = field(default_factory=Coverage)
    chunks: int = 0
    wrong: Found = field(default_factory=Found)
    repeated: Found = field(default_factory=Found)
    too_large: Found = field(default_factory=Found)
    recut: Recut = field(default_factory=Recut)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Some documents and what the generations have of them; of the old one chunks only where they must be the same."""

    documents: list[UUID]
    old_characters: dict[UUID, int]
    old: dict[UUID, list[Span]] | None
    new: dict[UUID, list[Span]]


async def read_texts(validation: Validation, *, total: int) -> Texts:
    """Look at every document, page by page."""
    sizes = validation.sizes
    size = max(sizes.recut, sizes.filters, sizes.documents)
    texts = Texts(sample=IdSample(size, seed=validation.seed))
    limit = validation.new.generation.chunking.size
    after: UUID | None = None
    while True:
        most = await validation.choose_portion(DOCUMENTS_PER_PAGE)
        async with validation.give_way():
            page = await _read_page(validation, after, most)
            await asyncio.to_thread(add_page, texts, page, limit=limit)
        if not page.documents:
            return texts
        await validation.tell("documents", texts.chunks, total)
        after = page.documents[-1]


async def _read_page(validation: Validation, after: UUID | None, most: int) -> _Page:
    old, new = validation.old.generation.id, validation.new.generation.id
    async with validation.database.begin() as connection:
        repository = ValidationRepository(connection, validation.collection_id)
        following = await repository.list_documents((old, new), after=after, limit=most)
        documents = take_page(following)
        spans = _by_document(await repository.list_spans(new, documents))
        if not validation.is_same_cut:
            characters = await repository.measure(old, documents)
            return _Page(documents=documents, old_characters=characters, old=None, new=spans)
        before = _by_document(await repository.list_spans(old, documents))
    characters = {document: sum(span.fresh for span in chunks) for document, chunks in before.items()}
    return _Page(documents=documents, old_characters=characters, old=before, new=spans)


def take_page(following: Sequence[tuple[UUID, int]]) -> list[UUID]:
    """As many of the next documents as have few enough chunks together, but always one."""
    sums = accumulate(chunks for _, chunks in following)
    return [
        document
        for number, ((document, _), chunks) in enumerate(zip(following, sums, strict=True))
        if number == 0 or chunks <= CHUNKS_PER_PAGE
    ]


def _by_document(spans: Sequence[Span]) -> dict[UUID, list[Span]]:
    return {document: list(group) for document, group in groupby(spans, key=lambda span: span.document_id)}


def add_page(texts: Texts, page: _Page, *, limit: int) -> None:
    """Compare some documents."""
    for document in page.documents:
        chunks = page.new.get(document, [])
        characters = sum(chunk.fresh for chunk in chunks)
        texts.coverage.add(document, old=page.old_characters.get(document, 0), new=characters)
        _add_chunks(texts, document, chunks, limit)
        if page.old is not None:
            places, before = (
                {(span.start, span.end) for span in side.get(document, [])} for side in (page.new, page.old)
            )
            texts.recut.add(document, same=len(places & before), total=max(len(places), len(before)))
    texts.sample.offer(
        [document for document in page.documents if document in page.new and document in page.old_characters]
    )


def _add_chunks(texts: Texts, document: UUID, chunks: Sequence[Span], limit: int) -> None:
    texts.chunks += len(chunks)
    places: set[tuple[int, int]] = set()
    for chunk in chunks:
        if not owns_text(chunk.id, document, chunk.text_hash, occurrences=len(chunks)):
            texts.wrong.add(chunk.id)
        if (chunk.start, chunk.end) in places:
            texts.repeated.add(chunk.id)
        places.add((chunk.start, chunk.end))
        if chunk.tokens > limit:
            texts.too_large.add(chunk.id)


async def recut(validation: Validation, documents: Sequence[UUID]) -> Recut:
    """Cut some documents again, in child processes: the old generation's text where it is the same."""
    found, generation = Recut(), validation.new.generation
    done = 0
    while done < len(documents):
        some = documents[done : done + await validation.choose_portion(RECUT_PER_CALL)]
        async with validation.give_way():
            requests = await _read_requests(validation, some)
            try:
                counts = await validation.processes.run(
                    recut_documents, requests, generation.chunking, validation.tokenizer, timeout_seconds=RECUT_SECONDS
                )
            except (ProcessTimeoutError, ProcessDiedError) as error:
                found.error_code = error.code
                return found
        for document, same, total in counts:
            found.add(document, same=same, total=total)
        done += len(some)
        await validation.tell("chunking", done, len(documents))
    return found


async def _read_requests(validation: Validation, documents: Sequence[UUID]) -> list[RecutRequest]:
    async with validation.database.begin() as connection:
        repository = ValidationRepository(connection, validation.collection_id)
        stored = await repository.load_texts(validation.new.generation.id, documents, characters=RECUT_CHARACTERS)
        texts = stored
        if validation.is_same_text:
            texts = await repository.load_texts(validation.old.generation.id, documents, characters=RECUT_CHARACTERS)
    by_id = {document.id: document for document in texts}
    return [
        RecutRequest(
            document=by_id[document.id],
            places=tuple((piece.start, piece.end) for piece in document.pieces),
            is_whole=document.is_whole and by_id[document.id].is_whole,
        )
        for document in stored
        if document.id in by_id
    ]

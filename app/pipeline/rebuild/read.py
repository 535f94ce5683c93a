"""The chunks that documents shall have in the new generation, from the cheapest thing that gives them."""

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from app.db.documents import ChunkRow
from app.db.rebuilds import Claimed, RebuildRepository
from app.db.sources import SourceRepository
from app.db.validation import TextDocument
from app.domain.documents import Document, PreparedDocument, TextChunk
from app.domain.errors import DomainError, LaneBlindError, ProcessUnavailableError
from app.domain.ports import DocumentSource
from app.domain.rebuilds import Level
from app.pipeline.fetch import UNREADABLE, prepare_fetched
from app.pipeline.ingest import make_requests
from app.pipeline.isolate import prepare_isolated
from app.pipeline.rebuild.context import RebuildContext
from app.pipeline.rebuild.cut import cut_documents, to_pieces

CUT_FAILED = "chunking_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The chunks of a document, and why they are not made as it was asked for, if so.

    Attributes:
        is_outdated: whether its source has another version by now, which the next APPEND brings; the chunks are those
            of the version that is indexed.
    """

    document_id: UUID
    chunks: tuple[TextChunk, ...]
    error_code: str | None = None
    error_message: str | None = None
    is_outdated: bool = False


class Sources:
    """Opened sources of the collection, each when it is first needed."""

    def __init__(self, context: RebuildContext, stack: AsyncExitStack) -> None:
        self._context = context
        self._stack = stack
        self._opened: dict[UUID, DocumentSource | DomainError] = {}

    async def find(self, source_id: UUID) -> DocumentSource | DomainError:
        """The source, or why it cannot be opened."""
        if source_id not in self._opened:
            self._opened[source_id] = await self._open(source_id)
        return self._opened[source_id]

    async def _open(self, source_id: UUID) -> DocumentSource | DomainError:
        ingest = self._context.ingest
        try:
            async with ingest.database.begin() as connection:
                source = await SourceRepository(connection).get(ingest.collection.id, source_id)
            return await self._stack.enter_async_context(self._context.open_source(source))
        except DomainError as error:
            if error.retryable:
                raise
            return error


@asynccontextmanager
async def opening_sources(context: RebuildContext) -> AsyncIterator[Sources]:
    """Sources that are closed at the end of the block."""
    async with AsyncExitStack() as stack:
        yield Sources(context, stack)


async def read_group(context: RebuildContext, group: Sequence[Claimed], sources: Sources) -> list[Rebuilt]:
    """What each document of a group shall have. None of them is missing, whatever happens to it."""
    stored = await _load_stored(context, group)
    if context.level is Level.SOURCE:
        return await _read_sources(context, group, stored, sources)
    if context.level is Level.TEXT:
        return await _cut(context, group, stored)
    return [_as_stored(claimed, stored) for claimed in group]


async def _load_stored(context: RebuildContext, group: Sequence[Claimed]) -> Mapping[UUID, Sequence[ChunkRow]]:
    ingest = context.ingest
    async with context.give_way():
        with ingest.account.timed("read", len(group)):
            async with ingest.database.begin() as connection:
                rebuilds = RebuildRepository(connection, ingest.collection.id, context.old.id)
                return await rebuilds.load_chunks([claimed.document.id for claimed in group])


def _as_stored(claimed: Claimed, stored: Mapping[UUID, Sequence[ChunkRow]]) -> Rebuilt:
    chunks = tuple(
        TextChunk(
            text=row.text,
            start=row.start,
            end=row.end,
            tokens=row.tokens,
            headings=row.headings,
            parent_start=row.parent_start,
            parent_end=row.parent_end,
            gap=row.gap,
        )
        for row in stored.get(claimed.document.id, ())
    )
    return Rebuilt(document_id=claimed.document.id, chunks=chunks)


# --- stored text --------------------------------------------------------------------------------


async def _cut(
    context: RebuildContext, group: Sequence[Claimed], stored: Mapping[UUID, Sequence[ChunkRow]]
) -> list[Rebuilt]:
    """Cut the stored texts; one that breaks what cuts it keeps the chunks it has."""
    if not group:
        return []
    ingest = context.ingest
    tokenizer = ingest.limits.tokenizers.get(context.generation.model)
    documents = [_text_of(claimed, stored) for claimed in group]
    failure: Exception | None = None
    async with context.give_way():
        started = time.monotonic()
        try:
            with ingest.account.queued("chunk", len(group)):
                made = await ingest.processes.run(
                    cut_documents,
                    documents,
                    context.generation.chunking,
                    tokenizer,
                    timeout_seconds=ingest.limits.document_timeout_seconds,
                )
        except ProcessUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 — whatever a document breaks, it is one document's error
            failure = error
        seconds = time.monotonic() - started
    if failure is not None:
        if len(group) == 1:
            why = f"its text could not be cut in another way ({type(failure).__name__}); it keeps the chunks it has"
            return [replace(_as_stored(group[0], stored), error_code=CUT_FAILED, error_message=why)]
        middle = len(group) // 2
        return await _cut(context, group[:middle], stored) + await _cut(context, group[middle:], stored)
    tokens = sum(chunk.tokens for _, chunks in made for chunk in chunks)
    ingest.account.add("chunk", seconds, len(group), tokens=tokens)
    return [Rebuilt(document_id=document, chunks=chunks) for document, chunks in made]


def _text_of(claimed: Claimed, stored: Mapping[UUID, Sequence[ChunkRow]]) -> TextDocument:
    document = claimed.document
    return TextDocument(
        id=document.id,
        path=document.path,
        title=document.title,
        mime_type=document.mime_type,
        is_record=claimed.is_record,
        is_whole=True,
        pieces=to_pieces(stored.get(document.id, ())),
    )


# --- the sources --------------------------------------------------------------------------------


async def _read_sources(
    context: RebuildContext,
    group: Sequence[Claimed],
    stored: Mapping[UUID, Sequence[ChunkRow]],
    sources: Sources,
) -> list[Rebuilt]:
    """Read documents again; one that cannot be read, or is another one by now, is made of the text that is stored."""
    by_source: dict[UUID, list[Claimed]] = defaultdict(list)
    for claimed in group:
        by_source[claimed.document.source_id].append(claimed)
    rebuilt: list[Rebuilt] = []
    for source_id, some in by_source.items():
        adapter = await sources.find(source_id)
        if isinstance(adapter, DomainError):
            cut = await _cut(context, some, stored)
            rebuilt += [replace(one, error_code=adapter.code, error_message=adapter.message) for one in cut]
        else:
            rebuilt += await _read_source(context, some, stored, adapter)
    return rebuilt


async def _read_source(
    context: RebuildContext,
    group: Sequence[Claimed],
    stored: Mapping[UUID, Sequence[ChunkRow]],
    adapter: DocumentSource,
) -> list[Rebuilt]:
    """The same for documents of one source.

    Raises:
        LaneBlindError: in another worker's lane, if that cannot read the source.
        SourceVanishedError, SourceNotFoundError: if the source itself is not there.
    """
    prepared = await _prepare(context, adapter, [claimed.document for claimed in group])
    if any(item.error_code in UNREADABLE for item in prepared):
        if adapter.is_local and context.ingest.lease.lane is not None:
            raise LaneBlindError("this worker cannot read what the source has")
        await adapter.require_present()
    by_id = {item.document_id: item for item in prepared}
    fresh = [claimed for claimed in group if _is_as_indexed(claimed, by_id[claimed.document.id])]
    kept = {claimed.document.id for claimed in fresh}
    rebuilt = [Rebuilt(document_id=claimed.document.id, chunks=by_id[claimed.document.id].chunks) for claimed in fresh]
    for one in await _cut(context, [claimed for claimed in group if claimed.document.id not in kept], stored):
        item = by_id[one.document_id]
        # one that was read is another one by now
        code, message = item.error_code or one.error_code, item.error_message or one.error_message
        rebuilt.append(replace(one, error_code=code, error_message=message, is_outdated=item.error_code is None))
    return rebuilt


def _is_as_indexed(claimed: Claimed, item: PreparedDocument) -> bool:
    return item.error_code is None and item.content_hash == claimed.document.content_hash


async def _prepare(
    context: RebuildContext, adapter: DocumentSource, documents: Sequence[Document]
) -> list[PreparedDocument]:
    ingest = context.ingest

    async def prepare(some: Sequence[Document]) -> list[PreparedDocument]:
        # what is known of them would have them passed over
        unknown = [replace(document, content_hash=None) for document in some]
        async with context.give_way():
            return await prepare_isolated(
                ingest.processes,
                make_requests(unknown, ingest.limits, model=context.generation.model),
                context.generation.chunking,
                timeout_seconds=ingest.limits.document_timeout_seconds,
            )

    with ingest.account.queued("read", len(documents)):
        prepared = await prepare_fetched(
            adapter,
            documents,
            spool=ingest.limits.spool,
            prepare=prepare,
            note_seconds=lambda seconds: ingest.account.add("read", seconds, 0),
        )
    for item in prepared:
        for stage, seconds in item.seconds.items():
            tokens = sum(chunk.tokens for chunk in item.chunks) if stage == "chunk" else 0
            ingest.account.add(stage, seconds, 1, tokens=tokens)
    return prepared

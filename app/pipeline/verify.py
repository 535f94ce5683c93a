"""Compares a generation's manifest with the vector store, and mends the store if asked to.

What looks wrong is looked at a second time, between two looks at its document: only what is still wrong while nothing
was written to the document counts. So a collection may be written to meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import anyio
import numpy as np
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.db.verification import WRITTEN, ManifestRow
from app.domain.errors import DomainError, GenerationMismatchError
from app.domain.index_settings import IndexSettings
from app.domain.points import StoredPoints, Vectors
from app.embedders.fingerprint import SMALLEST_COSINE, check_canaries
from app.pipeline.compare import Fault, Suspect, compare, pair_pages
from app.pipeline.context import IngestContext
from app.pipeline.embed import embed_batches
from app.pipeline.findings import Findings
from app.pipeline.repair import manifest_of, repair_documents, repair_points

ROWS_PER_PAGE = 2000
NUMBERS_PER_PAGE = 256 * 1024
"""Of vectors, which are what a page of points mostly consists of."""
PAGES_AHEAD = 1
MOST_SUSPECTS = 500
SAMPLE = 500

Page = TypeVar("Page")


@dataclass(slots=True)
class Sample:
    """A uniform sample of points with their vectors, of a stream whose length nobody knows."""

    size: int
    ids: list[UUID] = field(default_factory=list)
    vectors: list[Vectors] = field(default_factory=list)
    _seen: int = 0
    _random: np.random.Generator = field(default_factory=np.random.default_rng)

    def offer(self, ids: Sequence[UUID], vectors: Vectors) -> None:
        """Every point seen so far is in the sample with the same chance (algorithm R)."""
        places = self._random.integers(np.arange(self._seen, self._seen + len(ids)) + 1)
        for number, place in enumerate(places):
            if len(self.ids) < self.size:
                self.ids.append(ids[number])
                self.vectors.append(vectors[number].copy())
            elif place < self.size:
                self.ids[place] = ids[number]
                self.vectors[place] = vectors[number].copy()
        self._seen += len(ids)


class Verification:
    """One pass over a generation.

    Args:
        context: of the operation; its lease fences what a repair writes.
        repair: whether to mend what is found; then nobody else may write.
        deep: whether to embed every text again, not just a sample.
    """

    def __init__(self, context: IngestContext, *, repair: bool, deep: bool) -> None:
        self._context = context
        self._repair = repair
        self._deep = deep
        self._exists = True
        self._suspects: list[Suspect] = []
        self._sample = Sample(SAMPLE)
        self.findings = Findings()

    async def run(self) -> Findings:
        """Compare everything.

        Raises:
            GenerationMismatchError: if the store has vectors of another dimension.
            EmbedderChangedError: if a repair would mix in vectors of another model.
        """
        await self._prepare()
        try:
            async with asyncio.TaskGroup() as tasks:
                send_rows, rows = anyio.create_memory_object_stream[list[ManifestRow]](PAGES_AHEAD)
                send_points, points = anyio.create_memory_object_stream[StoredPoints](PAGES_AHEAD)
                tasks.create_task(_pump(self._stream_rows(), send_rows))
                tasks.create_task(_pump(self._stream_points(), send_points))
                tasks.create_task(self._compare_pages(rows, points))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        await self._look_again()
        await self._check_meaning(self._sample.ids, self._sample.vectors)
        await self._look_again()
        await self._compare_documents()
        return self.findings

    async def _prepare(self) -> None:
        """Look for the physical collection; a repair creates it."""
        context, generation = self._context, self._context.generation
        if self._repair:
            await check_canaries(context.embedder, generation.canaries, dimension=generation.dimension)
            context.require_lease()
            index = IndexSettings.from_config(generation.index_settings)
            await context.store.create_collection(generation.name, dimension=generation.dimension, index=index)
            await context.store.set_alias(f"vecloom_{context.collection.id}", to=generation.name)
        found = await context.store.find_collection(generation.name)
        if found is not None and found.dimension != generation.dimension:
            reason = f"with {found.dimension} dimensions, expected {generation.dimension}"
            raise GenerationMismatchError(f"the vector store has {generation.name!r} {reason}")
        self._exists = found is not None
        async with context.database.begin() as connection:
            self.findings.total = await manifest_of(context, connection).count()

    # --- both sides, page by page ---------------------------------------------------------------

    async def _stream_rows(self) -> AsyncIterator[list[ManifestRow]]:
        after: UUID | None = None
        while True:
            async with self._context.database.begin() as connection:
                manifest = manifest_of(self._context, connection)
                rows, after = await manifest.list_page(after=after, limit=ROWS_PER_PAGE)
            if rows:
                yield rows
            if after is None:
                return

    async def _stream_points(self) -> AsyncIterator[StoredPoints]:
        if self._exists:
            generation = self._context.generation
            page = max(1, NUMBERS_PER_PAGE // generation.dimension)
            points = self._context.store.stream_points(generation.name, dimension=generation.dimension, page=page)
            async for found in points:
                yield found

    async def _compare_pages(
        self, rows: MemoryObjectReceiveStream[list[ManifestRow]], points: MemoryObjectReceiveStream[StoredPoints]
    ) -> None:
        async with rows, points:
            async for some_rows, some_points in pair_pages(aiter(rows), aiter(points)):
                await self._compare(some_rows, some_points)

    async def _compare(self, rows: list[ManifestRow], points: StoredPoints) -> None:
        suspects = await asyncio.to_thread(compare, rows, points)
        self._suspects += suspects
        suspicious = {suspect.id for suspect in suspects}
        sound = [number for number, point in enumerate(points.ids) if point not in suspicious]
        await self._offer(points, sound)
        self.findings.compared += len(rows) + sum(suspect.fault is Fault.EXTRA for suspect in suspects)
        self.findings.compared_bytes += sum(row.bytes for row in rows) + points.vectors.nbytes
        if len(self._suspects) >= MOST_SUSPECTS:
            await self._look_again()
        await self._tell("comparing")

    async def _offer(self, points: StoredPoints, sound: Sequence[int]) -> None:
        """Take points of the manifest that look right for embedding their texts again."""
        ids = [point for number in sound if isinstance(point := points.ids[number], UUID)]
        if self._deep:
            await self._check_meaning(ids, points.vectors[sound])
        elif ids:
            self._sample.offer(ids, points.vectors[sound])

    async def _tell(self, stage: str) -> None:
        """Say how far it is. A pass has no place to go on from, so it does not end at the soft limit of a slice."""
        await self._context.report.send_update("verify_progress", self.findings.snapshot(stage))

    # --- what looks wrong -----------------------------------------------------------------------

    async def _look_again(self) -> None:
        """Judge the suspects; those of documents that are being written are left out."""
        suspects, self._suspects = self._suspects, []
        for start in range(0, len(suspects), MOST_SUSPECTS):
            wrong = await self._judge(suspects[start : start + MOST_SUSPECTS])
            self.findings.add(wrong)
            if self._repair and wrong:
                await repair_points(self._context, self.findings, wrong)
                await self._tell("repairing")

    async def _judge(self, suspects: Sequence[Suspect]) -> list[Suspect]:
        """Those that are still wrong, and whose documents nobody has written to between two looks at them."""
        owners = {suspect.document_id for suspect in suspects if suspect.document_id is not None}
        ids = [suspect.id for suspect in suspects]
        async with self._context.database.begin() as connection:
            manifest = manifest_of(self._context, connection)
            is_written = await manifest.has_writer()
            before = await manifest.find_marks(list(owners))
            rows = await manifest.list_rows([point for point in ids if isinstance(point, UUID)])
        points = await self._retrieve(ids)
        counts = {mark.id: mark.most_chunks for mark in before.values()}
        again = await asyncio.to_thread(compare, rows, points, occurrences=counts)
        sound = {row.id for row in rows} - {suspect.id for suspect in again}
        # a text that comes often in its document has only now been told from a wrong one
        often = {suspect.id for suspect in suspects if suspect.fault is Fault.TEXT} & sound
        await self._offer(points, [number for number, point in enumerate(points.ids) if point in often])
        # what a model has said of a point stands while the point does
        again += [suspect for suspect in suspects if suspect.by_model and suspect.id in sound]
        async with self._context.database.begin() as connection:
            manifest = manifest_of(self._context, connection)
            after = await manifest.find_marks(list(owners))
            is_written = is_written or await manifest.has_writer()
        still = {owner for owner in owners if before.get(owner) == after.get(owner)}
        still -= {mark.id for mark in before.values() if mark.state in WRITTEN or (is_written and mark.dirty)}
        settled = [item for item in again if self._is_settled(item, still)]
        self.findings.in_flux += len(again) - len(settled)
        return settled

    def _is_settled(self, suspect: Suspect, still: set[UUID]) -> bool:
        """Whether nobody can have been at work on the suspect's document; during a repair nobody is."""
        return suspect.document_id is None or self._repair or suspect.document_id in still

    async def _retrieve(self, ids: Sequence[UUID | int]) -> StoredPoints:
        dimension = self._context.generation.dimension
        if not self._exists:
            return StoredPoints(ids=(), vectors=np.empty((0, dimension), dtype=np.float32), payloads=())
        return await self._context.store.retrieve_points(self._context.generation.name, ids, dimension=dimension)

    async def _check_meaning(self, ids: Sequence[UUID], vectors: Sequence[Vectors] | Vectors) -> None:
        """Embed texts again; those whose point has another vector become suspects."""
        context, generation = self._context, self._context.generation
        if not ids or self.findings.sample_error is not None:
            return
        stored = dict(zip(ids, vectors, strict=True))
        async with context.database.begin() as connection:
            chunks = [chunk for chunk, _ in await manifest_of(context, connection).load_chunks(ids)]
        try:
            await check_canaries(context.embedder, generation.canaries, dimension=generation.dimension)
            texts, tokens = [chunk.embedded for chunk in chunks], [chunk.tokens for chunk in chunks]
            made, refused = await embed_batches(context, texts, tokens)
        except DomainError as error:
            if self._deep:
                raise
            self.findings.sample_error = error.code
            return
        for number, chunk in enumerate(chunks):
            if number in refused:
                continue
            self.findings.reembedded += 1
            if not float(made[number] @ stored[chunk.id]) >= SMALLEST_COSINE:
                fault = Suspect(id=chunk.id, document_id=chunk.document_id, fault=Fault.VECTOR, by_model=True)
                self._suspects.append(fault)
        await self._tell("embedding")

    # --- documents ------------------------------------------------------------------------------

    async def _compare_documents(self) -> None:
        """Each document has as many chunks as it says; both numbers come from one snapshot."""
        after: UUID | None = None
        while True:
            async with self._context.database.begin() as connection:
                marks = await manifest_of(self._context, connection).list_marks(after=after, limit=ROWS_PER_PAGE)
            settled = [mark for mark in marks if mark.state not in WRITTEN]
            wrong = [mark for mark in settled if mark.chunk_count != mark.rows]
            self.findings.documents += len(settled)
            for mark in wrong:
                self.findings.add_document(mark)
            if self._repair and wrong:
                await repair_documents(self._context, self.findings, wrong)
            await self._tell("documents")
            if len(marks) < ROWS_PER_PAGE:
                return
            after = marks[-1].id


async def _pump(pages: AsyncIterator[Page], out: MemoryObjectSendStream[Page]) -> None:
    async with out:
        async for page in pages:
            await out.send(page)

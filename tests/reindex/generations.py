"""Builds second generations beside an indexed collection, honestly or not, and validates them."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.db.collections import CollectionRepository
from app.db.documents import ChunkRow, DocumentRepository
from app.db.validation import TextDocument, ValidationRepository
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.documents import Chunking, PreparedDocument
from app.domain.points import PointBatch, Vectors
from app.domain.ports import Embedder, Processes, VectorStore
from app.domain.sparse_settings import SparseSettings
from app.embedded.stack import EmbeddedStack
from app.embedders.fingerprint import take_canaries
from app.embedders.static import StaticEmbedder, embed_texts
from app.evaluation.report import Report
from app.pipeline.chunk import chunk_text
from app.pipeline.validation.gate import validate
from app.pipeline.validation.recut import join_pieces, kind_of
from app.pipeline.validation.sides import Side, Sizes, Validation
from app.pipeline.write import diff_chunks, make_points, payload_of
from app.processes.pool import ProcessPool
from app.search.service import SearchService
from tests.harness import TEMPLATE, open_client, run_sql, settings_for
from tests.model_server import FakeModelServer

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"
DOCUMENTS = 100
CHUNKING = Chunking(size=100, overlap=10)
SIZES = Sizes(texts=200, words=40, neighbours=40, filters=20, recut=40, documents=40)


class ProjectedServer(FakeModelServer):
    """A real model of its own: the first numbers of the packaged one's vectors, or all of them turned.

    ``project`` says what is made of a vector of the packaged model.
    """

    def __init__(self, name: str, project: Callable[[Vectors], Vectors], *, dimension: int) -> None:
        super().__init__(model=name, dimension=dimension)
        self.project = project

    def vector_of(self, text: str) -> Vectors:
        """See the double."""
        projected: Vectors = np.ascontiguousarray(self.project(embed_texts([text])[0]), dtype=np.float32)
        return projected


def first_numbers(dimension: int) -> Callable[[Vectors], Vectors]:
    """What the packaged model was trained for: the first numbers of a vector are a smaller vector."""
    return lambda vector: vector[:dimension]


def turned(seed: int) -> Callable[[Vectors], Vectors]:
    """The same model seen from another side: all distances are as they were, no vector is."""
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.standard_normal((256, 256)))[0].astype(np.float32)
    return lambda vector: vector @ rotation


@dataclass(slots=True, kw_only=True)
class Build:
    """A generation before it is written; tests spoil it. Rows of ``chunks`` and ``vectors`` belong together.

    Attributes:
        points: what of it becomes points, if not all.
        words: what each point is found by, if not its text.
    """

    chunks: list[ChunkRow]
    vectors: Vectors
    payloads: list[dict[str, Any]]
    words: list[str] | None = None
    extra: list[PointBatch] = field(default_factory=list)
    without: set[UUID] = field(default_factory=set)

    def copy(self) -> "Build":
        """One that may be spoiled."""
        return Build(
            chunks=list(self.chunks), vectors=self.vectors.copy(), payloads=[dict(payload) for payload in self.payloads]
        )

    def batch(self) -> PointBatch:
        """The points."""
        points = make_points(self.chunks, self.vectors, self.payloads, sparse=SparseSettings())
        if self.words is not None:
            points = replace(points, texts=self.words)
        keep = [number for number, point in enumerate(points.ids) if point not in self.without]
        return pick(points, keep)


def pick(points: PointBatch, numbers: Sequence[int]) -> PointBatch:
    """Some of the points."""
    return PointBatch(
        ids=[points.ids[number] for number in numbers],
        vectors=points.vectors[list(numbers)],
        texts=[points.texts[number] for number in numbers],
        payloads=[points.payloads[number] for number in numbers],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A collection that was indexed by the worker, and what validates generations of it."""

    parts: Parts
    processes: Processes
    collection: Collection
    generation: Generation
    embedder: Embedder = field(default_factory=StaticEmbedder)
    _honest: list[Build] = field(default_factory=list)

    async def load_texts(self) -> list[TextDocument]:
        """All documents as the active generation has them."""
        async with self.parts.database.begin() as connection:
            repository = ValidationRepository(connection, self.collection.id)
            documents = await repository.list_documents(
                (self.generation.id, self.generation.id), after=None, limit=10**6
            )
            return await repository.load_texts(
                self.generation.id, [document for document, _ in documents], characters=10**9
            )

    async def build(
        self,
        *,
        embedder: Embedder | None = None,
        chunking: Chunking | None = None,
        read: Callable[[TextDocument], str] = join_pieces,
    ) -> Build:
        """An honest build: the stored text, cut again and embedded. One like the active generation is made once."""
        if embedder is not None or chunking is not None or read is not join_pieces:
            return await self._build(embedder or self.embedder, chunking or self.generation.chunking, read)
        if not self._honest:
            self._honest.append(await self._build(self.embedder, self.generation.chunking, read))
        return self._honest[0].copy()

    async def _build(self, embedder: Embedder, chunking: Chunking, read: Callable[[TextDocument], str]) -> Build:
        texts = await self.load_texts()
        chunks = [chunk for document in texts for chunk in cut(document, read(document), chunking)]
        vectors = await embedder.embed_documents([chunk.embedded for chunk in chunks])
        async with self.parts.database.begin() as connection:
            rows = await connection.execute(
                text("SELECT id, source_id, path FROM documents WHERE collection_id = :id"), {"id": self.collection.id}
            )
            payloads = {row.id: payload_of(row.id, row.source_id, row.path) for row in rows}
        return Build(chunks=chunks, vectors=vectors, payloads=[dict(payloads[chunk.document_id]) for chunk in chunks])

    async def begin(self, *, embedder: Embedder | None = None, chunking: Chunking | None = None) -> Generation:
        """The row of a new generation."""
        model = embedder or self.embedder
        fingerprint, canaries = await take_canaries(model)
        wanted = replace(self.collection, model=model.model, chunking=chunking or self.generation.chunking)
        async with self.parts.database.begin() as connection:
            return await CollectionRepository(connection).add_generation(
                wanted, dimension=await model.dimension(), fingerprint=fingerprint, canaries=canaries
            )

    async def write(self, build: Build, generation: Generation, *, points: bool = True) -> Generation:
        """Put a build into Postgres and the store."""
        async with self.parts.database.begin() as connection:
            repository = DocumentRepository(connection, self.collection.id)
            await repository.chunk_ids(generation.id, [])
            await repository.replace_chunks(generation.id, added=build.chunks, moved=[], gone=[])
        if points:
            await self.parts.store.create_collection(generation.name, dimension=generation.dimension)
            for batch in (build.batch(), *build.extra):
                await self.parts.store.upsert(generation.name, batch)
        return generation

    async def rebuild(self, *, embedder: Embedder | None = None, chunking: Chunking | None = None) -> Generation:
        """An honest second generation."""
        build = await self.build(embedder=embedder, chunking=chunking)
        return await self.write(build, await self.begin(embedder=embedder, chunking=chunking))

    def validation(
        self,
        generation: Generation,
        *,
        embedder: Embedder | None = None,
        store: VectorStore | None = None,
        **changes: Any,
    ) -> Validation:
        """A validation of a generation beside the active one."""
        parts = self.parts
        used = store or parts.store
        search = SearchService(parts.database, used, lambda _: self.embedder)
        values = {"sizes": SIZES, "tell": _be_silent, **changes}
        return Validation(
            database=parts.database,
            store=used,
            processes=self.processes,
            find_hits=partial(search.find_hits, self.collection),
            old=Side(generation=self.generation, embedder=self.embedder),
            new=Side(generation=generation, embedder=embedder or self.embedder),
            **values,
        )

    async def validate(self, generation: Generation, **changes: Any) -> Report:
        """The report about a generation; it is dropped afterwards."""
        try:
            return await validate(self.validation(generation, **changes))
        finally:
            await self.drop(generation)

    async def drop(self, generation: Generation) -> None:
        """Leave nothing of a generation."""
        await self.parts.store.drop_collection(generation.name)
        async with self.parts.database.begin() as connection:
            for sql in ("DELETE FROM chunks WHERE generation_id = :id", "DELETE FROM generations WHERE id = :id"):
                await connection.execute(text(sql), {"id": generation.id})


async def _be_silent(stage: str, done: int, total: int) -> None:
    assert done >= 0
    assert stage


def cut(document: TextDocument, text: str, chunking: Chunking) -> list[ChunkRow]:
    """The chunks of a text as ingestion makes them."""
    made = chunk_text(text, chunking, kind=kind_of(document))
    prepared = PreparedDocument(document_id=document.id, chunks=tuple(made))
    return diff_chunks([prepared], {}).added


def by_document(chunks: Sequence[ChunkRow]) -> list[list[int]]:
    """Numbers of the chunks of each document."""
    numbered = groupby(enumerate(chunks), key=lambda item: item[1].document_id)
    return [[number for number, _ in group] for _, group in numbered]


def percent(of: int) -> int:
    """One in a hundred, and at least one."""
    return math.ceil(of / 100)


@asynccontextmanager
async def open_shelf(services: EmbeddedStack, folder: Path) -> AsyncIterator[Shelf]:
    """The first documents of Cranfield, indexed."""
    database = f"t_{uuid4().hex[:12]}"
    await run_sql(services.database_url, f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
    lines = (CRANFIELD / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "corpus.jsonl").write_bytes(b"".join(lines[:DOCUMENTS]))
    settings = settings_for(services, database=database, namespace=database, data=folder / "data")
    processes = ProcessPool(1, memory_bytes=settings.process_memory_bytes, preload=("app.pipeline.validation.recut",))
    async with open_parts(settings, configured_endpoints(settings)) as parts, open_client(parts) as api:
        async with running_worker(parts):
            options = {"chunk_size": CHUNKING.size, "chunk_overlap": CHUNKING.overlap}
            ended = await api.wait(await api.create("cranfield", folder / "corpus.jsonl", **options))
            assert ended["state"] == "completed", ended
        try:
            await processes.start()
            async with parts.database.begin() as connection:
                collections = CollectionRepository(connection)
                collection = await collections.get(api.user_id, "cranfield")
                generation = await collections.find_generation(collection.id, GenerationState.ACTIVE)
            assert generation is not None
            assert generation.chunking == CHUNKING
            yield Shelf(parts=parts, processes=processes, collection=collection, generation=generation)
        finally:
            await processes.aclose()
    await run_sql(services.database_url, f"DROP DATABASE {database} WITH (FORCE)")

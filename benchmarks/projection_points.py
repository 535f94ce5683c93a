"""Collections that are filled directly with made-up vectors: indexing their texts would give others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text

from app.db.database import copy_rows
from app.db.documents import CHUNK_COLUMNS, ChunkRow
from app.db.sources import SourceRepository
from app.domain.documents import SourceKind
from app.domain.identity import chunk_ids, document_id
from app.domain.index_settings import IndexSettings
from app.domain.points import PointBatch, Vectors
from app.domain.sparse_settings import SparseSettings
from app.pipeline.write import make_points, payload_of
from app.projection.points_file import find_rows, to_ids
from benchmarks.limit import POLL_SECONDS
from benchmarks.verify import INSERT, rows_of

if TYPE_CHECKING:
    from benchmarks.bench import Bench

WIDTH = 384
CHUNKS = 50
"""Of each document."""
DOCUMENTS_PER_BATCH = 40
TOPICS = 120
DIRECTIONS = 8
"""In which the vectors of a topic differ."""
OF_DOCUMENT, OF_CHUNK, NOISE = 0.22, 0.22, 0.012
WORDS_OF_TOPIC, WORDS = 8, 400
SYLLABLES = ("bal", "cor", "den", "fil", "gra", "hol", "jun", "kar", "lim", "mor", "nes", "pol", "rud", "sam", "tor")
ON_DISK = IndexSettings(hnsw_m=0, vectors_on_disk=True, payload_on_disk=True)


class Topics:
    """Texts and vectors, the same every time: a document is about one topic, and its chunks lie near each other."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        self._centres = random.standard_normal((TOPICS, WIDTH), dtype=np.float32) / np.float32(np.sqrt(WIDTH))
        directions = random.standard_normal((TOPICS, DIRECTIONS, WIDTH), dtype=np.float32)
        self._directions = directions / np.linalg.norm(directions, axis=2, keepdims=True)
        parts = random.choice(SYLLABLES, (WORDS, 4))
        self._words = ["".join(row) for row in parts.tolist()]
        self._own = random.integers(0, WORDS, (TOPICS, WORDS_OF_TOPIC))

    def make_vectors(self, document: int) -> Vectors:
        """Of the chunks of one document, shape ``(CHUNKS, WIDTH)``, rows L2-normalised."""
        random = np.random.default_rng((document, 1))
        topic = document % TOPICS
        places = OF_DOCUMENT * random.standard_normal((1, DIRECTIONS), dtype=np.float32)
        places = places + OF_CHUNK * random.standard_normal((CHUNKS, DIRECTIONS), dtype=np.float32)
        vectors = self._centres[topic] + places @ self._directions[topic]
        vectors += NOISE * random.standard_normal((CHUNKS, WIDTH), dtype=np.float32)
        normalised: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return normalised

    def make_texts(self, document: int) -> list[str]:
        """Of its chunks; words of the topic among words of all."""
        random = np.random.default_rng((document, 2))
        own = self._own[document % TOPICS][random.integers(0, WORDS_OF_TOPIC, (CHUNKS, 10))]
        words = np.concatenate([own, random.integers(0, WORDS, (CHUNKS, 10))], axis=1)
        return [" ".join(self._words[one] for one in row) for row in words.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    documents: list[dict[str, Any]]
    chunks: list[ChunkRow]
    points: PointBatch


class Filled:
    """A collection with made-up points, the ``ids`` of which are in the order of the rows of ``vectors``, a file."""

    def __init__(self, bench: "Bench", name: str) -> None:
        self._bench = bench
        self._topics = Topics()
        self._ids: list[NDArray[Any]] = []
        self._documents = 0
        self.name = name
        self.vectors = bench.folder / f"{name}.npy"

    async def create(self, *, index: IndexSettings | None = None) -> None:
        """An empty collection, of vectors as wide as these; a worker has to run."""
        database, store = self._bench.parts.database, self._bench.parts.store
        await self._bench.index(self.name, None, poll_seconds=POLL_SECONDS)
        self._collection = await self._bench.find_collection(self.name)
        async with database.begin() as connection:
            query = text(
                "UPDATE generations SET dimension = :width WHERE collection_id = :id AND state = 'active'"
                " RETURNING id, name"
            )
            row = (await connection.execute(query, {"id": self._collection, "width": WIDTH})).one()
            self._generation, self._stored = row.id, row.name
            source = await SourceRepository(connection).add(
                self._collection, kind=SourceKind.DIRECTORY, url=(self._bench.folder / self.name).as_uri(), config={}
            )
            self._source = source.id
        aliases = [alias for alias, name in (await store.list_aliases()).items() if name == self._stored]
        await store.drop_collection(self._stored)
        await store.create_collection(self._stored, dimension=WIDTH, index=index)
        for alias in aliases:
            await store.set_alias(alias, to=self._stored)

    async def add(self, points: int) -> None:
        """Write documents with their chunks and points, and the vectors into the file too."""
        last = self._documents + points // CHUNKS
        file = await asyncio.to_thread(self._open, last * CHUNKS)
        while self._documents < last:
            first, self._documents = self._documents, min(last, self._documents + DOCUMENTS_PER_BATCH)
            batch = await asyncio.to_thread(self._make, range(first, self._documents))
            file[first * CHUNKS : self._documents * CHUNKS] = batch.points.vectors
            self._ids.append(to_ids(batch.points.ids))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._bench.parts.store.upsert(self._stored, batch.points))
                tasks.create_task(self._write(batch))
        await asyncio.to_thread(file.flush)

    def _open(self, rows: int) -> np.memmap[Any, np.dtype[np.float32]]:
        """The file, longer than before."""
        made = self.vectors.with_suffix(".new")
        file = np.lib.format.open_memmap(made, mode="w+", dtype=np.float32, shape=(rows, WIDTH))
        if self._documents:
            file[: self._documents * CHUNKS] = np.load(self.vectors, mmap_mode="r")
        made.replace(self.vectors)
        return file

    def _make(self, numbers: range) -> _Batch:
        chunks: list[ChunkRow] = []
        payloads: list[dict[str, Any]] = []
        documents: list[dict[str, Any]] = []
        for number in numbers:
            uri, path = f"file:///made-up/{number}.md", f"{number}.md"
            document, texts = document_id(self._collection, uri), self._topics.make_texts(number)
            chunks += [
                ChunkRow(id=one, document_id=document, ordinal=place, start=0, end=len(said), tokens=30, text=said)
                for place, (one, said) in enumerate(zip(chunk_ids(document, texts), texts, strict=True))
            ]
            payloads += [payload_of(document, self._source, path)] * CHUNKS
            ids = {"id": document, "collection": self._collection, "source": self._source}
            documents.append({**ids, "uri": uri, "path": path, "chunks": CHUNKS})
        vectors = np.concatenate([self._topics.make_vectors(number) for number in numbers])
        points = make_points(chunks, vectors, payloads, sparse=SparseSettings())
        # a map has no use for the store's words, and making them takes longer than the rest
        return _Batch(documents=documents, chunks=chunks, points=replace(points, texts=[""] * len(chunks)))

    async def _write(self, batch: _Batch) -> None:
        async with self._bench.parts.database.begin() as connection:
            await connection.execute(INSERT, batch.documents)
            rows = rows_of(self._collection, self._generation, batch.chunks)
            await copy_rows(connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)

    @property
    def collection(self) -> UUID:
        """Its id."""
        return self._collection

    def order(self, ids: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Values of a map's points in the order of ``vectors``; a point that the map lacks ends the benchmark."""
        rows = find_rows(ids, np.concatenate(self._ids))
        if (rows < 0).any():
            raise SystemExit(f"{np.count_nonzero(rows < 0)} of {len(rows)} points are not on the map")
        ordered: NDArray[Any] = values[rows]
        return ordered


def find_attempts(folder: Path) -> Sequence[Path]:
    """Folders of projections that are being made."""
    return [path for path in folder.glob("*/*/*") if path.suffix]

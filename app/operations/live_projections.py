"""Places points of documents that were indexed since a projection was drawn."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.projected import ProjectedRepository
from app.domain.collections import Generation
from app.domain.errors import GenerationMissingError
from app.domain.points import PointQuery, SearchMode, StoredPoints
from app.domain.ports import VectorStore
from app.domain.projections import MOST_PLACED, LiveAnswer, ProjectedPoint, Projection
from app.operations.projections import ProjectionService, describe_points
from app.projection.placing import place
from app.projection.reading import find_places

LOOKED_AT = 4 * MOST_PLACED
"""Chunks of documents that were touched since: most of those may be on the map already."""
NEAR = 24
"""Points that are asked for around a new one: some of them are new too."""
AT_ONCE = 8
NUMBERS_PER_PAGE = 128 * 1024
"""Of vectors; reading a page holds the event loop up."""


class LiveProjections:
    """One at a time: it is work, and who asks again and again shall not hold others up."""

    def __init__(self, database: Database, store: VectorStore, projections: ProjectionService) -> None:
        self._database = database
        self._store = store
        self._projections = projections
        self._turn = asyncio.Semaphore(1)

    async def place(self, user_id: UUID, projection_id: str) -> LiveAnswer:
        """Points of newer documents, each where its nearest points are, the newest first; at most ``MOST_PLACED``.

        Raises:
            ProjectionNotFoundError, ProjectionNotFinishedError, ProjectionFileNotFoundError.
        """
        projection, folder = await self._projections.open(user_id, projection_id)
        shown = await self._projections.get(user_id, projection_id)
        if shown.stale == "generation_changed" or projection.generation_id is None or projection.began_at is None:
            return LiveAnswer(points=[], stale="generation_changed")
        if shown.stale is None or not projection.points:
            return LiveAnswer(points=[])
        async with self._turn:
            return await self._place(projection, folder)

    async def _place(self, projection: Projection, folder: Path) -> LiveAnswer:
        if projection.generation_id is None or projection.began_at is None:
            raise AssertionError("unreachable: checked above")
        async with self._database.begin() as connection:
            generation = await CollectionRepository(connection).get_generation(projection.generation_id)
            touched = await ProjectedRepository(connection, projection.collection_id).list_indexed_since(
                generation.id, projection.began_at, limit=LOOKED_AT + 1
            )
        known, _ = await asyncio.to_thread(find_places, folder, touched)
        new = [point for point, is_known in zip(touched, known.tolist(), strict=True) if not is_known]
        left_out = len(new) > MOST_PLACED or len(touched) > LOOKED_AT
        try:
            points = await self._place_points(generation, folder, new[:MOST_PLACED])
        except GenerationMissingError:
            return LiveAnswer(points=[], stale="generation_changed")
        return LiveAnswer(
            points=await describe_points(self._database, projection, points), stale=None, left_out=left_out
        )

    async def _place_points(self, generation: Generation, folder: Path, new: Sequence[UUID]) -> list[ProjectedPoint]:
        ids, vectors, documents = await self._load(generation, new)
        if not ids:
            return []
        near = await self._find_near(generation, vectors)
        is_old, places = await asyncio.to_thread(find_places, folder, near)
        old = [point for point, is_known in zip(near, is_old.tolist(), strict=True) if is_known]
        old_ids, old_vectors, _ = await self._load(generation, old)
        order = {point: number for number, point in enumerate(old)}
        old_places = places[np.array([order[point] for point in old_ids], dtype=np.intp)]
        placed = await asyncio.to_thread(place, vectors, old_vectors, old_places)
        return [
            ProjectedPoint(
                id=point,
                document_id=documents[point],
                place=tuple(float(value) for value in placed[row]),
                placed=True,
            )
            for row, point in enumerate(ids)
        ]

    async def _load(
        self, generation: Generation, ids: Sequence[UUID]
    ) -> tuple[list[UUID], NDArray[np.float32], dict[UUID, UUID]]:
        """Those of the points that the store has with a vector, which is as long as 1, and their documents."""
        found: list[UUID] = []
        documents: dict[UUID, UUID] = {}
        vectors = [np.empty((0, generation.dimension), dtype=np.float32)]
        step = max(1, NUMBERS_PER_PAGE // generation.dimension)
        for start in range(0, len(ids), step):
            page: StoredPoints = await self._store.retrieve_points(
                generation.name, ids[start : start + step], dimension=generation.dimension
            )
            lengths = np.linalg.norm(page.vectors, axis=1)
            usable = np.flatnonzero(np.isfinite(lengths) & (lengths > 0))
            vectors.append(page.vectors[usable] / lengths[usable, None])
            for row in usable.tolist():
                point = UUID(str(page.ids[row]))
                found.append(point)
                documents[point] = UUID(str(page.payloads[row]["document_id"]))
        return found, np.concatenate(vectors).astype(np.float32), documents

    async def _find_near(self, generation: Generation, vectors: NDArray[np.float32]) -> list[UUID]:
        """The points around all of these, each once."""
        turns, near = asyncio.Semaphore(AT_ONCE), dict[UUID, None]()

        async def ask(vector: NDArray[np.float32]) -> None:
            async with turns:
                found = await self._store.search(
                    generation.name, PointQuery(mode=SearchMode.DENSE, vector=vector, limit=NEAR)
                )
            near.update(dict.fromkeys(point.id for point in found))

        try:
            async with asyncio.TaskGroup() as tasks:
                for vector in vectors:
                    tasks.create_task(ask(vector))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        return list(near)

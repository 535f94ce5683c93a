"""Projections, as callers create, read and delete them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.leftovers import read_marker
from app.db.operations import OperationRepository
from app.db.projected import ProjectedRepository
from app.db.projections import ProjectionRepository
from app.domain.audit import Subject
from app.domain.collections import Collection, Generation, GenerationState
from app.domain.errors import CollectionNotReadyError
from app.domain.operations import PLAIN, NewOperation, Operation, OperationKind, ProductState, Submission
from app.domain.projections import (
    Fingerprint,
    NewProjection,
    PointsAnswer,
    PointSelection,
    ProjectedPoint,
    Projection,
    ProjectionChoice,
    ProjectionFileNotFoundError,
    ProjectionNotFinishedError,
    ProjectionsUnavailableError,
    ShownProjection,
)
from app.operations.service import OperationService
from app.projection.compressed import COPY
from app.projection.folders import ProjectionFolder
from app.projection.layout import Method
from app.projection.parameters import check_parameters
from app.projection.reading import Rows, read_points, select_ids, select_inside, select_neighbours

Arguments = ParamSpec("Arguments")
Read = TypeVar("Read")
LASSOS_AT_ONCE = 2
"""One with many corners among many points takes seconds of a core."""
EARLY = ("first.npy", "ids.bin", "documents.bin")
"""Files that are there before a projection has completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionFile:
    """A file of a projection; ``version`` changes with its bytes, ``compressed`` says that it is a gzip copy."""

    path: Path
    version: str
    compressed: bool


class ProjectionService:
    """One method, one transaction; dispatch and events come after the commit."""

    def __init__(self, database: Database, operations: OperationService, folder: ProjectionFolder | None) -> None:
        self._database = database
        self._operations = operations
        self._folder = folder
        self._lassos = asyncio.Semaphore(LASSOS_AT_ONCE)

    async def create(
        self, user_id: UUID, id_or_name: str, choice: ProjectionChoice, *, submission: Submission = PLAIN
    ) -> Operation | ShownProjection:
        """Add a PROJECTION, unless the same one of the same data is there already, or under way: then that is given.

        Raises:
            CollectionNotFoundError, CollectionNotReadyError.
            IdempotencyKeyUsedError: if the key is that of an operation of another kind.
            InvalidProjectionError: with what to change.
            ProjectionsUnavailableError: if this server has no folder for them.
        """
        config = check_choice(choice)
        folder = self._require_folder()
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            known = await OperationRepository(connection).find_submitted(user_id, submission, OperationKind.PROJECTION)
            if known is not None:
                return known
            generation = await _get_active(connection, collection)
            repository = ProjectionRepository(connection)
            fingerprint = await repository.take_fingerprint(collection.id, generation)
            same = await repository.list_same(collection.id, config, fingerprint)
            marker = await read_marker(connection)
        for projection in same:
            path = folder.path_of(marker, collection.id, projection.id)
            if await asyncio.to_thread(path.is_dir):
                return ShownProjection(projection=projection, stale=None)
        operation, is_new = await self._add(user_id, collection, config, fingerprint, submission)
        return await self._operations.launch(operation) if is_new else operation

    async def _add(
        self,
        user_id: UUID,
        collection: Collection,
        config: dict[str, Any],
        fingerprint: Fingerprint,
        submission: Submission,
    ) -> tuple[Operation, bool]:
        async with self._database.begin() as connection:
            repository = ProjectionRepository(connection)
            under_way = await repository.find_under_way(collection.id, config, fingerprint)
            if under_way is not None:
                return await OperationRepository(connection).get(under_way), False
            projection_id = await repository.add(
                NewProjection(user_id=user_id, collection_id=collection.id, config=config)
            )
            operation = await OperationRepository(connection).add(
                NewOperation(
                    user_id=user_id,
                    collection_id=collection.id,
                    kind=OperationKind.PROJECTION,
                    config={"projection_id": str(projection_id)},
                    submission=submission,
                    writes=False,
                )
            )
            await repository.set_operation(projection_id, operation.id)
            if operation.config.get("projection_id") != str(projection_id):
                # the same request came twice at once, and the other one was faster
                await repository.delete(projection_id)
                return operation, False
        return operation, True

    async def get(self, user_id: UUID, projection_id: str) -> ShownProjection:
        """With why it is stale. Raises ProjectionNotFoundError, also for somebody else's."""
        async with self._database.begin() as connection:
            projection = await ProjectionRepository(connection).get(user_id, projection_id)
            collection = await CollectionRepository(connection).get(user_id, projection.collection_id)
            (shown,) = await _compare(connection, collection, [projection])
        return shown

    async def list(self, user_id: UUID, id_or_name: str, *, limit: int) -> list[ShownProjection]:
        """Of a collection, newest first. Raises CollectionNotFoundError."""
        async with self._database.begin() as connection:
            collection = await CollectionRepository(connection).get(user_id, id_or_name)
            found = await ProjectionRepository(connection).list_newest(collection.id, limit=limit)
            return await _compare(connection, collection, found)

    async def delete(self, user_id: UUID, projection_id: str) -> None:
        """With its files.

        Raises:
            ProjectionNotFoundError.
            ProjectionNotFinishedError: if its operation has not ended.
        """
        async with self._database.begin() as connection:
            repository = ProjectionRepository(connection)
            projection = await repository.get(user_id, projection_id)
            if projection.state is ProductState.RUNNING:
                raise ProjectionNotFinishedError(projection.id, projection.state)
            await repository.delete(projection.id)
            collection = await CollectionRepository(connection).get(user_id, projection.collection_id)
            subject = Subject(kind="projection", id=projection.id, name=projection.config["method"])
            await record(connection, "projection.deleted", subject, collection=collection)
            marker = await read_marker(connection)
        if self._folder is not None:
            # what cannot be removed now is left over, and removed by a periodic job
            await asyncio.to_thread(self._folder.remove, marker, projection.collection_id, projection.id)

    # --- files ----------------------------------------------------------------------------------

    async def find_file(self, user_id: UUID, projection_id: str, name: str, *, compressed: bool) -> ProjectionFile:
        """A file of a projection, as a compressed copy if that is wanted and there is one.

        Raises:
            ProjectionNotFoundError, ProjectionFileNotFoundError, ProjectionsUnavailableError.
        """
        async with self._database.begin() as connection:
            projection = await ProjectionRepository(connection).get(user_id, projection_id)
            marker = await read_marker(connection)
        attempt = None if projection.state is ProductState.COMPLETED else projection.attempt
        known = EARLY if attempt is not None else tuple(projection.files or ())
        if name not in known:
            raise ProjectionFileNotFoundError(name, known)
        folder = self._require_folder().path_of(marker, projection.collection_id, projection.id, attempt=attempt)
        version = attempt or projection.id.hex
        for path in (folder / (name + COPY), folder / name) if compressed else (folder / name,):
            if await asyncio.to_thread(path.is_file):
                return ProjectionFile(path=path, version=version, compressed=path.suffix == COPY)
        raise ProjectionFileNotFoundError(name, ())

    # --- points ---------------------------------------------------------------------------------

    async def list_points(self, user_id: UUID, projection_id: str, selection: PointSelection) -> PointsAnswer:
        """Points inside a polygon, or of some ids, with what they stand for.

        Raises:
            ProjectionNotFoundError, ProjectionNotFinishedError, ProjectionFileNotFoundError.
        """
        projection, folder = await self.open(user_id, projection_id)
        if selection.polygon:
            async with self._lassos:
                total, rows = await _read(select_inside, folder, selection.polygon, limit=selection.limit)
        else:
            rows = await _read(select_ids, folder, selection.ids)
            total, rows = len(rows), rows[: selection.limit]
        return PointsAnswer(total=total, points=await self._describe(projection, folder, rows))

    async def list_neighbours(self, user_id: UUID, projection_id: str, point: UUID) -> Sequence[ProjectedPoint]:
        """The nearest points of one by their vectors, nearest first.

        Raises:
            ProjectionNotFoundError, ProjectionNotFinishedError, ProjectionFileNotFoundError,
            ProjectionPointNotFoundError.
        """
        projection, folder = await self.open(user_id, projection_id)
        rows = await _read(select_neighbours, folder, point)
        return await self._describe(projection, folder, rows)

    async def open(self, user_id: UUID, projection_id: str) -> tuple[Projection, Path]:
        """A projection that has completed, and the folder of its files; see ``list_points`` for what it raises."""
        async with self._database.begin() as connection:
            projection = await ProjectionRepository(connection).get(user_id, projection_id)
            marker = await read_marker(connection)
        if projection.state is not ProductState.COMPLETED:
            raise ProjectionNotFinishedError(projection.id, projection.state)
        return projection, self._require_folder().path_of(marker, projection.collection_id, projection.id)

    async def _describe(self, projection: Projection, folder: Path, rows: Rows) -> Sequence[ProjectedPoint]:
        points = await _read(read_points, folder, rows)
        return await describe_points(self._database, projection, points)

    def _require_folder(self) -> ProjectionFolder:
        if self._folder is None:
            raise ProjectionsUnavailableError
        return self._folder


async def describe_points(
    database: Database, projection: Projection, points: Sequence[ProjectedPoint]
) -> Sequence[ProjectedPoint]:
    """The same with the beginnings of their texts and their documents, as far as the collection still has them."""
    if projection.generation_id is None or not points:
        return points
    async with database.begin() as connection:
        known = await ProjectedRepository(connection, projection.collection_id).load_previews(
            projection.generation_id, [point.id for point in points]
        )
    return [
        replace(point, document_id=row.document_id, uri=row.uri, title=row.title, preview=row.preview)
        if (row := known.get(point.id)) is not None
        else point
        for point in points
    ]


def check_choice(choice: ProjectionChoice) -> dict[str, Any]:
    """What is stored of a choice: everything is said in it. Raises InvalidProjectionError."""
    parameters = check_parameters(Method(choice.method.value), choice.dimensions, choice.parameters, choice.sample)
    return replace(choice, parameters=parameters).to_config()


async def _read(function: Callable[Arguments, Read], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Read:
    """Read files of a projection in a thread; a file that is gone is an error of its own."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except FileNotFoundError as error:
        raise ProjectionFileNotFoundError(Path(str(error.filename)).name, ()) from error


async def _get_active(connection: AsyncConnection, collection: Collection) -> Generation:
    generation = await CollectionRepository(connection).find_generation(collection.id, GenerationState.ACTIVE)
    if generation is None:
        raise CollectionNotReadyError(collection.name)
    return generation


async def _compare(
    connection: AsyncConnection, collection: Collection, found: Sequence[Projection]
) -> list[ShownProjection]:
    """Each with why it is stale, if it is."""
    generation = await CollectionRepository(connection).find_generation(collection.id, GenerationState.ACTIVE)
    if generation is None or not found:
        return [ShownProjection(projection=one, stale=None) for one in found]
    now = await ProjectionRepository(connection).take_fingerprint(collection.id, generation)
    return [ShownProjection(projection=one, stale=now.explain_change(one.fingerprint)) for one in found]

"""Rows of ``collections`` and ``generations``."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Null, RowMapping, Select, bindparam, func, insert, null, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.direct import DirectStatement
from app.db.leftovers import generation_name, read_marker
from app.db.search_tables import search_logs
from app.db.tables import chunks, collections, documents, generations
from app.domain.collections import Collection, CollectionCounts, Generation, GenerationState
from app.domain.documents import Chunking, ChunkingStrategy
from app.domain.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    GenerationDroppedError,
    GenerationMissingError,
)
from app.domain.searches import LogChoice
from app.domain.sparse_settings import SparseSettings


def _to_chunking(value: dict[str, Any]) -> Chunking:
    return Chunking(strategy=ChunkingStrategy(value["strategy"]), size=value["size"], overlap=value["overlap"])


PREFIX = "generation_"


COLLECTION_COLUMNS = tuple(column.name for column in collections.c)
GENERATION_COLUMNS = tuple(column.name for column in generations.c)


def _read_id(id_or_name: UUID | str) -> UUID | None:
    try:
        return UUID(str(id_or_name))
    except ValueError:
        return None


def _is_named(user_id: UUID, id_or_name: UUID | str) -> ColumnElement[bool]:
    named: ColumnElement[bool] = collections.c.name == str(id_or_name)
    if (its_id := _read_id(id_or_name)) is not None:
        named |= collections.c.id == its_id
    return (collections.c.user_id == user_id) & collections.c.deleted_at.is_(None) & named


def _select_searched() -> Select[Any]:
    active = (generations.c.collection_id == collections.c.id) & (generations.c.state == GenerationState.ACTIVE)
    log = (search_logs.c.share.label("log_share"), search_logs.c.key.label("log_key"))
    named = (collections.c.name == bindparam("name")) | (collections.c.id == bindparam("id"))
    return (
        select(collections, *(column.label(f"{PREFIX}{column.name}") for column in generations.c), *log)
        .select_from(collections.outerjoin(generations, active).outerjoin(search_logs))
        .where(collections.c.user_id == bindparam("user"), collections.c.deleted_at.is_(None), named)
        .order_by(collections.c.name)
    )


_SEARCHED = DirectStatement(_select_searched())


def _to_collection(row: Mapping[str, Any] | RowMapping) -> Collection:
    return Collection(**{**row, "chunking": _to_chunking(row["chunking"])})


def read_generation(row: Mapping[str, Any] | RowMapping) -> Generation:
    """A generation of its row."""
    names = (
        "id", "collection_id", "name", "model", "dimension", "fingerprint", "canaries", "created_at", "operation_id",
        "index_settings", "sparse_settings", "activated_at", "retired_at",
    )  # fmt: skip
    return Generation(
        state=GenerationState(row["state"]),
        chunking=_to_chunking(row["chunking"]),
        **{name: row[name] for name in names},
    )


class CollectionRepository:
    """Takes ids, gives collections and generations, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self, *, user_id: UUID, name: str, model: str, chunking: Chunking, sparse: SparseSettings | None = None
    ) -> Collection:
        """Raises CollectionExistsError."""
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "name": name,
            "model": model,
            "chunking": asdict(chunking),
            "sparse_settings": (sparse or SparseSettings()).to_config(),
        }
        try:
            row = (await self._connection.execute(insert(collections).values(values).returning(collections))).mappings()
        except IntegrityError as error:
            raise CollectionExistsError(name) from error
        return _to_collection(row.one())

    async def get(self, user_id: UUID, id_or_name: UUID | str) -> Collection:
        """Raises CollectionNotFoundError; a name that looks like an id is tried as an id first."""
        query = select(collections).where(_is_named(user_id, id_or_name)).order_by(collections.c.name)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise CollectionNotFoundError(id_or_name)
        return _to_collection(row)

    async def get_owner(self, collection_id: UUID) -> UUID:
        """Whose a collection is. Raises CollectionNotFoundError."""
        mine = (collections.c.id == collection_id, collections.c.deleted_at.is_(None))
        owner = await self._connection.scalar(select(collections.c.user_id).where(*mine))
        if owner is None:
            raise CollectionNotFoundError(collection_id)
        return UUID(str(owner))

    async def list_all(self, user_id: UUID) -> list[Collection]:
        """All collections of a user, by name."""
        mine = (collections.c.user_id == user_id, collections.c.deleted_at.is_(None))
        query = select(collections).where(*mine).order_by(collections.c.name)
        return [_to_collection(row) for row in (await self._connection.execute(query)).mappings()]

    async def pause(self, user_id: UUID, id_or_name: UUID | str) -> Collection:
        """Note since when a collection is paused. Raises CollectionNotFoundError."""
        return await self._set_pause(user_id, id_or_name, func.coalesce(collections.c.paused_at, func.now()))

    async def resume(self, user_id: UUID, id_or_name: UUID | str) -> Collection:
        """End a pause. Raises CollectionNotFoundError."""
        return await self._set_pause(user_id, id_or_name, null())

    async def _set_pause(
        self, user_id: UUID, id_or_name: UUID | str, value: ColumnElement[datetime] | Null
    ) -> Collection:
        collection = await self.get(user_id, id_or_name)
        changed = update(collections).where(collections.c.id == collection.id).values(paused_at=value)
        row = (await self._connection.execute(changed.returning(collections))).mappings().one()
        return _to_collection(row)

    async def counts(self, collection_id: UUID) -> CollectionCounts:
        """Count what the manifest holds."""
        by_state = await self._connection.execute(
            select(documents.c.state, func.count()).where(documents.c.collection_id == collection_id).group_by("state")
        )
        totals = (
            await self._connection.execute(
                select(func.count(), func.coalesce(func.sum(chunks.c.tokens), 0))
                .select_from(chunks.join(generations, generations.c.id == chunks.c.generation_id))
                .where(chunks.c.collection_id == collection_id, generations.c.state == GenerationState.ACTIVE)
            )
        ).one()
        return CollectionCounts(documents={row[0]: row[1] for row in by_state}, chunks=totals[0], tokens=totals[1])

    async def find_generation(self, collection_id: UUID, *states: GenerationState) -> Generation | None:
        """The newest generation in one of these states."""
        query = (
            select(generations)
            .where(generations.c.collection_id == collection_id, generations.c.state.in_(states))
            .order_by(generations.c.created_at.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else read_generation(row)

    async def get_searched(
        self, user_id: UUID, id_or_name: UUID | str
    ) -> tuple[Collection, Generation | None, LogChoice | None]:
        """A collection, its active generation and whether it has a log, in one statement.

        Raises:
            CollectionNotFoundError: if this user has no such collection.
        """
        values = {"user": user_id, "name": str(id_or_name), "id": _read_id(id_or_name)}
        rows = await _SEARCHED.fetch(self._connection, values)
        if not rows:
            raise CollectionNotFoundError(id_or_name)
        row = rows[0]
        collection = _to_collection({name: row[name] for name in COLLECTION_COLUMNS})
        generation = {name: row[f"{PREFIX}{name}"] for name in GENERATION_COLUMNS}
        choice = None if row["log_share"] is None else LogChoice(share=row["log_share"], key=row["log_key"])
        return collection, None if generation["id"] is None else read_generation(generation), choice

    async def list_generations(self, collection_id: UUID, *states: GenerationState) -> list[Generation]:
        """Generations in one of these states, oldest first."""
        query = (
            select(generations)
            .where(generations.c.collection_id == collection_id, generations.c.state.in_(states))
            .order_by(generations.c.created_at)
        )
        return [read_generation(row) for row in (await self._connection.execute(query)).mappings()]

    async def get_generation(self, generation_id: UUID) -> Generation:
        """Raises GenerationMissingError."""
        query = select(generations).where(generations.c.id == generation_id)
        row = (await self._connection.execute(query)).mappings().first()
        if row is None:
            raise GenerationMissingError(str(generation_id))
        return read_generation(row)

    async def find_built_by(self, operation_id: UUID) -> Generation | None:
        """The newest generation that a rebuild has begun and nobody has dropped."""
        query = (
            select(generations)
            .where(generations.c.operation_id == operation_id, generations.c.state != GenerationState.DROPPED.value)
            .order_by(generations.c.created_at.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else read_generation(row)

    async def find_replaced(self, collection_id: UUID) -> Generation | None:
        """The generation that served last before the active one, if it is still kept."""
        query = (
            select(generations)
            .where(
                generations.c.collection_id == collection_id,
                generations.c.state == GenerationState.RETIRED.value,
                generations.c.activated_at.is_not(None),
            )
            .order_by(generations.c.retired_at.desc())
            .limit(1)
        )
        row = (await self._connection.execute(query)).mappings().first()
        return None if row is None else read_generation(row)

    async def add_generation(
        self,
        collection: Collection,
        *,
        dimension: int,
        fingerprint: str,
        canaries: bytes,
        operation_id: UUID | None = None,
    ) -> Generation:
        """Insert a building generation as the collection says; its physical name is derived from its id."""
        generation_id = uuid4()
        marker = await read_marker(self._connection)
        values = {
            "id": generation_id,
            "collection_id": collection.id,
            "name": generation_name(marker, collection.id, generation_id),
            "state": GenerationState.BUILDING.value,
            "model": collection.model,
            "dimension": dimension,
            "fingerprint": fingerprint,
            "canaries": canaries,
            "chunking": asdict(collection.chunking),
            "index_settings": dict(collection.index_settings),
            "sparse_settings": dict(collection.sparse_settings),
            "operation_id": operation_id,
        }
        row = await self._connection.execute(insert(generations).values(values).returning(generations))
        return read_generation(row.mappings().one())

    async def activate(self, generation: Generation) -> None:
        """Make a generation the one that searches read, and the collection what it says; the one before retires.

        Raises:
            GenerationDroppedError: if it was given up meanwhile, because nobody seemed to build it.
        """
        values = {"collection": generation.collection_id, "generation": generation.id}
        await self._connection.execute(
            text(
                "UPDATE generations SET state = 'retired', retired_at = now(), drop_after = NULL"
                " WHERE collection_id = :collection AND state = 'active' AND id <> :generation"
            ),
            values,
        )
        activated = await self._connection.execute(
            update(generations)
            .where(generations.c.id == generation.id, generations.c.state != GenerationState.DROPPED.value)
            .values(state=GenerationState.ACTIVE.value, activated_at=func.now(), retired_at=None, drop_after=None)
        )
        if activated.rowcount == 0:
            raise GenerationDroppedError(generation.name)
        await self._connection.execute(
            update(collections)
            .where(collections.c.id == generation.collection_id)
            .values(
                active_generation_id=generation.id,
                model=generation.model,
                chunking=asdict(generation.chunking),
                index_settings=dict(generation.index_settings),
                sparse_settings=dict(generation.sparse_settings),
            )
        )

    async def set_index(self, generation: Generation, settings: Mapping[str, Any]) -> None:
        """Record how the active generation is indexed now."""
        for table, row in ((generations, generation.id), (collections, generation.collection_id)):
            await self._connection.execute(update(table).where(table.c.id == row).values(index_settings=dict(settings)))

    async def keep_refused(self, generation: Generation) -> None:
        """Keep a rebuild that was not switched to for as long as one that was replaced, to look at it."""
        await self._connection.execute(
            update(generations)
            .where(generations.c.id == generation.id, generations.c.state == GenerationState.BUILDING.value)
            .values(state=GenerationState.RETIRED.value, retired_at=func.now())
        )

    async def mark_dropped(self, generation: Generation) -> None:
        """Record that the physical collection is gone."""
        await self._connection.execute(
            update(generations).where(generations.c.id == generation.id).values(state=GenerationState.DROPPED.value)
        )

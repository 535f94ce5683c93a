"""What callers read and change of collections, outside operations."""

from collections.abc import Sequence
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.documents import DocumentRepository
from app.db.operations import OperationRepository
from app.db.sources import SourceRepository
from app.db.users import UserRepository
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import Document, DocumentState, Source, SourceSpec
from app.domain.errors import InvalidInputError
from app.domain.users import Caller

SHORTEST_KEY = 32


class CollectionService:
    """Collections, their sources and documents, as their owner sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UUID, id_or_name: str) -> Collection:
        """Raises CollectionNotFoundError."""
        async with self._database.begin() as connection:
            return await CollectionRepository(connection).get(user_id, id_or_name)

    async def list(self, user_id: UUID) -> Sequence[Collection]:
        """All of a user's collections, by name."""
        async with self._database.begin() as connection:
            return await CollectionRepository(connection).list_all(user_id)

    async def counts(self, collection_id: UUID) -> CollectionCounts:
        """What the collection holds now."""
        async with self._database.begin() as connection:
            return await CollectionRepository(connection).counts(collection_id)

    async def busy(self, collection_id: UUID) -> UUID | None:
        """The operation that is writing to the collection now."""
        async with self._database.begin() as connection:
            return await OperationRepository(connection).find_running_writer(collection_id)

    async def list_sources(self, user_id: UUID, collection_id: UUID) -> Sequence[Source]:
        """Oldest first."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            return await SourceRepository(connection).list_all(collection_id)

    async def add_source(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """Raises SourceExistsError."""
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            return await SourceRepository(connection).add(collection_id, url=spec.url, config=spec.config())

    async def list_documents(
        self,
        user_id: UUID,
        collection_id: UUID,
        *,
        state: DocumentState | None,
        source_id: UUID | None,
        limit: int,
        after: str | None,
    ) -> tuple[Sequence[Document], str | None]:
        """A page of documents and the cursor of the next page."""
        try:
            cursor = UUID(after) if after else None
        except ValueError as error:
            raise InvalidInputError("`after` must be the `next` of an earlier page") from error
        async with self._database.begin() as connection:
            await CollectionRepository(connection).get(user_id, collection_id)
            page = await DocumentRepository(connection, collection_id).list_page(
                state=state, source_id=source_id, limit=limit, after=cursor
            )
        return page, str(page[-1].id) if len(page) == limit else None


class IdentityService:
    """Who is calling."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, key: str) -> Caller:
        """Raises NotAuthenticatedError."""
        async with self._database.single() as connection:
            return await UserRepository(connection).authenticate(key)

    async def issue_key(self, user: str, *, name: str) -> str:
        """A new API key for a user, who is created if missing; earlier keys of this name are revoked."""
        async with self._database.begin() as connection:
            users = UserRepository(connection)
            user_id = await users.ensure_user(user)
            await users.revoke_keys(user_id, name=name)
            return await users.add_key(user_id, name=name)

    async def accept_key(self, user: str, key: str, *, name: str) -> None:
        """Make a key that the operator chose valid for a user, who is created if missing.

        Raises:
            InvalidInputError: if the key is too short to be safe.
        """
        if len(key) < SHORTEST_KEY:
            raise InvalidInputError(f"an API key has at least {SHORTEST_KEY} characters, better random ones")
        async with self._database.begin() as connection:
            users = UserRepository(connection)
            user_id = await users.ensure_user(user)
            await users.revoke_keys(user_id, name=name)
            await users.store_key(user_id, key, name=name)

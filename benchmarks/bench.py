"""A served stack with a caller, which each benchmark gets for itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from sqlalchemy import text

from app.bootstrap import Endpoints, Parts, open_parts
from app.db.migrate import migrate
from app.domain.documents import Chunking, SourceSpec
from app.domain.operations import Operation
from app.embedded.stack import EmbeddedStack
from app.operations.collections import IdentityService
from app.operations.service import OperationService
from app.settings import Settings

POLL_SECONDS = 0.01


class Bench:
    """A served stack and its caller. ``servers`` are process ids by name, where the stack is the benchmark's own."""

    def __init__(
        self, parts: Parts, user_id: UUID, folder: Path, *, servers: Mapping[str, int | None] | None = None
    ) -> None:
        self.parts = parts
        self.user_id = user_id
        self.folder = folder
        self.servers = servers or {}
        self.operations = OperationService(
            parts.database,
            parts.dispatcher,
            parts.queue,
            parts.events,
            default_model="wordllama",
            default_chunking=Chunking(),
        )

    async def index(
        self, name: str, folder: Path | None, *, model: str | None = None, poll_seconds: float = POLL_SECONDS
    ) -> Operation:
        """Index a folder into a new collection and wait."""
        sources = [SourceSpec(url=folder.as_uri())] if folder else []
        _, operation = await self.operations.create_collection(
            self.user_id, name=name, model=model, chunking=None, sources=sources
        )
        return await self.wait(operation, poll_seconds=poll_seconds)

    async def append(self, name: str, *, poll_seconds: float = POLL_SECONDS) -> Operation:
        """Bring the only source of a collection up to date and wait."""
        collection_id = await self.find_collection(name)
        source_id = await self.find_source(collection_id)
        operation = await self.operations.create_append(self.user_id, collection_id, source_id=source_id, mode="full")
        return await self.wait(operation, poll_seconds=poll_seconds)

    async def wait(self, operation: Operation, *, poll_seconds: float = POLL_SECONDS) -> Operation:
        """Wait for the end; anything but success ends the benchmark."""
        while not operation.state.is_final:
            await asyncio.sleep(poll_seconds)
            operation = await self.operations.get(self.user_id, operation.id)
        if operation.state != "completed":
            raise SystemExit(f"{operation.kind} {operation.state}: {operation.error_code} {operation.error_message}")
        return operation

    async def find_collection(self, name: str) -> UUID:
        """The id of a collection."""
        async with self.parts.database.begin() as connection:
            found = await connection.scalar(text("SELECT id FROM collections WHERE name = :name"), {"name": name})
        return UUID(str(found))

    async def find_source(self, collection_id: UUID) -> UUID:
        """The id of a collection's only source."""
        statement = text("SELECT id FROM sources WHERE collection_id = :id")
        async with self.parts.database.begin() as connection:
            found = await connection.scalar(statement, {"id": collection_id})
        return UUID(str(found))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    """The embedded stack, with a caller and no worker."""
    settings = Settings(data=folder / "data", projection_compile=False)
    async with EmbeddedStack(settings.data) as stack:
        endpoints = Endpoints(
            database_url=stack.database_url,
            redis_url=stack.redis_url,
            qdrant_url=stack.qdrant_url,
            qdrant_api_key=stack.qdrant_api_key,
        )
        await migrate(endpoints.database_url)
        async with open_parts(settings, endpoints) as parts:
            identity = IdentityService(parts.database)
            caller = await identity.authenticate(await identity.issue_key("bench", name="bench"))
            yield Bench(parts, caller.user_id, folder, servers=stack.pids)

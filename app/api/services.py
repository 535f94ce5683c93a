"""What the routes call. The services themselves are built in ``app/bootstrap/``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from app.domain.checks import Check
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import ChunkingChoice, Document, DocumentState, Source, SourceChange, SourceSpec, SourceTest
from app.domain.operations import Operation, OperationState, Submission, Worker
from app.domain.points import SearchAnswer, SearchFilter, SearchMode
from app.domain.users import Caller
from app.progress.hub import ProgressHub


class Identity(Protocol):
    """Says who calls."""

    async def authenticate(self, key: str) -> Caller:
        """Raises NotAuthenticatedError."""
        ...


class Operations(Protocol):
    """What callers do with operations."""

    async def create_collection(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: ChunkingChoice,
        sources: Sequence[SourceSpec],
        submission: Submission,
    ) -> tuple[Collection, Operation]:
        """Add a collection and the INDEX operation that fills it. Raises InvalidChunkingError."""
        ...

    async def create_append(
        self, user_id: UUID, collection_id: UUID, *, source_id: UUID, mode: str, submission: Submission
    ) -> Operation:
        """Add an APPEND operation."""
        ...

    async def create_verify(
        self, user_id: UUID, collection_id: UUID, *, repair: bool, deep: bool, submission: Submission
    ) -> Operation:
        """Add a VERIFY operation."""
        ...

    async def create_plan(
        self,
        user_id: UUID,
        *,
        name: str,
        model: str | None,
        chunking: ChunkingChoice,
        source: SourceSpec,
        submission: Submission,
    ) -> Operation:
        """Add a PLAN operation. Raises OptionConflictError, InvalidChunkingError."""
        ...

    async def get(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationNotFoundError."""
        ...

    async def list(
        self, user_id: UUID, *, states: Sequence[OperationState], collection_id: UUID | None, limit: int
    ) -> Sequence[Operation]:
        """Newest first."""
        ...

    async def cancel(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        ...

    async def pause(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        ...

    async def resume(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        ...

    async def pause_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """Raises CollectionNotFoundError."""
        ...

    async def resume_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """Raises CollectionNotFoundError."""
        ...

    async def retry(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationNotRetryableError."""
        ...

    async def list_workers(self) -> Sequence[Worker]:
        """Workers of the last day."""
        ...


class Collections(Protocol):
    """What callers read and change of collections."""

    async def get(self, user_id: UUID, id_or_name: str) -> Collection:
        """Raises CollectionNotFoundError."""
        ...

    async def list(self, user_id: UUID) -> Sequence[Collection]:
        """All of a user's collections."""
        ...

    async def counts(self, collection_id: UUID) -> CollectionCounts:
        """What the collection holds now."""
        ...

    async def busy(self, collection_id: UUID) -> UUID | None:
        """The operation that writes to the collection now."""
        ...

    async def list_sources(self, user_id: UUID, collection_id: UUID) -> Sequence[Source]:
        """All sources of a collection."""
        ...

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
        ...


class Sources(Protocol):
    """What callers do with sources."""

    async def add(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """Raises SourceExistsError, UnsupportedSourceError, InvalidSourceError, SecretKeyMissingError."""
        ...

    async def change(self, user_id: UUID, collection_id: UUID, source_id: UUID, change: SourceChange) -> Source:
        """Raises SourceUnknownError, InvalidSourceError, SecretKeyMissingError."""
        ...

    async def test(self, user_id: UUID, collection_id: UUID, wanted: SourceSpec | UUID) -> SourceTest:
        """What a scan would find. Raises DomainError if it cannot be read at all."""
        ...

    async def rotate_secrets(self, user_id: UUID) -> int:
        """How many secrets are under the newest key now that were not. Raises SecretKeyWrongError."""
        ...


class Search(Protocol):
    """Answers queries."""

    async def search(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        query: str,
        mode: SearchMode,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
    ) -> SearchAnswer:
        """The best documents of a collection."""
        ...


class Checks(Protocol):
    """Looks at parts of the system."""

    async def run(self) -> Sequence[Check]:
        """What it found. Answers within a bounded time, whatever hangs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Everything the routes call."""

    identity: Identity
    operations: Operations
    collections: Collections
    sources: Sources
    search: Search
    health: Checks
    diagnosis: Checks
    hub: ProgressHub
    watchers_per_user: int = 50
    watchers_per_process: int = 1000
    request_max_bytes: int = 10 * 1024 * 1024
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)


def services_of(connection: HTTPConnection) -> ApiServices:
    """The services of the application that serves this connection."""
    services: ApiServices = connection.app.state.services
    return services

"""What the routes call. The services themselves are built in ``app/bootstrap/``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from app.domain.checks import Check
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import ChunkingChoice, Document, DocumentState, Source, SourceSpec
from app.domain.operations import Operation, OperationState, Submission, Worker
from app.domain.partitions import PartitionHealth, PartitionLook
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, RoundRecord
from app.domain.points import SearchAnswer, SearchFilter, SearchMode
from app.domain.statistics import CollectionStatistics, GrowthPoint
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

    async def add_source(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """Raises SourceExistsError."""
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


class PeriodicJobs(Protocol):
    """What is done again and again."""

    def list_jobs(self) -> Sequence[PeriodicJob]:
        """All of this version."""
        ...

    async def list_statuses(self) -> Mapping[str, PeriodicJobStatus]:
        """How it stands with each, by name."""
        ...

    async def list_rounds(self, name: str) -> Sequence[RoundRecord]:
        """Newest first. Raises PeriodicJobNotFoundError."""
        ...

    async def get_round(self, name: str, round_id: UUID) -> RoundRecord:
        """Raises PeriodicJobNotFoundError, NotFoundError."""
        ...

    async def run(self, name: str, *, dry_run: bool, wait_seconds: float) -> RoundRecord:
        """Raises PeriodicJobNotFoundError, PeriodicJobRunningError, NoDryRunError."""
        ...


class Statistics(Protocol):
    """What collections hold."""

    async def read(
        self, collection_id: UUID, *, days: int
    ) -> tuple[CollectionStatistics, Sequence[GrowthPoint], Sequence[Source]]:
        """What a collection holds now, what it held in the last days, and its sources."""
        ...


class Partitions(Protocol):
    """How it stands with the partitions of the chunks."""

    async def read(self, *, days: int) -> tuple[Sequence[PartitionHealth], Sequence[PartitionLook]]:
        """All partitions as they are now, and what was found in the last days, newest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Everything the routes call."""

    identity: Identity
    operations: Operations
    collections: Collections
    search: Search
    health: Checks
    diagnosis: Checks
    hub: ProgressHub
    periodic: PeriodicJobs
    statistics: Statistics
    partitions: Partitions
    watchers_per_user: int = 50
    watchers_per_process: int = 1000
    request_max_bytes: int = 10 * 1024 * 1024
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)


def services_of(connection: HTTPConnection) -> ApiServices:
    """The services of the application that serves this connection."""
    services: ApiServices = connection.app.state.services
    return services

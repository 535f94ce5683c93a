"""What the routes call. The services themselves are built in ``app/bootstrap/``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from app.api.benchmark_services import AttachedBenchmarks, Benchmarks
from app.api.dataset_services import BenchmarkDatasets, Judgments
from app.api.generation_services import Comparisons, Generations
from app.api.projection_services import LiveProjections, Projections
from app.api.search_services import Search, SearchLogs
from app.api.session_services import Identity, Sessions
from app.api.upload_services import UploadBatches, Uploads
from app.domain.audit import AuditEntry, AuditFilter
from app.domain.checks import Check
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import ChunkingChoice, Document, DocumentState, Source, SourceChange, SourceSpec, SourceTest
from app.domain.operations import Operation, OperationState, Submission, Worker
from app.domain.partitions import PartitionHealth, PartitionLook
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, RoundRecord
from app.domain.rebuilds import RebuildChoice
from app.domain.searches import SearchHealth
from app.domain.sparse_settings import SparseSettings
from app.domain.statistics import CollectionStatistics, GrowthPoint
from app.domain.syncs import AppendMode, SyncRun, SyncStatus
from app.domain.webhooks import Delivery, Webhook, WebhookChange, WebhookEvent
from app.progress.hub import ProgressHub


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
        sparse: SparseSettings,
        submission: Submission,
    ) -> tuple[Collection, Operation]:
        """Add a collection and the INDEX operation that fills it. Raises InvalidChunkingError."""
        ...

    async def create_append(
        self,
        user_id: UUID,
        collection_id: UUID,
        *,
        source_id: UUID,
        mode: str,
        confirm_removals: bool,
        submission: Submission,
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


class Removals(Protocol):
    """Takes away sources and collections, and tries documents again."""

    async def remove_source(
        self, user_id: UUID, id_or_name: str, source_id: UUID, *, submission: Submission
    ) -> Operation:
        """Add a REMOVE_SOURCE operation. Raises CollectionNotFoundError, SourceUnknownError."""
        ...

    async def retry_documents(
        self, user_id: UUID, id_or_name: str, *, ids: Sequence[UUID], include_needs_ocr: bool, submission: Submission
    ) -> Operation:
        """Add a RETRY_DOCUMENTS operation. Raises CollectionNotFoundError, DocumentNotFoundError."""
        ...

    async def delete(self, user_id: UUID, id_or_name: str, *, submission: Submission) -> Operation:
        """Hide a collection and add the DELETE operation. Raises CollectionNotFoundError."""


class Rebuilds(Protocol):
    """Makes collections anew, and goes back."""

    async def reindex(
        self, user_id: UUID, id_or_name: str, choice: RebuildChoice, *, submission: Submission
    ) -> Operation:
        """Add a REINDEX. Raises CollectionNotFoundError, NothingToRebuildError, RebuildInProgressError."""
        ...

    async def roll_back(self, user_id: UUID, id_or_name: str, *, submission: Submission) -> Operation:
        """Add a ROLLBACK. Raises CollectionNotFoundError, NothingToRollBackError, RebuildInProgressError."""
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


class Syncs(Protocol):
    """Continuous sync of collections, by id or name. Everything raises CollectionNotFoundError."""

    async def status(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """How it stands."""
        ...

    async def set(
        self, user_id: UUID, id_or_name: str, *, interval_seconds: int, mode: AppendMode, paused: bool | None
    ) -> SyncStatus:
        """Begin, or change the interval."""
        ...

    async def unset(self, user_id: UUID, id_or_name: str) -> SyncStatus:
        """End."""
        ...

    async def hold(self, user_id: UUID, id_or_name: str, *, paused: bool) -> SyncStatus:
        """Pause or resume. Raises SyncNotSetError."""
        ...

    async def run(self, user_id: UUID, id_or_name: str, *, confirm_removals: bool) -> SyncRun:
        """Begin a run. Raises NothingToSyncError, SyncRunningError."""
        ...

    async def list_runs(self, user_id: UUID, id_or_name: str, *, limit: int) -> Sequence[SyncRun]:
        """Newest first."""
        ...

    async def get_run(self, user_id: UUID, id_or_name: str, run_id: UUID) -> SyncRun:
        """Raises SyncRunNotFoundError."""
        ...


class Audit(Protocol):
    """What owners read of the audit log."""

    async def list(
        self, user_id: UUID, wanted: AuditFilter, *, limit: int, after: str | None
    ) -> tuple[Sequence[AuditEntry], str | None]:
        """A page, newest first, and the cursor of the next page. Raises InvalidInputError."""
        ...


class Webhooks(Protocol):
    """What owners do with webhooks."""

    async def create(
        self, user_id: UUID, *, url: str, events: Sequence[WebhookEvent], collection: str | None
    ) -> tuple[Webhook, str]:
        """The webhook and its secret. Raises WebhookUrlError, WebhookAddressError, TooManyWebhooksError."""
        ...

    async def get(self, user_id: UUID, webhook_id: UUID) -> Webhook:
        """Raises WebhookNotFoundError."""
        ...

    async def list(self, user_id: UUID) -> Sequence[Webhook]:
        """Oldest first."""
        ...

    async def change(self, user_id: UUID, webhook_id: UUID, change: WebhookChange) -> tuple[Webhook, str | None]:
        """The webhook as it is then, and its new secret if it has one. Raises WebhookNotFoundError."""
        ...

    async def delete(self, user_id: UUID, webhook_id: UUID) -> None:
        """Raises WebhookNotFoundError."""
        ...

    async def test(self, user_id: UUID, webhook_id: UUID) -> Delivery:
        """Raises WebhookDisabledError."""
        ...

    async def list_deliveries(
        self, user_id: UUID, webhook_id: UUID, *, limit: int, after: str | None
    ) -> tuple[Sequence[Delivery], str | None]:
        """A page, newest first, and the cursor of the next page."""
        ...

    async def get_delivery(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises DeliveryNotFoundError."""
        ...

    async def redeliver(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises DeliveryNotFoundError, WebhookDisabledError."""
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

    async def read_searches(self, collection_id: UUID) -> SearchHealth:
        """What became of the searches of the last days."""
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
    sessions: Sessions
    operations: Operations
    collections: Collections
    sources: Sources
    search: Search
    generations: Generations
    comparisons: Comparisons
    search_logs: SearchLogs
    datasets: BenchmarkDatasets
    judgments: Judgments
    removals: Removals
    rebuilds: Rebuilds
    benchmarks: Benchmarks
    attached_benchmarks: AttachedBenchmarks
    projections: Projections
    live_projections: LiveProjections
    health: Checks
    diagnosis: Checks
    hub: ProgressHub
    syncs: Syncs
    periodic: PeriodicJobs
    audit: Audit
    webhooks: Webhooks
    statistics: Statistics
    partitions: Partitions
    uploads: Uploads
    batches: UploadBatches
    watchers_per_user: int = 50
    watchers_per_process: int = 1000
    request_max_bytes: int = 10 * 1024 * 1024
    trusted_proxies: Sequence[str] = ()
    metrics: CollectorRegistry = field(default_factory=CollectorRegistry)


def services_of(connection: HTTPConnection) -> ApiServices:
    """The services of the application that serves this connection."""
    services: ApiServices = connection.app.state.services
    return services

"""Services in memory, as far as the edge can tell them from the real ones."""

# ruff: noqa: ARG002 — doubles take what the services take, and use little of it

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.domain.audit import AuditEntry, AuditFilter
from app.domain.checks import Check
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import (
    Chunking,
    ChunkingChoice,
    Document,
    DocumentState,
    Source,
    SourceChange,
    SourceKind,
    SourceSpec,
    SourceTest,
)
from app.domain.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    NotAuthenticatedError,
    OperationFinishedError,
    OperationNotFoundError,
    OperationNotRetryableError,
    PeriodicJobNotFoundError,
    SourceUnknownError,
)
from app.domain.operations import Operation, OperationKind, OperationState, Submission, Worker
from app.domain.partitions import PartitionHealth, PartitionLook
from app.domain.periodic import PeriodicJob, PeriodicJobStatus, RoundRecord
from app.domain.points import Hit, SearchAnswer, SearchFilter
from app.domain.rebuild_errors import NothingToRollBackError
from app.domain.rebuilds import RebuildChoice
from app.domain.search_settings import SearchSettings
from app.domain.searches import SearchCounts, SearchHealth
from app.domain.sparse_settings import SparseSettings
from app.domain.statistics import Amounts, CollectionStatistics, GrowthPoint
from app.domain.users import Caller
from app.domain.webhooks import (
    Delivery,
    TooManyWebhooksError,
    Webhook,
    WebhookChange,
    WebhookEvent,
    WebhookNotFoundError,
)

KEY = "vcl_test"


class FakeIdentity:
    """Knows one key, and those it is told of."""

    def __init__(self) -> None:
        self.user_id = uuid4()
        self.users = {KEY: self.user_id}

    async def authenticate(self, key: str) -> Caller:
        """Raises NotAuthenticatedError."""
        if key not in self.users:
            raise NotAuthenticatedError("the API key is unknown, expired or revoked")
        return Caller(user_id=self.users[key], key_id=uuid4(), scopes=frozenset())


@dataclass
class FakeOperations:
    """Keeps operations in a dict; ``error`` is raised by every call if set."""

    rows: dict[UUID, Operation] = field(default_factory=dict)
    error: Exception | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    default_chunking: Chunking = field(default_factory=Chunking)

    def add(self, user_id: UUID, collection: Collection, state: OperationState, kind: OperationKind) -> Operation:
        """A new operation."""
        operation = Operation(
            id=uuid4(),
            user_id=user_id,
            collection_id=collection.id,
            collection_name=collection.name,
            kind=kind,
            state=state,
            config={},
        )
        self.rows[operation.id] = operation
        return operation

    def finished(self, operation: Operation, state: OperationState) -> Operation:
        """The same operation, ended now."""
        return replace(operation, state=state, finished_at=datetime.now(UTC))

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
        """The name ``taken`` is taken; ``default_chunking`` fills in what was not said."""
        if name == "taken":
            raise CollectionExistsError(name)
        self.asked = {
            "model": model,
            "chunking": chunking.fill(self.default_chunking),
            "sources": tuple(sources),
            "sparse": sparse,
            "submission": submission,
        }
        collection = make_collection(user_id, name)
        return collection, self.add(user_id, collection, OperationState.PENDING, OperationKind.INDEX)

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
        """A pending APPEND."""
        self.asked = {"source_id": source_id, "mode": mode, "confirmed": confirm_removals, "submission": submission}
        collection = replace(make_collection(user_id, "handbook"), id=collection_id)
        return self.add(user_id, collection, OperationState.PENDING, OperationKind.APPEND)

    async def create_verify(
        self, user_id: UUID, collection_id: UUID, *, repair: bool, deep: bool, submission: Submission
    ) -> Operation:
        """A pending VERIFY."""
        self.asked = {"repair": repair, "deep": deep, "submission": submission}
        collection = replace(make_collection(user_id, "handbook"), id=collection_id)
        return self.add(user_id, collection, OperationState.PENDING, OperationKind.VERIFY)

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
        """A pending PLAN of a collection that does not exist."""
        self.asked = {"model": model, "chunking": chunking, "source": source, "submission": submission}
        planned = self.add(user_id, make_collection(user_id, name), OperationState.PENDING, OperationKind.PLAN)
        self.rows[planned.id] = replace(planned, collection_id=None, writes=False)
        return self.rows[planned.id]

    async def get(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationNotFoundError, also for somebody else's."""
        if self.error is not None:
            raise self.error
        operation = self.rows.get(operation_id)
        if operation is None or operation.user_id != user_id:
            raise OperationNotFoundError(operation_id)
        return operation

    async def list(
        self, user_id: UUID, *, states: Sequence[OperationState], collection_id: UUID | None, limit: int
    ) -> Sequence[Operation]:
        """All that fit."""
        rows = [row for row in self.rows.values() if row.user_id == user_id and (not states or row.state in states)]
        return [row for row in rows if collection_id in (None, row.collection_id)][:limit]

    async def cancel(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        operation = await self.get(user_id, operation_id)
        if operation.state.is_final:
            raise OperationFinishedError(operation_id, operation.state)
        return replace(operation, state=OperationState.CANCELLED)

    async def pause(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        operation = await self.get(user_id, operation_id)
        if operation.state.is_final:
            raise OperationFinishedError(operation_id, operation.state)
        return replace(operation, paused_at=datetime.now(UTC))

    async def resume(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationFinishedError."""
        return replace(await self.pause(user_id, operation_id), paused_at=None)

    async def pause_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """A paused collection."""
        collection = await self.resume_collection(user_id, collection_id)
        return replace(collection, paused_at=datetime.now(UTC))

    async def resume_collection(self, user_id: UUID, collection_id: UUID) -> Collection:
        """A collection that is not paused."""
        return replace(make_collection(user_id, "handbook"), id=collection_id)

    async def list_workers(self) -> Sequence[Worker]:
        """None."""
        return []

    async def retry(self, user_id: UUID, operation_id: UUID) -> Operation:
        """Raises OperationNotRetryableError."""
        operation = await self.get(user_id, operation_id)
        if operation.state not in (OperationState.FAILED, OperationState.CANCELLED):
            raise OperationNotRetryableError(operation_id, operation.state)
        return replace(operation, state=OperationState.PENDING)


def make_collection(user_id: UUID, name: str) -> Collection:
    """A collection without a generation."""
    return Collection(
        id=uuid4(),
        user_id=user_id,
        name=name,
        model="wordllama",
        chunking=Chunking(),
        sparse=True,
        active_generation_id=None,
    )


class FakeCollections:
    """Knows the collection ``handbook``."""

    def __init__(self, user_id: UUID) -> None:
        self.handbook = make_collection(user_id, "handbook")
        self.asked: dict[str, Any] = {}

    async def get(self, user_id: UUID, id_or_name: str) -> Collection:
        """Raises CollectionNotFoundError."""
        if id_or_name not in (self.handbook.name, str(self.handbook.id)):
            raise CollectionNotFoundError(id_or_name)
        return self.handbook

    async def list(self, user_id: UUID) -> Sequence[Collection]:
        """The one."""
        return [self.handbook]

    async def counts(self, collection_id: UUID) -> CollectionCounts:
        """Always the same."""
        return CollectionCounts(documents={"completed": 2, "failed": 1}, chunks=7, tokens=900)

    async def busy(self, collection_id: UUID) -> UUID | None:
        """Never."""
        return None

    async def list_sources(self, user_id: UUID, collection_id: UUID) -> Sequence[Source]:
        """One folder."""
        return [await self.add_source(user_id, collection_id, SourceSpec(url="file:///srv/handbook"))]

    async def add_source(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """A source of what was asked for."""
        return Source(
            id=uuid4(), collection_id=collection_id, kind=SourceKind.DIRECTORY, url=spec.url, config=spec.config()
        )

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
        """An empty page with a cursor."""
        self.asked = {"state": state, "source_id": source_id, "limit": limit, "after": after}
        return [], "next-page"


class FakeSources:
    """Changes nothing."""

    def __init__(self, collections: FakeCollections) -> None:
        self._collections = collections
        self.asked: dict[str, Any] = {}

    async def add(self, user_id: UUID, collection_id: UUID, spec: SourceSpec) -> Source:
        """A source of what was asked for."""
        self.asked = {"spec": spec}
        return await self._collections.add_source(user_id, collection_id, spec)

    async def change(self, user_id: UUID, collection_id: UUID, source_id: UUID, change: SourceChange) -> Source:
        """Raises SourceUnknownError for all but the handbook's."""
        self.asked = {"change": change}
        raise SourceUnknownError(source_id)

    async def test(self, user_id: UUID, collection_id: UUID, wanted: SourceSpec | UUID) -> SourceTest:
        """A folder of one document."""
        self.asked = {"wanted": wanted}
        return SourceTest(kind=SourceKind.DIRECTORY, url="file:///srv/handbook", is_complete=True, documents=1)

    async def rotate_secrets(self, user_id: UUID) -> int:
        """None."""
        return 0


class FakeSearch:
    """Answers every query with one hit."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    async def search(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        query: str,
        settings: SearchSettings,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
    ) -> SearchAnswer:
        """One hit."""
        self.asked = {"query": query, "settings": settings, "limit": limit, "filter": filter}
        hit = Hit(
            rank=1,
            score=0.5,
            uri="file:///a.md",
            path="a.md",
            document_id=uuid4(),
            chunk_id=uuid4(),
            title=None,
            text="a whale",
            start=0,
            end=7,
            highlights=[(2, 7)],
        )
        return SearchAnswer(mode=settings.mode, took_ms=1.5, generation="g1", hits=[hit])


class FakeRemovals:
    """Adds operations to those of its neighbour; a collection ``gone`` does not exist."""

    def __init__(self, operations: FakeOperations) -> None:
        self._operations = operations
        self.asked: dict[str, Any] = {}

    def _add(self, user_id: UUID, name: str, kind: OperationKind) -> Operation:
        if name == "gone":
            raise CollectionNotFoundError(name)
        return self._operations.add(user_id, make_collection(user_id, name), OperationState.PENDING, kind)

    async def remove_source(
        self, user_id: UUID, id_or_name: str, source_id: UUID, *, submission: Submission
    ) -> Operation:
        """A pending REMOVE_SOURCE."""
        self.asked = {"source_id": source_id, "submission": submission}
        return self._add(user_id, id_or_name, OperationKind.REMOVE_SOURCE)

    async def retry_documents(
        self, user_id: UUID, id_or_name: str, *, ids: Sequence[UUID], include_needs_ocr: bool, submission: Submission
    ) -> Operation:
        """A pending RETRY_DOCUMENTS."""
        self.asked = {"ids": list(ids), "include_needs_ocr": include_needs_ocr, "submission": submission}
        return self._add(user_id, id_or_name, OperationKind.RETRY_DOCUMENTS)

    async def delete(self, user_id: UUID, id_or_name: str, *, submission: Submission) -> Operation:
        """A pending DELETE."""
        self.asked = {"submission": submission}
        return self._add(user_id, id_or_name, OperationKind.DELETE)


class FakeRebuilds:
    """Adds operations to those of its neighbour; the collection ``young`` has nothing to go back to."""

    def __init__(self, operations: FakeOperations) -> None:
        self._operations = operations
        self.asked: dict[str, Any] = {}

    async def reindex(
        self, user_id: UUID, id_or_name: str, choice: RebuildChoice, *, submission: Submission
    ) -> Operation:
        """A pending REINDEX; what was not said of chunks is as usual."""
        chunking = (choice.chunking or ChunkingChoice()).fill(Chunking())
        self.asked = {"choice": choice, "chunking": chunking, "submission": submission}
        collection = make_collection(user_id, id_or_name)
        return self._operations.add(user_id, collection, OperationState.PENDING, OperationKind.REINDEX)

    async def roll_back(self, user_id: UUID, id_or_name: str, *, submission: Submission) -> Operation:
        """A pending ROLLBACK."""
        if id_or_name == "young":
            raise NothingToRollBackError(id_or_name)
        self.asked = {"submission": submission}
        collection = make_collection(user_id, id_or_name)
        return self._operations.add(user_id, collection, OperationState.PENDING, OperationKind.ROLLBACK)


class FakeChecks:
    """Finds what it is told to find."""

    def __init__(self) -> None:
        self.found = {"postgres": True, "redis": True}

    async def run(self) -> list[Check]:
        """Each part by name."""
        return [
            Check(name=name, ok=ok, detail="answers" if ok else "does not answer", fix=f"start {name}")
            for name, ok in self.found.items()
        ]


class NoPeriodicJobs:
    """A server that does nothing again and again."""

    def list_jobs(self) -> Sequence[PeriodicJob]:
        """None."""
        return []

    async def list_statuses(self) -> Mapping[str, PeriodicJobStatus]:
        """None."""
        return {}

    async def list_rounds(self, name: str) -> Sequence[RoundRecord]:
        """Raises PeriodicJobNotFoundError."""
        raise PeriodicJobNotFoundError(name, "none")

    async def get_round(self, name: str, round_id: UUID) -> RoundRecord:
        """Raises PeriodicJobNotFoundError."""
        raise PeriodicJobNotFoundError(name, "none")

    async def run(self, name: str, *, dry_run: bool, wait_seconds: float) -> RoundRecord:
        """Raises PeriodicJobNotFoundError."""
        raise PeriodicJobNotFoundError(name, "none")


class FakeAudit:
    """A log without entries."""

    async def list(
        self, user_id: UUID, wanted: AuditFilter, *, limit: int, after: str | None
    ) -> tuple[Sequence[AuditEntry], str | None]:
        """Nothing."""
        return (), None


class FakeWebhooks:
    """Has no webhook, and takes none."""

    async def create(
        self, user_id: UUID, *, url: str, events: Sequence[WebhookEvent], collection: str | None
    ) -> tuple[Webhook, str]:
        """There is room for none."""
        raise TooManyWebhooksError(0)

    async def get(self, user_id: UUID, webhook_id: UUID) -> Webhook:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def list(self, user_id: UUID) -> Sequence[Webhook]:
        """None."""
        return ()

    async def change(self, user_id: UUID, webhook_id: UUID, change: WebhookChange) -> tuple[Webhook, str | None]:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def delete(self, user_id: UUID, webhook_id: UUID) -> None:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def test(self, user_id: UUID, webhook_id: UUID) -> Delivery:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def list_deliveries(
        self, user_id: UUID, webhook_id: UUID, *, limit: int, after: str | None
    ) -> tuple[Sequence[Delivery], str | None]:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def get_delivery(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)

    async def redeliver(self, user_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises WebhookNotFoundError."""
        raise WebhookNotFoundError(webhook_id)


class NoStatistics:
    """Collections that hold nothing."""

    async def read(
        self, collection_id: UUID, *, days: int
    ) -> tuple[CollectionStatistics, Sequence[GrowthPoint], Sequence[Source]]:
        """Nothing."""
        nothing = CollectionStatistics(
            total=Amounts(), by_state={}, by_file_type={}, by_source={}, cache_hits=0, cache_misses=0, changed_at=None
        )
        return nothing, [], []

    async def read_searches(self, collection_id: UUID) -> SearchHealth:
        """Nobody searches."""
        return SearchHealth(days=7, counts=SearchCounts(), milliseconds=0)


class NoPartitions:
    """A database without partitions."""

    async def read(self, *, days: int) -> tuple[Sequence[PartitionHealth], Sequence[PartitionLook]]:
        """None."""
        return [], []

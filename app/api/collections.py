"""Collections and their sources."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict

from app.api.auth import CallerDep, ServicesDep
from app.api.operations import CollectionRef, IdempotencyKey, OperationBody, PriorityName, RunAfter
from app.api.reindex_config import MaxRuntime
from app.api.services import ApiServices
from app.domain.collections import Collection, CollectionCounts
from app.domain.documents import ChunkingChoice, ChunkingStrategy, Source, SourceKind, SourceSpec
from app.domain.errors import InvalidChunkingError
from app.domain.operations import Priority, Submission
from app.domain.sparse_settings import SparseSettings
from app.domain.syncs import OnGone, on_gone_of
from app.traces import current_trace_parent

router = APIRouter(tags=["collections"])

Glob = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Globs = Annotated[list[Glob], Field(max_length=100)]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
OptionText = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
Options = Annotated[
    dict[Name, bool | int | float | OptionText],
    Field(max_length=30, description="What the kind of source takes; see docs/sources.md."),
]
Secret = Annotated[SecretStr, Field(max_length=16_384)]
Secrets = Annotated[
    dict[Name, Secret], Field(max_length=10, description="As user and password, or token. Never shown again.")
]

EXAMPLE_SOURCE: JsonDict = {
    "id": "2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11",
    "kind": "directory",
    "url": "file:///srv/handbook",
    "include": ["**/*.md"],
    "exclude": [],
    "options": {},
    "has_secrets": False,
    "on_gone": "remove",
    "last_run_at": "2026-03-01T09:30:07Z",
    "last_result": {"found": 120, "new": 120, "changed": 0, "unchanged": 0, "gone": 0},
}
EXAMPLE_COLLECTION: JsonDict = {
    "id": "0d9c2c9c-6c0f-4f0e-8d6f-3a0a6d1f7e55",
    "name": "handbook",
    "model": "wordllama",
    "chunking": {"strategy": "recursive", "size": 400, "overlap": 40},
    "sparse": True,
    "sparse_settings": {},
    "state": "ready",
    "busy": None,
    "documents": {"completed": 119, "failed": 1},
    "chunks": 834,
    "tokens": 251040,
    "created_at": "2026-03-01T09:30:00Z",
    "paused_at": None,
}


class SourceCreate(BaseModel):
    """A source: where documents come from, and which of them by globs over their path."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"url": "file:///srv/handbook", "include": ["**/*.md"], "exclude": []}]},
    )

    url: str = Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")
    include: Globs = []
    exclude: Globs = []
    options: Options = {}
    secrets: Secrets = {}

    on_gone: OnGone | None = Field(default=None, description="What becomes of documents that are gone; else removed.")

    def spec(self) -> SourceSpec:
        """The same as the services take it."""
        return SourceSpec(
            url=self.url,
            include=tuple(self.include),
            exclude=tuple(self.exclude),
            on_gone=self.on_gone,
            options=self.options,
            secrets=reveal(self.secrets),
        )


def reveal(secrets: dict[str, SecretStr]) -> dict[str, str]:
    """Secrets as the services take them."""
    return {name: value.get_secret_value() for name, value in secrets.items()}


class SourceBody(BaseModel):
    """A source of a collection."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_SOURCE]})

    id: UUID
    kind: SourceKind
    url: str
    include: list[str]
    exclude: list[str]
    options: dict[str, Any]
    has_secrets: bool
    on_gone: OnGone
    last_run_at: datetime | None
    last_result: dict[str, Any] | None

    @classmethod
    def of(cls, source: Source) -> Self:
        """Render a source."""
        return cls(
            id=source.id,
            kind=source.kind,
            url=source.url,
            include=source.config.get("include", []),
            exclude=source.config.get("exclude", []),
            options=source.config.get("options", {}),
            has_secrets=source.secrets is not None,
            on_gone=on_gone_of(source.config),
            last_run_at=source.last_run_at,
            last_result=source.last_result,
        )


class SourceList(BaseModel):
    """The sources of a collection."""

    sources: list[SourceBody]


class CollectionCreate(BaseModel):
    """Asks for a collection. Chunk sizes are tokens (characters for the strategy ``character``).

    What is not said of chunks is as the server is set; a size without an overlap gets a tenth of it.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "name": "handbook",
                    "chunk_size": 400,
                    "chunk_overlap": 40,
                    "sources": [{"url": "file:///srv/handbook", "include": ["**/*.md"]}],
                }
            ]
        },
    )

    name: str = Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")
    model: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    chunk_size: int | None = Field(default=None, ge=16, le=8192)
    chunk_overlap: int | None = Field(default=None, ge=0, le=8191)
    chunk_strategy: ChunkingStrategy | None = None
    sparse: dict[str, Any] | None = Field(
        default=None, description="How words are weighed and told apart: k, b, avg_len, language; docs/search.md."
    )
    sources: list[SourceCreate] = Field(default=[], max_length=100)
    priority: PriorityName = PriorityName.NORMAL
    run_after: RunAfter = None
    max_runtime_seconds: MaxRuntime = None

    def chunking(self) -> ChunkingChoice:
        """The same as the services take it."""
        return ChunkingChoice(strategy=self.chunk_strategy, size=self.chunk_size, overlap=self.chunk_overlap)


class ChunkingBody(BaseModel):
    """How a collection's texts are cut."""

    strategy: ChunkingStrategy
    size: int
    overlap: int


class CollectionBody(BaseModel):
    """A collection. ``busy`` is the operation that writes to it now; ``documents`` counts by state."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_COLLECTION]})

    id: UUID
    name: str
    model: str
    chunking: ChunkingBody
    sparse: bool
    sparse_settings: dict[str, Any]
    state: str = Field(pattern="^(empty|ready)$")
    busy: UUID | None
    documents: dict[str, int]
    chunks: int
    tokens: int
    created_at: datetime | None
    paused_at: datetime | None

    @classmethod
    def of(cls, collection: Collection, counts: CollectionCounts, busy: UUID | None) -> Self:
        """Render a collection."""
        chunking = collection.chunking
        return cls(
            id=collection.id,
            name=collection.name,
            model=collection.model,
            chunking=ChunkingBody(strategy=chunking.strategy, size=chunking.size, overlap=chunking.overlap),
            sparse=collection.sparse,
            sparse_settings=dict(collection.sparse_settings),
            state="empty" if collection.active_generation_id is None else "ready",
            busy=busy,
            documents=counts.documents,
            chunks=counts.chunks,
            tokens=counts.tokens,
            created_at=collection.created_at,
            paused_at=collection.paused_at,
        )


class CollectionList(BaseModel):
    """The caller's collections."""

    collections: list[CollectionBody]


class CollectionCreated(BaseModel):
    """A new collection and the operation that fills it."""

    collection: CollectionBody
    operation: OperationBody


async def _describe(services: ApiServices, collection: Collection) -> CollectionBody:
    counts = await services.collections.counts(collection.id)
    return CollectionBody.of(collection, counts, await services.collections.busy(collection.id))


@router.post("/collections", status_code=202)
async def create_collection(
    body: CollectionCreate, caller: CallerDep, services: ServicesDep, idempotency_key: IdempotencyKey = None
) -> CollectionCreated:
    """Create a collection and start the operation that indexes its sources."""
    try:
        collection, operation = await services.operations.create_collection(
            caller.user_id,
            name=body.name,
            model=body.model,
            chunking=body.chunking(),
            sources=[source.spec() for source in body.sources],
            sparse=SparseSettings.from_config(body.sparse),
            submission=Submission(
                idempotency_key=idempotency_key,
                priority=Priority[body.priority.name],
                run_after=body.run_after,
                max_runtime_seconds=body.max_runtime_seconds,
                trace_parent=current_trace_parent(),
            ),
        )
    except InvalidChunkingError as error:
        # the same answer as to any other field that does not fit
        raise RequestValidationError([{"loc": ("body",), "msg": f"Value error, {error.message}"}]) from error
    return CollectionCreated(collection=await _describe(services, collection), operation=OperationBody.of(operation))


@router.get("/collections")
async def list_collections(caller: CallerDep, services: ServicesDep) -> CollectionList:
    """All of the caller's collections."""
    collections = await services.collections.list(caller.user_id)
    return CollectionList(collections=[await _describe(services, collection) for collection in collections])


@router.get("/collections/{collection}")
async def read_collection(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> CollectionBody:
    """One collection."""
    return await _describe(services, await services.collections.get(caller.user_id, collection))


@router.post("/collections/{collection}/pause")
async def pause_collection(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> CollectionBody:
    """Start nothing more in a collection, and have what runs there stop at its next checkpoint. Search goes on."""
    found = await services.collections.get(caller.user_id, collection)
    return await _describe(services, await services.operations.pause_collection(caller.user_id, found.id))


@router.post("/collections/{collection}/resume")
async def resume_collection(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> CollectionBody:
    """Let the operations of a paused collection go on."""
    found = await services.collections.get(caller.user_id, collection)
    return await _describe(services, await services.operations.resume_collection(caller.user_id, found.id))


@router.get("/collections/{collection}/sources")
async def list_sources(collection: CollectionRef, caller: CallerDep, services: ServicesDep) -> SourceList:
    """The sources of a collection."""
    found = await services.collections.get(caller.user_id, collection)
    sources = await services.collections.list_sources(caller.user_id, found.id)
    return SourceList(sources=[SourceBody.of(source) for source in sources])


@router.post("/collections/{collection}/sources", status_code=201)
async def add_source(
    collection: CollectionRef, body: SourceCreate, caller: CallerDep, services: ServicesDep
) -> SourceBody:
    """Add a source; an APPEND brings its documents in."""
    found = await services.collections.get(caller.user_id, collection)
    return SourceBody.of(await services.sources.add(caller.user_id, found.id, body.spec()))

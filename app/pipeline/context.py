"""What the stages of one ingestion share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.db.database import Database
from app.domain.collections import Collection, Generation
from app.domain.documents import Chunking, Ocr, PreparedDocument, PrepareRequest
from app.domain.operations import Lease
from app.domain.ports import Embedder, Processes, Reporter, VectorStore
from app.pipeline.account import Account
from app.pipeline.cache import EmbeddingCache
from app.pipeline.demand import Demand
from app.pipeline.embedding_line import EmbeddingLine
from app.pipeline.fair_queue import Customer
from app.pipeline.lane_signals import LaneSignals
from app.pipeline.shared import SharedVectors

Prepare = Callable[[Sequence[PrepareRequest], Chunking], list[PreparedDocument]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one worker's ingestion; see ``app/settings.py``.

    ``tokenizers`` are files that say what a token is, by the name of the model; the others have the packaged one.
    """

    document_timeout_seconds: float
    document_max_bytes: int
    document_max_attempts: int
    embedding_batch_size: int
    embedding_batch_tokens: int
    embedding_concurrency: int
    removal_batch_size: int
    pipeline_max_bytes: int
    ocr: Ocr | None = None
    tokenizers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestContext:
    """Everything the stages need.

    ``line`` is shared by all operations of the worker, in which this one is ``customer``; ``cache`` is None where
    vectors are not worth keeping.
    ``should_yield`` says that the slice must stop at its next checkpoint; ``note_progress`` is told of each commit that
    the next slice need not repeat; ``require_lease`` raises
    ``LeaseLostError`` once this worker cannot be sure any more that it still holds the lease. ``poke`` has the workers
    that share an operation look at once what is wanted of them, and ``signals`` is what they tell each other;
    ``demand`` says when to take more documents.
    ``may_write`` is set once the generation is there and its model is known to be the same as before: nothing is
    embedded or written before.
    """

    database: Database
    store: VectorStore
    embedder: Embedder
    processes: Processes
    lease: Lease
    collection: Collection
    generation: Generation
    report: Reporter
    limits: Limits
    line: EmbeddingLine
    customer: Customer
    cache: EmbeddingCache | None
    should_yield: Callable[[], bool]
    note_progress: Callable[[], None]
    require_lease: Callable[[], None]
    account: Account
    shared: SharedVectors
    poke: Callable[[UUID], Awaitable[None]]
    signals: LaneSignals
    demand: Demand
    may_write: asyncio.Event

"""What a job body gets."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db.database import Database
from app.domain.documents import Source
from app.domain.errors import EmbedderUnavailableError, TransientError
from app.domain.operations import Lease, Operation
from app.domain.ports import DocumentSource, Embedder, Processes, Reporter, Reranker, VectorStore
from app.domain.reranker_errors import RerankerUnavailableError
from app.embedders.patient import Patience, PatientEmbedder, PatientReranker
from app.pipeline.context import Limits
from app.pipeline.embedding_line import EmbeddingLines
from app.pipeline.estimate import Price
from app.pipeline.lane_signals import LaneSignals
from app.projection.folders import ProjectionFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a worker opens once and all its jobs share.

    Attributes:
        layout_processes: those that projections are made in, which take minutes.
        projections: where those lie; None if this worker has no place for them.
        price: the model's, if its operator said it.
        reranker: None if the settings have none.
        gate_sample: how much the gate of a rebuild samples, as a share of the usual.
    """

    database: Database
    store: VectorStore
    processes: Processes
    limits: Limits
    lines: EmbeddingLines
    embedding_cache_bytes: int
    find_embedder: Callable[[str], Embedder]
    open_source: Callable[[Source], AbstractAsyncContextManager[DocumentSource]]
    poke: Callable[[UUID], Awaitable[None]]
    signals: LaneSignals
    remove_uploads: Callable[[Sequence[str]], Awaitable[None]]
    layout_processes: Processes
    projections: ProjectionFolder | None = None
    price: Price | None = None
    gate_sample: float = 1.0
    reranker: Reranker | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """One attempt's view: its lease, its reporter, and whether it should stop at the next checkpoint.

    A job that stops there calls ``note_progress`` whenever it has kept something: no slice ends before.
    """

    resources: Resources
    lease: Lease
    report: Reporter
    should_yield: Callable[[], bool]
    note_progress: Callable[[], None]
    require_lease: Callable[[], None]

    def find_embedder(self, model: str) -> Embedder:
        """The embedder of a model, which waits for a busy server as long as the lease is held.

        Raises:
            UnknownModelError: if no embedder serves the model.
        """
        return PatientEmbedder(self.resources.find_embedder(model), self._wait_for(EmbedderUnavailableError))

    def find_reranker(self) -> Reranker | None:
        """The reranker, which waits in the same way; None if the settings have none."""
        reranker = self.resources.reranker
        return None if reranker is None else PatientReranker(reranker, self._wait_for(RerankerUnavailableError))

    def _wait_for(self, away: type[TransientError]) -> Patience:
        return Patience(away, go_on=self.require_lease, on_wait=self.tell_why_waiting)

    async def tell_why_waiting(self, why: str | None) -> None:
        """Tell watchers what holds the operation up; None if nothing does any more."""
        await self.report.send_update("operation_waiting", {"why_waiting": why})


Job = Callable[[JobContext, Operation], Awaitable[dict[str, Any]]]
"""Executes an operation and returns its result; raises to fail, safe to run twice."""

"""Collections and their generations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.domain.documents import Chunking
from app.domain.sparse_settings import SparseSettings


class GenerationState(StrEnum):
    """``building → active → retired → dropped``; a building one that is given up goes to dropped."""

    BUILDING = "building"
    ACTIVE = "active"
    RETIRED = "retired"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One physical vector collection.

    Attributes:
        name: the physical collection's name in the vector store.
        fingerprint: hex digest naming the model as it was when the generation was created.
        canaries: float32 bytes of the canary texts' embeddings, shape ``(3, dimension)``.
        operation_id: the rebuild that makes it, or made it; None of a collection's first one.
    """

    id: UUID
    collection_id: UUID
    name: str
    state: GenerationState
    model: str
    dimension: int
    fingerprint: str
    canaries: bytes = field(repr=False)
    chunking: Chunking
    index_settings: Mapping[str, Any] = field(default_factory=dict)
    sparse_settings: Mapping[str, Any] = field(default_factory=dict)
    operation_id: UUID | None = None
    created_at: datetime | None = None
    activated_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def sparse(self) -> SparseSettings:
        """How its words are weighed and told apart."""
        return SparseSettings.from_config(self.sparse_settings)

    @property
    def is_complete(self) -> bool:
        """Whether it holds all it is to hold."""
        return self.state is not GenerationState.BUILDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The user's named set of documents; one with ``deleted_at`` is known to its DELETE alone."""

    id: UUID
    user_id: UUID
    name: str
    model: str
    chunking: Chunking
    sparse: bool
    active_generation_id: UUID | None
    index_settings: Mapping[str, Any] = field(default_factory=dict)
    sparse_settings: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    paused_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionCounts:
    """What a collection holds now, counted from the manifest."""

    documents: dict[str, int]
    chunks: int
    tokens: int

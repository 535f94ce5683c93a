"""What a collection holds, and how it has grown."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Documents that are not removed and what they hold. ``bytes`` are those of the documents as they were read."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPoint:
    """What a collection held at some time."""

    taken_at: datetime
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatistics:
    """What a collection holds.

    Attributes:
        by_state: documents by state, removed ones too.
        by_file_type: by the ending of their path, the most frequent first; ``other`` are all further ones.
        by_source: by the id of their source, the largest first.
        cache_hits: texts whose embedding had been made before, in the operations that are still remembered.
        changed_at: when a document was last changed, None if there was never one.
    """

    total: Amounts
    by_state: dict[str, int]
    by_file_type: dict[str, Amounts]
    by_source: dict[UUID, Amounts]
    cache_hits: int
    cache_misses: int
    changed_at: datetime | None

    @property
    def average_chunk_tokens(self) -> float:
        """Tokens of a chunk; 0 if there is none."""
        return self.total.tokens / self.total.chunks if self.total.chunks else 0.0

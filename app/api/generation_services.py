"""What the routes call to look at generations."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from app.domain.comparison import Comparison
from app.domain.generations import GenerationStatus
from app.domain.points import SearchFilter, SearchMode


class Generations(Protocol):
    """What callers read of generations."""

    async def list(self, user_id: UUID, id_or_name: str) -> Sequence[GenerationStatus]:
        """Those that were not dropped, newest first. Raises CollectionNotFoundError."""
        ...


class Comparisons(Protocol):
    """Asks two generations."""

    async def compare(
        self,
        user_id: UUID,
        id_or_name: str,
        *,
        queries: Sequence[str],
        mode: SearchMode,
        limit: int,
        filter: SearchFilter,  # noqa: A002 — the field's standard term
        generation: str | None,
    ) -> Comparison:
        """Raises CollectionNotFoundError, CollectionNotReadyError, NothingToCompareError, GenerationUnknownError."""
        ...

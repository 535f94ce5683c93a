"""Two generations in memory, and what comparing them gives."""

# ruff: noqa: ARG002 — doubles take what the services take, and use little of it

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app.domain.collections import Generation, GenerationState
from app.domain.comparison import Change, ComparedHit, ComparedQuery, ComparedSide, Comparison
from app.domain.documents import Chunking
from app.domain.errors import CollectionNotFoundError
from app.domain.generations import GenerationStatus
from app.domain.points import Hit, SearchFilter, SearchMode

NOW = datetime(2026, 3, 1, 9, 30, 7, tzinfo=UTC)


def make_generation(name: str, state: GenerationState) -> Generation:
    """A generation of some collection."""
    return Generation(
        id=uuid4(),
        collection_id=uuid4(),
        name=name,
        state=state,
        model="wordllama",
        dimension=256,
        fingerprint="f",
        canaries=b"",
        chunking=Chunking(),
        created_at=NOW,
    )


def make_hit(rank: int, path: str, text: str = "a whale") -> Hit:
    """A hit with one marked word."""
    return Hit(
        rank=rank,
        score=1 / rank,
        uri=f"file:///{path}",
        path=path,
        document_id=uuid4(),
        chunk_id=uuid4(),
        title=None,
        text=text,
        start=0,
        end=len(text),
        highlights=[(2, 7)],
    )


class FakeGenerations:
    """The collection ``handbook`` has an active generation and a retired one."""

    async def list(self, user_id: UUID, id_or_name: str) -> Sequence[GenerationStatus]:
        """Raises CollectionNotFoundError for any other."""
        if id_or_name != "handbook":
            raise CollectionNotFoundError(id_or_name)
        active, retired = (
            GenerationStatus(
                generation=make_generation(state.value, state),
                points=3,
                activated_at=NOW,
                retired_at=retired_at,
                drop_after=retired_at,
            )
            for state, retired_at in ((GenerationState.ACTIVE, None), (GenerationState.RETIRED, NOW))
        )
        return [active, retired]


@dataclass
class FakeComparisons:
    """One document went up, for every query; with an ``error`` the old side has that, and the new one its hit."""

    error: tuple[str, str] | None = None
    asked: dict[str, Any] = field(default_factory=dict)

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
        """The same for each query."""
        self.asked = {"queries": list(queries), "limit": limit, "filter": filter, "generation": generation}
        code, message = self.error or (None, None)
        old = ComparedSide(
            generation=make_generation("g1", GenerationState.RETIRED), error_code=code, error_message=message
        )
        new_hit = make_hit(1, "a.md")
        hit = ComparedHit(change=Change.UP, old=replace(new_hit, rank=2), new=new_hit)
        score: float | None = 0.5
        if self.error is not None:
            hit, score = ComparedHit(change=None, old=None, new=new_hit), None
        return Comparison(
            mode=mode,
            limit=limit,
            old=old,
            new=ComparedSide(generation=make_generation("g2", GenerationState.ACTIVE)),
            queries=[
                ComparedQuery(query=query, overlap=score, rank_biased_overlap=score, hits=[hit]) for query in queries
            ],
        )

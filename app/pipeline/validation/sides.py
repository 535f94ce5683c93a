"""What a validation compares, and what it needs for that."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from app.db.database import Database
from app.domain.collections import Generation
from app.domain.points import Hit, Vectors
from app.domain.ports import Embedder, Processes, VectorStore
from app.domain.search_settings import SearchSettings
from app.embedders.fingerprint import is_same_model
from app.evaluation.policy import DEFAULT, Policy
from app.pipeline.giving_way import GivingWay

FEWEST = 10
"""However little is to be sampled, so much is."""
SMALLER = 4

Tell = Callable[[str, int, int], Awaitable[None]]
"""Told of the progress: the stage, how much of it is done, and how much there is."""


class FindHits(Protocol):
    """Searches one generation as users' searches do; ``SearchService.find_hits`` of a collection."""

    async def __call__(
        self, generation: Generation, *, query: str, vector: Vectors | None, settings: SearchSettings, limit: int
    ) -> Sequence[Hit]:
        """The best documents, best first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A generation and the model it was built with, which also embeds the queries that are asked of it."""

    generation: Generation
    embedder: Embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenQuery:
    """A query that people ask, and grades of the documents that answer it if somebody has judged them."""

    text: str
    relevant: Mapping[UUID, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is sampled of what is too much to look at all of it.

    Attributes:
        texts: chunks that are embedded again.
        words: chunks that are searched for by their words.
        neighbours: points whose nearest neighbours are looked for, with the index and without.
        filters: documents whose points are counted by a filter.
        recut: documents that are cut again.
        documents: documents that queries are made of, up to three each.
        given: given queries that are asked.
        at_once: searches at the same time.
    """

    texts: int = 500
    words: int = 100
    neighbours: int = 200
    filters: int = 50
    recut: int = 100
    documents: int = 200
    given: int = 500
    at_once: int = 2

    def scaled(self, share: float) -> "Sizes":
        """A share of each, and never next to nothing."""
        sampled = ("texts", "words", "neighbours", "filters", "recut", "documents", "given")
        return replace(self, **{name: max(FEWEST, round(getattr(self, name) * share)) for name in sampled})


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One validation: a new generation beside the one that serves.

    Attributes:
        is_same_text: whether both were made from documents that were extracted in the same way.
        given: queries beside those made of documents.
        tokenizer: a file that says how many tokens a text has for the new model; None is the packaged one.
        seed: the same seed and the same data give the same samples.
    """

    database: Database
    store: VectorStore
    processes: Processes
    find_hits: FindHits
    old: Side
    new: Side
    policy: Policy = DEFAULT
    is_same_text: bool = True
    given: Sequence[GivenQuery] = ()
    tokenizer: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    tell: Tell
    giving_way: GivingWay = field(init=False, default_factory=GivingWay)

    def give_way(self) -> AbstractAsyncContextManager[None]:
        """Around what keeps this machine or the stores busy; see ``RebuildContext``."""
        return self.giving_way.turn(self.database)

    async def choose_portion(self, usual: int) -> int:
        """How much to take in hand at once: a quarter of what is usual while people search, for they wait for it."""
        await self.giving_way.look(self.database)
        return max(1, usual // SMALLER) if self.giving_way.rest else usual

    @property
    def collection_id(self) -> UUID:
        """Whose generations these are."""
        return self.new.generation.collection_id

    @property
    def is_same_model(self) -> bool:
        """Whether both have one model, whatever its name."""
        return is_same_model(self.old.generation.canaries, self.new.generation.canaries)

    @property
    def is_same_cut(self) -> bool:
        """Whether both have the same chunks."""
        return self.is_same_text and self.old.generation.chunking == self.new.generation.chunking

"""What the parts of a rebuild share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from app.domain.collections import Generation
from app.domain.documents import Source
from app.domain.ports import DocumentSource
from app.domain.rebuilds import Level
from app.pipeline.context import IngestContext
from app.pipeline.giving_way import GivingWay


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildContext:
    """What a rebuild needs.

    Attributes:
        ingest: the stages' context; its generation is the one that is made.
        old: the active generation, whose texts it is made of.
        is_same_model: whether both have one model, so that equal texts have equal vectors.
    """

    ingest: IngestContext
    old: Generation
    level: Level
    is_same_model: bool
    open_source: Callable[[Source], AbstractAsyncContextManager[DocumentSource]]
    giving_way: GivingWay = field(default_factory=GivingWay)

    def give_way(self) -> AbstractAsyncContextManager[None]:
        """Around what keeps this machine or the stores busy: while people search, one such thing at a time."""
        return self.giving_way.turn(self.ingest.database, is_hurried=self.ingest.should_yield)

    @property
    def generation(self) -> Generation:
        """The one that is made."""
        return self.ingest.generation

"""How it stands with the generations of a collection."""

from dataclasses import dataclass
from datetime import datetime

from app.domain.collections import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStatus:
    """A generation that was not dropped.

    Attributes:
        points: how many the manifest says it must hold.
        drop_after: until when a retired one is kept; None while nobody has said so.
    """

    generation: Generation
    points: int
    activated_at: datetime | None
    retired_at: datetime | None
    drop_after: datetime | None

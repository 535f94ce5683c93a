"""What people who searched thought of the documents they got."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.errors import ConflictError, InvalidInputError

HIGHEST = 3
"""Of a grade; 0 is not relevant. A thumb up is 1, one down 0."""
MOST_JUDGMENTS = 10_000
"""Of a collection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """What a user thought of a document as an answer to a query, the last time.

    Attributes:
        uri: of the document, as it was then; the document may be gone.
    """

    id: int
    user_id: UUID
    query: str = field(repr=False)
    document_id: UUID
    uri: str
    grade: int
    at: datetime

    @property
    def query_id(self) -> str:
        """The same for the same query."""
        return query_id_of(self.query)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentCounts:
    """How much was judged: pairs of a query and a document, and different queries."""

    judgments: int
    queries: int


def query_id_of(query: str) -> str:
    """A name of a query that a column of TREC can hold."""
    return f"q-{hashlib.sha256(query.encode()).hexdigest()[:16]}"


class TooManyJudgmentsError(ConflictError):
    """A collection, or a query in it, has as many judgments as are kept."""

    code = "too_many_judgments"

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"{what} has {most} judgments, which is the most; take some back first")


class NoJudgmentsError(InvalidInputError):
    """Nobody has judged anything in a collection."""

    code = "no_judgments"

    def __init__(self, collection: str) -> None:
        super().__init__(f"nobody has judged a document of collection {collection!r} yet")

"""Which documents of a collection the judged documents of a dataset are."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.domain.benchmark_datasets import DatasetQuery


class MatchStep(StrEnum):
    """By what a document was found; earlier ones are tried first."""

    ID = "id"
    URI = "uri"
    CONTENT_HASH = "content_hash"
    PATH = "path"
    NAME = "name"


class MissReason(StrEnum):
    """Why a judged document is none of the collection that can be found."""

    UNMAPPED = "unmapped"
    AMBIGUOUS = "ambiguous"
    DOCUMENT_FAILED = "document_failed"
    NEEDS_OCR = "needs_ocr"
    REMOVED = "removed"
    NOT_INDEXED = "not_indexed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The document that a judged one is."""

    document_id: UUID
    step: MatchStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A document that a judged one may be."""

    document_id: UUID
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Why there is none; of several ``candidates`` the first few by URI, and how many there are."""

    reason: MissReason
    step: MatchStep | None = None
    candidates: tuple[Candidate, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetMapping:
    """What became of each judged document: it is in one of the two."""

    matches: Mapping[str, Match]
    misses: Mapping[str, Miss]

    def grades_of(self, query: DatasetQuery) -> dict[UUID, int]:
        """Grades by document; where several judged ones are the same document, the highest of theirs."""
        grades: dict[UUID, int] = {}
        for judged in query.relevant:
            match = self.matches.get(judged.doc)
            if match is not None:
                grades[match.document_id] = max(judged.grade, grades.get(match.document_id, judged.grade))
        return grades


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedDocument:
    """A judged document, as the dataset calls it, and why it is none of the collection."""

    doc: str
    miss: Miss


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a dataset a collection has; judged documents are counted once, however often they were judged.

    Attributes:
        judged: documents with a judgment.
        mapped: those that the collection has, by how they were found.
        missed: the others, by why.
        merged: how many of the mapped ones are the same document as another one.
        relevant: judged documents that are relevant to some query, and how many of them the collection has.
        ambiguous: the first of those that may be several documents.
        unmapped: the first of the others.
        queries: all of them.
        lost_queries: those without any relevant document in the collection, and the ids of the first.
    """

    judged: int
    mapped: Mapping[MatchStep, int]
    missed: Mapping[MissReason, int]
    merged: int
    relevant: int
    relevant_mapped: int
    ambiguous: tuple[MissedDocument, ...]
    unmapped: tuple[MissedDocument, ...]
    queries: int
    lost_queries: int
    lost_query_ids: tuple[str, ...]

    @property
    def judged_share(self) -> float:
        """Of the judged documents, how many the collection has; 0 to 1."""
        return sum(self.mapped.values()) / self.judged if self.judged else 0.0

    @property
    def relevant_share(self) -> float:
        """Of the relevant documents, how many the collection has; 0 to 1."""
        return self.relevant_mapped / self.relevant if self.relevant else 0.0

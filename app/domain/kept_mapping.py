"""What the judged documents of a dataset are in a collection, as a benchmark keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.benchmark_datasets import DatasetQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMapping:
    """The documents of a collection by what a dataset calls them, at the moment a benchmark began.

    Attributes:
        documents: ids as text; what the collection does not have is missing.
        reasons: why that is so.
        coverage: how much of the dataset the collection has, for people.
        mark: what the collection had then, to see whether it has changed.
    """

    documents: Mapping[str, str]
    reasons: Mapping[str, str] = field(default_factory=dict)
    coverage: Mapping[str, Any] = field(default_factory=dict)
    mark: str = ""

    def to_config(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "documents": dict(self.documents),
            "reasons": dict(self.reasons),
            "coverage": dict(self.coverage),
            "mark": self.mark,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "KeptMapping":
        """As it was stored."""
        return cls(
            documents=config["documents"],
            reasons=config["reasons"],
            coverage=config["coverage"],
            mark=config["mark"],
        )

    def grades_of(self, query: DatasetQuery) -> dict[str, int]:
        """Grades by document id, or by what the dataset calls a document that the collection does not have.

        Of several judgments of one document the highest counts.
        """
        grades: dict[str, int] = {}
        for judged in query.relevant:
            key = self.documents.get(judged.doc, judged.doc)
            grades[key] = max(grades.get(key, judged.grade), judged.grade)
        return grades

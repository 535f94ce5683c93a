"""A dataset for those who have no judgments: queries made of the documents that answer them. A pure function."""

from collections.abc import Sequence

from app.db.validation import TextDocument
from app.domain.benchmark_datasets import (
    MOST_JUDGMENTS,
    MOST_QUERIES,
    DatasetContent,
    DatasetFormat,
    DatasetQuery,
    JudgedDocument,
)
from app.pipeline.validation.queries import make_queries

SOURCE = "titles, first sentences and rare words of documents"


def make_synthetic(documents: Sequence[TextDocument]) -> DatasetContent:
    """At most ``MOST_QUERIES`` known-item queries; ``doc`` is the id of a document, and its grade is 1.

    Documents that give the same query answer it together. A query of more documents than may be judged finds nothing
    that can be told apart, and is left out.
    """
    found: dict[str, dict[str, None]] = {}
    for query in make_queries(documents):
        found.setdefault(query.text, {}).update(dict.fromkeys(map(str, query.relevant)))
    useful = {text: docs for text, docs in found.items() if len(docs) <= MOST_JUDGMENTS}
    kept = list(useful.items())[:MOST_QUERIES]
    notes = [
        (len(found) - len(useful), f"queries were left out, for each was made of more than {MOST_JUDGMENTS} documents"),
        (len(useful) - len(kept), f"queries were left out, for {MOST_QUERIES} are the most"),
    ]
    return DatasetContent(
        format=DatasetFormat.SYNTHETIC,
        queries=tuple(
            DatasetQuery(
                query_id=f"s{number}", text=text, relevant=tuple(JudgedDocument(doc=doc, grade=1) for doc in docs)
            )
            for number, (text, docs) in enumerate(kept, start=1)
        ),
        source=f"{SOURCE} ({len(documents)} documents)",
        notes=tuple(f"{count} {what}" for count, what in notes if count),
    )

"""How much of a dataset a collection has."""

from collections import Counter
from collections.abc import Iterable

from app.domain.benchmark_datasets import DatasetContent
from app.domain.dataset_mapping import Coverage, DatasetMapping, MissedDocument, MissReason

SHOWN = 20


def list_docs(content: DatasetContent) -> list[str]:
    """All judged documents as the dataset calls them, each once, in their order."""
    return list(dict.fromkeys(judged.doc for query in content.queries for judged in query.relevant))


def measure_coverage(content: DatasetContent, mapping: DatasetMapping) -> Coverage:
    """What ``mapping``, of all of the dataset's documents, amounts to."""
    docs = list_docs(content)
    relevant = {judged.doc for query in content.queries for judged in query.relevant if judged.grade > 0}
    misses = [MissedDocument(doc=doc, miss=mapping.misses[doc]) for doc in docs if doc in mapping.misses]
    lost = [
        query.query_id
        for query in content.queries
        if not any(judged.grade > 0 and judged.doc in mapping.matches for judged in query.relevant)
    ]
    return Coverage(
        judged=len(docs),
        mapped=Counter(match.step for match in mapping.matches.values()),
        missed=Counter(missed.miss.reason for missed in misses),
        merged=len(mapping.matches) - len({match.document_id for match in mapping.matches.values()}),
        relevant=len(relevant),
        relevant_mapped=len(relevant & mapping.matches.keys()),
        ambiguous=_first(missed for missed in misses if missed.miss.reason is MissReason.AMBIGUOUS),
        unmapped=_first(missed for missed in misses if missed.miss.reason is not MissReason.AMBIGUOUS),
        queries=len(content.queries),
        lost_queries=len(lost),
        lost_query_ids=tuple(lost[:SHOWN]),
    )


def _first(missed: Iterable[MissedDocument]) -> tuple[MissedDocument, ...]:
    return tuple(missed)[:SHOWN]

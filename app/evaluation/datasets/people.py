"""A dataset of what people who searched thought of documents. A pure function."""

from collections.abc import Sequence

from app.domain.benchmark_datasets import LONGEST_DOC, MOST_QUERIES, DatasetContent, DatasetFormat
from app.domain.judgments import Judgment, query_id_of
from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.problems import Problems


def collect_judgments(judgments: Sequence[Judgment], *, source: str) -> DatasetContent:
    """The queries in the order in which they were judged first.

    A document goes by its URI, or by its id if that is too long. Where several people judged the same, the last one is
    right. Of more queries than a dataset has some are chosen by chance.
    """
    last = {(judged.query, judged.uri): judged for judged in sorted(judgments, key=lambda judged: judged.at)}
    kept = sorted(last.values(), key=lambda judged: judged.id)
    draft = Draft(Problems())
    for query in dict.fromkeys(judged.query for judged in kept):
        draft.add_query(source, query_id_of(query), query)
    for judged in kept:
        doc = judged.uri if len(judged.uri) <= LONGEST_DOC else str(judged.document_id)
        draft.add_judgment(source, judged.query_id, doc, judged.grade)
    return draft.build(DatasetFormat.JUDGMENTS, source, limit_queries=MOST_QUERIES)

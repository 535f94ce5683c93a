"""A dataset while its files are read."""

import hashlib
import re
from collections.abc import Sequence

from app.domain.benchmark_datasets import (
    HIGHEST_GRADE,
    LONGEST_DOC,
    LONGEST_QUERY,
    LONGEST_QUERY_ID,
    LOWEST_GRADE,
    MOST_JUDGMENTS,
    MOST_QUERIES,
    DatasetContent,
    DatasetFormat,
    DatasetQuery,
    DatasetTooLargeError,
    JudgedDocument,
)
from app.evaluation.datasets.problems import Problems, shown

GRADE = re.compile(r"([+-]?\d{1,3})(?:\.0+)?")
BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


class Draft:
    """Takes queries, then judgments, wherever they come from; what is wrong with them goes to ``problems``."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._queries: dict[str, str] = {}
        self._judged: dict[str, dict[str, int]] = {}
        self._repeated = 0

    def add_query(self, where: str, query_id: object, text: object) -> None:
        """A query; numbers are as good as ids as texts are."""
        name = _to_id(query_id)
        if name is None or BLANK.search(name) or not 0 < len(name) <= LONGEST_QUERY_ID:
            what = f"the id of a query is a text of 1 to {LONGEST_QUERY_ID} characters without spaces"
            self._problems.add(where, f"{what}, not {shown(query_id)}")
            return
        if name in self._queries:
            self._problems.add(where, f"there is a query {shown(name)} before; give each an id of its own")
            return
        # also if its text is wrong: its judgments are not
        self._queries[name] = text.strip() if isinstance(text, str) else ""
        if not isinstance(text, str) or not text.strip():
            self._problems.add(where, f"query {shown(name)} has no text")
        elif "\0" in text or len(text) > LONGEST_QUERY:
            self._problems.add(where, f"the text of a query has at most {LONGEST_QUERY} characters, none of them NUL")

    def add_judgment(self, where: str, query_id: object, doc: object, grade: object) -> None:
        """A judgment of a query that was added."""
        name, document, number = _to_id(query_id), _to_id(doc), _to_grade(grade)
        if name is None or name not in self._queries:
            self._problems.add(where, f"there is no query {shown(query_id)}; add it, or take its judgments out")
        elif document is None or not document.strip() or "\0" in document or len(document) > LONGEST_DOC:
            what = f"a document is named by a text of 1 to {LONGEST_DOC} characters, none of them NUL"
            self._problems.add(where, f"{what}, not {shown(doc)}")
        elif number is None or not LOWEST_GRADE <= number <= HIGHEST_GRADE:
            what = f"a grade is an integer from {LOWEST_GRADE} to {HIGHEST_GRADE}"
            self._problems.add(where, f"{what}, not {shown(grade)}")
        else:
            self._judge(where, name, document, number)

    def _judge(self, where: str, query_id: str, doc: str, grade: int) -> None:
        judged = self._judged.setdefault(query_id, {})
        if doc not in judged:
            judged[doc] = grade
        elif judged[doc] == grade:
            self._repeated += 1
        else:
            what = f"document {shown(doc)} of query {shown(query_id)} was judged {judged[doc]} before, and {grade} here"
            self._problems.add(where, f"{what}; keep one of them")

    def build(
        self,
        format: DatasetFormat,  # noqa: A002 — the field's name
        source: str,
        *,
        limit_queries: int | None = None,
    ) -> DatasetContent:
        """The dataset.

        Args:
            format: how it came.
            source: what it was read from.
            limit_queries: of more queries so many are chosen by chance, which chooses the same ones each time.

        Raises:
            InvalidDatasetError: if there are problems, or no judgments.
            DatasetTooLargeError: if there are more queries, or more judgments of one, than are taken.
        """
        judged = [name for name in self._queries if self._judged.get(name)]
        if not judged:
            self._problems.add(source, "no query has a judgment")
        self._problems.raise_any()
        chosen = judged if limit_queries is None else _choose(judged, limit_queries)
        self._require_few(chosen)
        said = [
            (len(self._queries) - len(judged), "queries have no judgments and are left out"),
            (len(judged) - len(chosen), f"of {len(judged)} queries were left out by chance"),
            (self._repeated, "judgments were said twice, and count once"),
            (sum(max(self._judged[name].values()) <= 0 for name in chosen), "queries have no relevant document"),
        ]
        return DatasetContent(
            format=format,
            queries=tuple(self._query(name) for name in chosen),
            source=source,
            notes=tuple(f"{count} {what}" for count, what in said if count),
        )

    def _query(self, name: str) -> DatasetQuery:
        relevant = tuple(JudgedDocument(doc=doc, grade=grade) for doc, grade in self._judged[name].items())
        return DatasetQuery(query_id=name, text=self._queries[name], relevant=relevant)

    def _require_few(self, chosen: Sequence[str]) -> None:
        if len(chosen) > MOST_QUERIES:
            raise DatasetTooLargeError(
                f"{len(chosen)} queries have judgments, and at most {MOST_QUERIES} are taken; have some of them chosen"
                f" by chance with limit_queries={MOST_QUERIES} (--limit-queries), or send a part"
            )
        many = [name for name in chosen if len(self._judged[name]) > MOST_JUDGMENTS]
        if many:
            raise DatasetTooLargeError(
                f"{len(many)} queries have more than {MOST_JUDGMENTS} judgments, as query {shown(many[0])} with"
                f" {len(self._judged[many[0]])}; take those queries out, or some of their judgments"
            )


def _choose(names: Sequence[str], limit: int) -> list[str]:
    """In the order in which they came."""
    chosen = set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:limit])
    return [name for name in names if name in chosen]


def _to_id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _to_grade(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, int):
        return value
    match = GRADE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(match[1]) if match else None

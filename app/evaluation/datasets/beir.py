"""Datasets as BEIR lays them out: ``queries.jsonl``, and ``qrels/*.tsv`` for each split."""

from collections.abc import Mapping

import orjson

from app.domain.benchmark_datasets import DatasetContent, DatasetFormat
from app.evaluation.datasets.choose import base_name, choose_file
from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.problems import Problems, read_lines

QUERIES = "queries.jsonl"
JUDGMENTS = ".tsv"
HEADER = "query-id"


def read_beir(files: Mapping[str, bytes], *, split: str | None, limit_queries: int | None) -> DatasetContent:
    """Raises InvalidDatasetError, DatasetTooLargeError."""
    queries = choose_file([name for name in files if base_name(name) == QUERIES], split=None, what="queries")
    judged = choose_file([name for name in files if name.endswith(JUDGMENTS)], split=split, what="judgments (qrels)")
    problems = Problems()
    draft = Draft(problems)
    for where, line in read_lines(queries, files[queries]):
        _read_query(draft, problems, where, line)
    for number, (where, line) in enumerate(read_lines(judged, files[judged])):
        columns = line.split("\t")
        if number == 0 and columns[0].strip().lower() == HEADER:
            continue
        if len(columns) == 3:
            draft.add_judgment(where, columns[0].strip(), columns[1].strip(), columns[2])
        else:
            problems.add(
                where, f"a judgment is query-id, corpus-id and score with tabs between, not {len(columns)} columns"
            )
    return draft.build(DatasetFormat.BEIR, f"{queries}, {judged}", limit_queries=limit_queries)


def _read_query(draft: Draft, problems: Problems, where: str, line: str) -> None:
    try:
        query = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problems.add(where, f"is no JSON ({error.msg})")
        return
    if not isinstance(query, dict) or "_id" not in query or "text" not in query:
        problems.add(where, "a query is an object with `_id` and `text`")
        return
    draft.add_query(where, query["_id"], query["text"])

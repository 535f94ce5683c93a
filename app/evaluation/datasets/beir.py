"""Datasets as BEIR lays them out: ``queries.jsonl``, and ``qrels/*.tsv`` for each split."""

from collections.abc import Mapping

import orjson

from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.layout import Layout
from app.evaluation.datasets.problems import Problems, read_lines

HEADER = "query-id"


def read_beir(layout: Layout, files: Mapping[str, bytes], draft: Draft, problems: Problems) -> None:
    """Raises InvalidDatasetError for a file that is no text."""
    for where, line in read_lines(layout.queries, files[layout.queries]):
        _read_query(draft, problems, where, line)
    for number, (where, line) in enumerate(read_lines(layout.judgments, files[layout.judgments])):
        columns = line.split("\t")
        if number == 0 and columns[0].strip().lower() == HEADER:
            continue
        if len(columns) == 3:
            draft.add_judgment(where, columns[0].strip(), columns[1].strip(), columns[2])
        else:
            what = f"not {len(columns)} columns"
            problems.add(where, f"a judgment is query-id, corpus-id and score with tabs between, {what}")


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

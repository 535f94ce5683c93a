"""Datasets in one JSON document of our own."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.domain.benchmark_datasets import InvalidDatasetError
from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.layout import Layout
from app.evaluation.datasets.problems import Problems, decode

SCHEMA_VERSION = 1
ADVICE = '{"schema_version": 1, "queries": [{"query_id", "text", "relevant": [{"doc", "grade"}]}]}'


def read_plain(layout: Layout, files: Mapping[str, bytes], draft: Draft, problems: Problems) -> None:
    """A place is a path, as ``queries[3].relevant[0]``. Raises InvalidDatasetError for a file that is no such thing."""
    name = layout.queries
    for number, query in enumerate(_load(name, files[name])):
        _read_query(draft, problems, f"{name}: queries[{number}]", query)


def _load(name: str, content: bytes) -> list[Any]:
    try:
        document = orjson.loads(decode(name, content))
    except orjson.JSONDecodeError as error:
        raise InvalidDatasetError(f"{name}:{error.lineno}: is no JSON ({error.msg})") from error
    queries = document.get("queries") if isinstance(document, dict) else None
    if not isinstance(queries, list):
        raise InvalidDatasetError(f"{name}: is no dataset; it must be {ADVICE}")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise InvalidDatasetError(f"{name}: schema_version must be {SCHEMA_VERSION}; it must be {ADVICE}")
    return queries


def _read_query(draft: Draft, problems: Problems, where: str, query: object) -> None:
    if not isinstance(query, dict) or not query.keys() >= {"query_id", "text", "relevant"}:
        problems.add(where, "a query is an object with `query_id`, `text` and `relevant`")
        return
    draft.add_query(where, query["query_id"], query["text"])
    if not isinstance(query["relevant"], list):
        problems.add(f"{where}.relevant", "must be a list")
        return
    for number, judged in enumerate(query["relevant"]):
        place = f"{where}.relevant[{number}]"
        if isinstance(judged, dict) and judged.keys() >= {"doc", "grade"}:
            draft.add_judgment(place, query["query_id"], judged["doc"], judged["grade"])
        else:
            problems.add(place, "a judgment is an object with `doc` and `grade`")

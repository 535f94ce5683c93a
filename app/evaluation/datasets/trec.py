"""Datasets as TREC has them: topics, and qrels of four columns."""

import html
import re
from collections.abc import Mapping

from app.evaluation.datasets.draft import Draft
from app.evaluation.datasets.layout import Layout
from app.evaluation.datasets.problems import Problems, decode, read_lines

TAG = re.compile(r"<(/?)([A-Za-z]{1,20})>")
LABEL = re.compile(r"\A\s*(?:number|topic|title)\s*:", re.IGNORECASE)


def read_trec(layout: Layout, files: Mapping[str, bytes], draft: Draft, problems: Problems) -> None:
    """Raises InvalidDatasetError for a file that is no text."""
    name = layout.queries
    text = decode(name, files[name])
    if "<top>" in text.lower():
        _read_topics(draft, problems, name, text)
    else:
        _read_rows(draft, problems, name, files[name])
    for where, line in read_lines(layout.judgments, files[layout.judgments]):
        columns = line.split()
        if len(columns) == 4:
            draft.add_judgment(where, columns[0], columns[2], columns[3])
        else:
            problems.add(where, f"a judgment is topic, iteration, document and grade, not {len(columns)} columns")


def _read_rows(draft: Draft, problems: Problems, name: str, content: bytes) -> None:
    for where, line in read_lines(name, content):
        query_id, tab, text = line.partition("\t")
        if tab:
            draft.add_query(where, query_id.strip(), text)
        else:
            problems.add(where, "a topic is `<top>…</top>`, or an id and a text with a tab between")


def _read_topics(draft: Draft, problems: Problems, name: str, text: str) -> None:
    """Topics in the tags of TREC, of which many are never closed; what is neither number nor title is passed over."""
    line, place = 1, 0
    fields: dict[str, str] | None = None
    where, begun = "", None
    for tag in TAG.finditer(text):
        if begun is not None and fields is not None:
            fields.setdefault(begun, text[place : tag.start()])
        line += text.count("\n", place, tag.end())
        place = tag.end()
        closes, kind = bool(tag[1]), tag[2].lower()
        if kind == "top":
            if fields is not None:
                _add_topic(draft, problems, where, fields)
            fields, where = (None, "") if closes else ({}, f"{name}:{line}")
        begun = None if closes or kind == "top" else kind
    if fields is not None:
        problems.add(where, "the topic has no </top>")


def _add_topic(draft: Draft, problems: Problems, where: str, fields: Mapping[str, str]) -> None:
    if "num" not in fields or "title" not in fields:
        problems.add(where, "a topic has <num> and <title>")
        return
    draft.add_query(where, _clean(fields["num"]), html.unescape(_clean(fields["title"])))


def _clean(field: str) -> str:
    """Without the label that old topics repeat before what it says."""
    return " ".join(LABEL.sub("", field).split())

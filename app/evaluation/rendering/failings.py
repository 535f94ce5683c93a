"""The queries that were answered worst: what was expected, what was found, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Fold, Paragraph, Section, Table, columns
from app.evaluation.rendering.values import ABSENT, amount, number, score
from app.evaluation.rendering.words import explain

MOST_QUERIES = 25
MOST_EXPECTED, MOST_FOUND = 12, 10


def describe_worst(report: Mapping[str, Any]) -> Section | None:
    """A fold for each query, the worst one first."""
    worst: Sequence[Mapping[str, Any]] = report.get("worst") or ()
    if not worst:
        return None
    folds = [_describe_query(query, str(report.get("primary"))) for query in worst[:MOST_QUERIES]]
    return Section(name="worst", heading="Worst queries", blocks=(*folds, *tell_rest(len(worst), MOST_QUERIES)))


def tell_rest(count: int, shown: int) -> list[Paragraph]:
    """How many are not shown, if any."""
    return [Paragraph(text=f"… and {count - shown} more in the JSON report.")] if count > shown else []


def _describe_query(query: Mapping[str, Any], primary: str) -> Fold:
    expected, found = query.get("expected") or (), query.get("found") or ()
    listed = min(len(expected), MOST_EXPECTED)
    more = int(number(query.get("relevant")) or len(expected)) - listed
    blocks: list[Block] = [_list_expected(expected), *([Paragraph(text=f"… and {more} more.")] if more > 0 else [])]
    if found:
        blocks += [_list_found(found), *tell_rest(len(found), MOST_FOUND)]
    if not found:
        blocks.append(Paragraph(text="Nothing was found."))
    summary = f"{primary} {score(query.get('value'))} · {query.get('query')} · id {query.get('query_id')}"
    return Fold(summary=summary, blocks=tuple(blocks))


def _list_expected(expected: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            name_document(one.get("document")),
            Cell(text=_tell_why(one)),
            Cell(text=amount(one.get("grade"))),
            Cell(text=amount(one.get("rank"))),
        )
        for one in expected[:MOST_EXPECTED]
    )
    return Table(caption="Expected", columns=columns("document", "why", numbers=("grade", "rank")), rows=rows)


def _list_found(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (name_document(one.get("document")), Cell(text=amount(one.get("rank"))), _tell_grade(one.get("grade")))
        for one in found[:MOST_FOUND]
    )
    return Table(caption="Found", columns=columns("document", numbers=("rank", "grade")), rows=rows)


def _tell_why(expected: Mapping[str, Any]) -> str:
    if expected.get("why") or expected.get("rank") is None:
        return explain(expected.get("why"))
    return "It was found where people look."


def _tell_grade(grade: object) -> Cell:
    return Cell(text="not judged" if grade is None else amount(grade))


def name_document(document: object) -> Cell:
    """By its title and URI; a name alone, or the id, if there is nothing else."""
    if not isinstance(document, Mapping):
        return Cell(text=str(document) if document else ABSENT)
    title, uri = (str(document.get(name) or "").strip() for name in ("title", "uri"))
    return Cell(text=title or uri or str(document.get("id") or ABSENT), note=uri if title else "")

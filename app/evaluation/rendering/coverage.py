"""How much of the dataset the collection has, and what it lacks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Fold, Paragraph, Section, Table, cells, columns
from app.evaluation.rendering.values import amount, number, share
from app.evaluation.rendering.words import MAPPED_BY, WHY, explain, read_code, tell_facts

MOST_DOCUMENTS = 50
MOST_CANDIDATES = 5
AMBIGUOUS = "ambiguous"
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "judged": "judged documents",
        "mapped": "of them found in the collection",
        "merged": "that turned out to be one with another",
        "relevant": "relevant documents",
        "relevant_mapped": "of them found in the collection",
        "queries": "queries",
        "queries_without_relevant": "of them without a relevant document",
    }
)
SHARES: Mapping[str, str] = MappingProxyType(
    {"share": "share of the judged documents found", "relevant_share": "share of the relevant documents found"}
)


def describe_coverage(report: Mapping[str, Any]) -> Section | None:
    """Counts, how documents were recognised, and those that were not."""
    coverage: Mapping[str, Any] = report.get("coverage") or {}
    if not coverage:
        return None
    counts = {name: value for name, value in coverage.items() if name not in SHARES}
    table = tell_facts("Judged documents in the collection", counts, NAMES)
    shares = tuple(cells(words, share(coverage.get(name))) for name, words in SHARES.items() if name in coverage)
    blocks: list[Block] = [Table(caption=table.caption, columns=table.columns, rows=(*table.rows, *shares))]
    blocks += _count("How documents were recognised", "by their", coverage.get("mapped_by"), MAPPED_BY)
    missed: Mapping[str, Any] = coverage.get("missed_by") or {}
    blocks += _count("Why documents were not recognised", "why", missed, WHY)
    ambiguous = int(number(missed.get(AMBIGUOUS)) or 0)
    others = int(sum(number(count) or 0 for count in missed.values())) - ambiguous
    blocks += _list_unmapped(coverage.get("unmapped") or (), others)
    blocks += _list_ambiguous(coverage.get("ambiguous") or (), ambiguous)
    return Section(name="coverage", heading="Coverage", blocks=tuple(blocks))


def _count(caption: str, head: str, counts: Mapping[str, Any] | None, words: Mapping[str, str]) -> list[Block]:
    if not counts:
        return []
    rows = tuple(cells(words.get(code) or read_code(code), amount(count)) for code, count in counts.items())
    return [Table(caption=caption, columns=columns(head, numbers=("documents",)), rows=rows)]


def _list_unmapped(documents: Sequence[Mapping[str, Any]], count: int) -> list[Block]:
    if not documents:
        return []
    rows = tuple(cells(str(one.get("doc")), explain(one.get("reason"))) for one in documents[:MOST_DOCUMENTS])
    table = Table(caption="Documents that cannot be found", columns=columns("document", "why"), rows=rows)
    return [_fold("Documents that cannot be found", table, len(documents), count)]


def _list_ambiguous(documents: Sequence[Mapping[str, Any]], count: int) -> list[Block]:
    if not documents:
        return []
    rows = tuple(row for one in documents[:MOST_DOCUMENTS] for row in _list_candidates(one))
    table = Table(caption="Documents with several answers", columns=columns("document", "could be"), rows=rows)
    return [_fold("Documents that could be several", table, len(documents), count)]


def _fold(words: str, table: Table, listed: int, count: int) -> Fold:
    """A report lists the first of them only; how many there are stands in its counts."""
    all_of_them = max(listed, count)
    more = all_of_them - min(listed, MOST_DOCUMENTS)
    rest = (Paragraph(text=f"… and {more} more."),) if more > 0 else ()
    return Fold(summary=f"{words}: {all_of_them}", blocks=(table, *rest))


def _list_candidates(one: Mapping[str, Any]) -> list[tuple[Cell, ...]]:
    """A row for each of the first few documents it could be."""
    doc, candidates = str(one.get("doc")), one.get("candidates") or ()
    rows = [cells(doc, str(candidate)) for candidate in candidates[:MOST_CANDIDATES]]
    more = len(candidates) - MOST_CANDIDATES
    return [*rows, cells(doc, f"and {more} more")] if more > 0 else rows

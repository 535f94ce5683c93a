"""How a benchmark was made, so that another person can make it again."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Fold, Listing, Paragraph, Section, Table, cells, columns
from app.evaluation.rendering.failings import tell_rest
from app.evaluation.rendering.runs import Run, label_run
from app.evaluation.rendering.values import ABSENT, amount, share
from app.evaluation.rendering.words import tell, tell_facts, tell_settings

MOST_IDS = 100
MOST_NOTES = 50
ASKING: Mapping[str, str] = MappingProxyType(
    {
        "queries": "queries asked, over all runs",
        "seconds": "seconds that took",
        "queries_per_second": "queries a second",
        "search_seconds": "seconds in searches, added up",
        "embed_seconds": "seconds in the model, added up",
        "concurrency": "queries asked at once",
    }
)


def describe_method(report: Mapping[str, Any], runs: Sequence[Run]) -> Section:
    """Settings of each run, how the queries were asked, and what was left out."""
    facts = (
        ("primary measure", tell(report.get("primary"))),
        ("measures", ", ".join(map(str, report.get("measures") or ())) or ABSENT),
        ("judged queries", amount(report.get("queries"))),
        ("queries that failed", amount(report.get("queries_failed"))),
    )
    rows = tuple(cells(*fact) for fact in facts)
    blocks: list[Block] = [Table(caption="The benchmark", columns=columns("what", "value"), rows=rows)]
    blocks += _list_settings(runs)
    blocks += _describe_asking(report.get("asking") or {})
    blocks += _list_left_out(report.get("left_out") or ())
    notes = [str(note) for note in report.get("notes") or ()]
    if notes:
        blocks += [
            Paragraph(text="Notes:"),
            Listing(items=tuple(notes[:MOST_NOTES])),
            *tell_rest(len(notes), MOST_NOTES),
        ]
    return Section(name="method", heading="How it was measured", blocks=tuple(blocks))


def _list_settings(runs: Sequence[Run]) -> list[Block]:
    if not runs:
        return []
    rows = tuple(
        (
            Cell(text=label_run(runs, run)),
            Cell(text=tell(run.get("mode"))),
            Cell(text=tell_settings(run.get("settings")) or "as they are"),
            Cell(text=tell(run.get("generation"))),
        )
        for run in runs
    )
    head = columns("run", "mode", "settings", "generation")
    return [Table(caption="Settings of each run", columns=head, rows=rows)]


def _describe_asking(asking: Mapping[str, Any]) -> list[Block]:
    if not asking:
        return []
    found = {name: value for name, value in asking.items() if name != "outside_share"}
    table = tell_facts("Asking", found, ASKING)
    outside = cells("share of the time outside search and model", share(asking.get("outside_share")))
    return [Table(caption=table.caption, columns=table.columns, rows=(*table.rows, outside))]


def _list_left_out(ids: Sequence[Any]) -> list[Block]:
    """Queries that cannot be measured, for nothing is relevant for them."""
    if not ids:
        return []
    rest = tell_rest(len(ids), MOST_IDS)
    listing = Listing(items=tuple(str(one) for one in ids[:MOST_IDS]))
    return [Fold(summary=f"Queries left out because nothing is relevant for them: {len(ids)}", blocks=(listing, *rest))]

"""How runs differ from one another, query by query."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.evaluation.rendering.blocks import Block, Cell, Fold, Paragraph, Plot, Section, Table, Tone, columns
from app.evaluation.rendering.plots import describe_bars, draw_bars
from app.evaluation.rendering.values import amount, chance, difference, interval, number, score

Comparison = Mapping[str, Any]

MOST_COMPARISONS = 256
MOST_WITH_QUERIES = 10
"""Comparisons whose wins and losses are listed."""
MOST_QUERIES = 10
"""Of those won, and of those lost."""
QUANTILES = (0, 5, 10, 25, 50, 75, 90, 95, 100)
"""Percent."""
BETTER = Cell(text="▲ better", tone=Tone.GOOD)
WORSE = Cell(text="▼ worse", tone=Tone.BAD)
NOT_TOLD = Cell(text="≈ not told apart", tone=Tone.UNSURE)


def describe_comparisons(report: Mapping[str, Any]) -> Section | None:
    """Tables of all pairs that were compared, with each other and with a baseline."""
    blocks = [*_tell_pairs("Differences of the primary measure between runs of this benchmark", _pairs(report))]
    baseline = report.get("against_baseline") or {}
    if _pairs(baseline):
        blocks += _tell_pairs(f"Differences from the baseline {baseline.get('benchmark_id')}", _pairs(baseline))
    if not blocks:
        return None
    method = Paragraph(
        text="Differences are paired by query. p is how likely one as large is if both are equal (randomisation test). "
        "The corrected p allows for how many pairs were compared, and decides what is told apart. The last column is "
        "the smallest difference that so many queries could be expected to show."
    )
    return Section(name="comparisons", heading="Comparisons", blocks=(*blocks, method))


def describe_queries(report: Mapping[str, Any]) -> Section | None:
    """Query by query: the first comparison as bars, then the queries that were won and lost most clearly."""
    found = [*_pairs(report), *(_mark_baseline(one) for one in _pairs(report.get("against_baseline") or {}))]
    if not found:
        return None
    folds = [fold for fold in map(_list_queries, found[:MOST_WITH_QUERIES]) if fold is not None]
    if len(found) > MOST_WITH_QUERIES:
        folds.append(Paragraph(text=f"… and {len(found) - MOST_WITH_QUERIES} more comparisons in the JSON report."))
    blocks = (*_describe_differences(found[0]), *folds)
    return Section(name="queries", heading="Query by query", blocks=blocks) if blocks else None


def _pairs(found: Mapping[str, Any]) -> Sequence[Comparison]:
    pairs: Sequence[Comparison] = found.get("comparisons") or ()
    return pairs


def _mark_baseline(comparison: Comparison) -> Comparison:
    """Runs of both benchmarks may have the same names."""
    return {**comparison, "other": f"{comparison.get('other')} of the baseline"}


def _name(comparison: Comparison) -> str:
    return f"{comparison.get('run')} beside {comparison.get('other')}"


def _judge(comparison: Comparison) -> Cell:
    if not comparison.get("significant"):
        return NOT_TOLD
    return BETTER if (number(comparison.get("difference")) or 0.0) > 0 else WORSE


def _tell_pairs(caption: str, pairs: Sequence[Comparison]) -> list[Block]:
    if not pairs:
        return []
    rows = tuple(
        (
            Cell(text=str(one.get("run"))),
            Cell(text=str(one.get("other"))),
            _judge(one),
            Cell(text=difference(one.get("difference")), note=interval(one.get("ci95"))),
            Cell(text=chance(one.get("p"))),
            Cell(text=chance(one.get("p_corrected"))),
            *(Cell(text=amount(one.get(name))) for name in ("wins", "losses", "ties")),
            Cell(text=score(one.get("smallest_difference"))),
        )
        for one in pairs[:MOST_COMPARISONS]
    )
    numbers = ("difference", "p", "p corrected", "wins", "losses", "ties", "could show")
    table = Table(caption=caption, columns=columns("run", "other", "it is", numbers=numbers), rows=rows)
    if len(pairs) <= MOST_COMPARISONS:
        return [table]
    return [table, Paragraph(text=f"… and {len(pairs) - MOST_COMPARISONS} more pairs in the JSON report.")]


def _describe_differences(comparison: Comparison) -> list[Block]:
    read = (number(value) for value in comparison.get("differences") or ())
    values = sorted(value for value in read if value is not None)
    if not values:
        return []
    caption = f"{_name(comparison)}: the difference of each query, {describe_bars(values)}"
    plot = Plot(svg=draw_bars(values, name=caption), caption=f"{caption}; above the line it was won, below it lost")
    quantiles = [values[round(percent / 100 * (len(values) - 1))] for percent in QUANTILES]
    table = Table(
        caption="Quantiles of these differences",
        columns=columns("quantile", numbers=tuple(f"{percent} %" for percent in QUANTILES)),
        rows=((Cell(text="difference"), *(Cell(text=difference(value)) for value in quantiles)),),
    )
    return [plot, table]


def _list_queries(comparison: Comparison) -> Block | None:
    """The queries that one comparison won and lost, to be unfolded."""
    tables = [
        Table(
            caption=f"{caption} most clearly",
            columns=columns("query", numbers=("difference", "value", "of the other")),
            rows=tuple(map(_show_query, queries[:MOST_QUERIES])),
        )
        for caption, queries in (("Won", comparison.get("won") or ()), ("Lost", comparison.get("lost") or ()))
        if queries
    ]
    counts = f"{amount(comparison.get('wins'))} won, {amount(comparison.get('losses'))} lost"
    return Fold(summary=f"{_name(comparison)}: {counts}", blocks=tuple(tables)) if tables else None


def _show_query(query: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        Cell(text=str(query.get("query")), note=f"id {query.get('query_id')}"),
        Cell(text=difference(query.get("difference"))),
        Cell(text=score(query.get("value"))),
        Cell(text=score(query.get("other"))),
    )

"""A report in the order in which people read it."""

from collections.abc import Mapping
from typing import Any

from app.evaluation.rendering.blocks import Document, Paragraph, Tone
from app.evaluation.rendering.comparisons import describe_comparisons, describe_queries
from app.evaluation.rendering.coverage import describe_coverage
from app.evaluation.rendering.failings import describe_worst
from app.evaluation.rendering.method import describe_method
from app.evaluation.rendering.runs import describe_latency, describe_runs, order_runs
from app.evaluation.rendering.values import amount, number, score
from app.evaluation.rendering.verdicts import describe_verdicts

SYNTHETIC = (
    "Synthetic queries: they were made from the documents themselves, no person has asked or judged them. The figures "
    "compare settings with each other; they do not say how well people's questions are answered."
)


def compose(report: Mapping[str, Any], *, title: str) -> Document:
    """Answer first, then what it rests on."""
    runs = order_runs(report)
    sections = (
        describe_verdicts(report),
        describe_runs(report, runs),
        describe_comparisons(report),
        describe_latency(runs) if runs else None,
        describe_queries(report),
        describe_worst(report),
        describe_coverage(report),
        describe_method(report, runs),
    )
    return Document(
        title=title,
        answer=_answer(report, runs),
        banners=_warn(report),
        sections=tuple(section for section in sections if section is not None),
    )


def _answer(report: Mapping[str, Any], runs: list[Mapping[str, Any]]) -> str:
    words = str((report.get("best") or {}).get("words") or "").strip()
    if words:
        return words
    if not runs:
        return "Nothing was measured."
    primary = report.get("primary")
    return f"{runs[0].get('name')} has {primary} {score((runs[0].get('metrics') or {}).get(primary))}."


def _warn(report: Mapping[str, Any]) -> tuple[Paragraph, ...]:
    """What a reader must know before any figure."""
    banners = [Paragraph(text=SYNTHETIC, tone=Tone.UNSURE)] if report.get("is_synthetic") else []
    failed = report.get("queries_failed")
    if number(failed):
        banners.append(Paragraph(text=f"Searches that ended with an error: {amount(failed)}.", tone=Tone.BAD))
    return tuple(banners)

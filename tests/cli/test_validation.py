"""A person sees of a validation what was checked, what failed and why."""

import numpy as np

from app.cli.validation import render_report
from app.evaluation.checks import Judge
from app.evaluation.findings import Found, Overlap
from app.evaluation.policy import DEFAULT, CheckName
from app.evaluation.report import Report

JUDGE = Judge(policy=DEFAULT)


def lines_of(*names: str) -> list[list[str]]:
    """The rendered words of some checks, line by line; names choose which."""
    missing = Found()
    missing.add("a")
    checks = {
        "completeness": JUDGE.completeness(expected=7, missing=missing, extra=Found()),
        "index_health": JUDGE.index_health(np.array([1.0, 0.98765])),
        "latency": JUDGE.latency(old_ms=[20.0], new_ms=[50.0]),
        "sparse": JUDGE.unmade(CheckName.SPARSE, reason="no_texts", summary="no text has words"),
        "vectors": JUDGE.failed(CheckName.VECTORS, code="x", summary="[bold]\x1b[31m not markup"),
    }
    report = Report(checks=tuple(checks[name] for name in names))
    return [line.split() for line in render_report(report.to_dict()).splitlines()]


def test_a_report_that_passes() -> None:
    """A line for each check with its numbers; soft failures and checks that were not made are named, and refuse not."""
    lines = lines_of("index_health", "latency", "sparse")

    assert lines[0] == ["check", "value", "threshold", "detail"]
    assert lines[1][:4] == ["index_health", "ok", "0.9938", "0.95"]
    assert lines[2][:5] == ["latency", "failed,", "soft", "2.5", "2"]
    assert lines[3][:5] == ["sparse", "not", "made", "-", "0.95"]
    assert lines[-1] == ["passed"]


def test_a_report_that_refuses() -> None:
    """The last line says which checks have refused; what they say is text, and no command to the terminal."""
    lines = lines_of("index_health", "completeness", "vectors", "latency")
    text = " ".join(" ".join(line) for line in lines)

    assert lines[-1] == ["refused", "by", "completeness,", "vectors"]
    assert "7 points expected, 1 missing, 0 nobody expects" in text
    assert "[bold]" in text
    assert "\x1b" not in text


NAMES = {
    "a": {"uri": "file:///srv/a.md", "title": "Leave"},
    "b": {"uri": "file:///srv/b.md", "title": None},
    "c": {"uri": "file:///srv/[red]\x1b[31mc.md", "title": "[bold]x"},
}


def test_queries_that_moved_most_are_listed() -> None:
    """Each with the documents that are not where they were, by their URIs, new ranks first; five of each mode."""
    query = {"query": "how [b]do I", "overlap": 0.5, "old": ["a", "b", "d"], "new": ["a", "c", "b"], "documents": NAMES}
    older = {"query": "older report", "overlap": 0.0, "old": ["d"], "new": []}
    by_mode = {
        "dense": Overlap(queries=9, mean=0.8, moved=(query, *[older] * 6)),
        "hybrid": Overlap(queries=9, mean=1.0),
    }
    report = Report(checks=(JUDGE.search_overlap(by_mode, is_comparable=True),))

    text = render_report(report.to_dict())
    lines = [line.split() for line in text.splitlines()]

    begin = lines.index(["moved", "most,", "dense:"])
    assert lines[begin + 1] == ["how", "[b]do", "I", "overlap", "0.50"]
    assert lines[begin + 2] == ["new", "old", "document"]
    assert lines[begin + 3] == ["2", "-", "new", "file:///srv/[red]�[31mc.md", "—", "[bold]x"]
    assert lines[begin + 4] == ["3", "2", "↓1", "file:///srv/b.md"]
    assert lines[begin + 5] == ["-", "3", "lost", "d"]
    assert lines[begin + 6] == ["older", "report", "overlap", "0.00"]
    assert sum(line[:1] == ["older"] for line in lines) == 4
    assert lines[-1] == ["…", "and", "2", "more", "in", "the", "report"]
    assert "hybrid:" not in text
    assert "a.md" not in text
    assert "\x1b" not in text


def test_an_empty_report_is_no_pass() -> None:
    """Nothing checked is nothing shown to be well."""
    assert lines_of()[-1] == ["refused", "by", "no", "check", "at", "all"]

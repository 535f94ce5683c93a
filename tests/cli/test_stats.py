"""``vecloom stats``: figures for a script, tables for a person, a chart for a terminal."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.stats import draw_chart, show_stats
from tests.harness import run_cli

AMOUNTS = {"documents": 3, "chunks": 8, "tokens": 800, "bytes": 2048}
ANSWER = {
    "collection": "notes",
    **AMOUNTS,
    "average_chunk_tokens": 100.0,
    "changed_at": "2026-03-01T09:30:07Z",
    "by_state": {"completed": 3},
    "by_file_type": {"md": AMOUNTS, "": AMOUNTS},
    "by_source": [{"id": "x", "url": "file:///a\x1b[31m", **AMOUNTS}],
    "cache": {"hits": 1, "misses": 3, "hit_rate": 0.25},
    "searches": {"days": 7, "searches": 40, "empty": 2, "failed": 1, "average_ms": 12.345},
    "growth": [{"at": f"2026-03-01T0{hour}:00:00Z", **AMOUNTS, "chunks": hour} for hour in range(8)],
}


def shown(*, terminal: bool) -> str:
    """What a person sees."""
    console = Console(file=io.StringIO(), force_terminal=terminal, color_system=None, width=100)
    show_stats(ANSWER, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_chart_grows_to_the_right() -> None:
    """The last value is the last bar, the highest one fills all rows, and a value that is not 0 can be seen."""
    lines = draw_chart([0, 1, 50, 100], width=60, rows=2)

    assert lines == ["       100    █", "         0  ▁██"]


@pytest.mark.parametrize("values", [[0], [0, 0, 0], [5], [10**9, 1]])
def test_a_chart_of_anything_can_be_drawn(values: list[int]) -> None:
    """Few values, no chunks, very many."""
    lines = draw_chart(values, width=10, rows=4)

    assert len(lines) == 4
    assert lines[0].split()[0] == str(max(*values, 1))


def test_a_long_growth_fits_the_width() -> None:
    """Columns stand for several values; the last one for the last."""
    lines = draw_chart([*range(1000), 5], width=20, rows=1)

    assert len(lines[0]) == 11 + 20
    assert lines[0].endswith("▁")


def test_the_chart_is_for_terminals() -> None:
    """A pipe gets figures and tables; no control character of a name gets through."""
    piped, drawn = shown(terminal=False), shown(terminal=True)

    assert "notes: 3 documents, 8 chunks of 100 tokens, 2.0 KiB" in piped
    assert "none" in piped
    assert "█" not in piped
    assert "\x1b[31m" not in piped
    assert "chunks since 2026-03-01 00:00" in drawn
    assert "█" in drawn


async def test_statistics_of_a_real_collection(tmp_path: Path, folder: Path) -> None:
    """JSON is one line with what the API says; a name that does not exist is an error with status 1."""
    data = tmp_path / "data"
    indexed, _, err = await run_cli("index", str(folder), "--collection", "notes", "--json", data=data)
    status, out, _ = await run_cli("stats", "notes", "--json", data=data)
    wrong, told, _ = await run_cli("stats", "others", "--json", data=data)

    assert indexed == 0, err
    stats = json.loads(out)
    assert (status, stats["documents"], set(stats["by_file_type"])) == (0, 3, {"md", "txt", "html"})
    assert (wrong, json.loads(told)["error"]["code"]) == (1, "collection_not_found")

"""The benchmark of Vecloom beside other ingestion systems."""

from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.models import Shape, serving_model
from benchmarks.rivals.environment import PYTHON
from benchmarks.side_by_side import ALL_RIVALS, SYSTEMS, bench_side_by_side, compare, measure_rival
from benchmarks.systems import Figures
from benchmarks.tables import show


async def test_vecloom_takes_only_what_changed_in_its_second_run(bench: Bench) -> None:
    """Every file is indexed in both runs, and the second one embeds next to nothing."""
    figures = await bench_side_by_side(bench, files=40, rivals=())

    assert figures["vecloom_files_not_indexed"] == 0
    assert figures["vecloom_second_run_files_beside_those"] == 0
    assert float(figures["vecloom_documents_per_second"]) > 0
    assert float(figures["vecloom_texts_embedded"]) > 5 * float(figures["vecloom_second_run_texts_embedded"]) > 0


@pytest.mark.skipif(not PYTHON.exists(), reason="other systems have an environment of their own: make bench makes it")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rival", ALL_RIVALS)
async def test_another_system_indexes_every_file(bench: Bench, rival: str) -> None:
    """Its own count of documents after the first run is the number of files; after a change it is run again."""
    async with serving_model(Shape()) as model:
        figures = await measure_rival(bench, rival, model, 40)

    assert figures["files_not_indexed"] == 0
    assert float(figures["seconds_the_model_server_needs_at_least"]) > 0
    assert float(figures["chunks"]) >= 40
    assert float(figures["texts_embedded"]) >= float(figures["chunks"])
    assert float(figures["second_run_documents_per_second"]) > 0


def test_figures_of_no_system_stand_below_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A ratio between systems is no row of one of them."""
    figures = {f"{system}_{name}": 1 for system in SYSTEMS for name in ("configuration", "seconds")}

    show({"side-by-side": {**figures, "ratio_to_best_rival": 2.5}}, {"side-by-side": SYSTEMS})

    shown = capsys.readouterr().out
    assert "ratio to best rival: 2.5" in shown
    assert "to best rival │" not in shown


def test_a_rival_that_was_given_more_is_compared_apart() -> None:
    """The best of the others is one with its own settings, however fast the one with our parsers is."""
    rates = {"vecloom": 100, "llamaindex": 20, "haystack": 25, "cocoindex": 50, "cocoindex_given_our_parsers": 80}
    runs = ("documents_per_second", "second_run_documents_per_second")
    figures: Figures = {f"{system}_{run}": rate for system, rate in rates.items() for run in runs}

    ratios = compare(figures, tuple(ALL_RIVALS))

    assert ratios["ratio_to_best_rival"] == ratios["second_run_ratio_to_best_rival"] == 2
    assert ratios["ratio_to_cocoindex_given_our_parsers"] == 1.25


def test_each_system_has_its_own_column(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that begins another's does not take that one's figures."""
    figures: Figures = {"a_configuration": "x", "a_b_configuration": "y", "a_seconds": 11, "a_b_seconds": 22}

    show({"beside": figures}, {"beside": ("a", "a_b")})

    shown = capsys.readouterr().out
    assert "b seconds" not in shown
    assert "22" in shown

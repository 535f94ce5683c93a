"""The benchmarks of projections, on small collections."""

import pytest

from benchmarks.bench import Bench
from benchmarks.projection_cancel import STAGES
from benchmarks.projection_large import bench_projection_large
from benchmarks.projection_million import bench_projection_million
from benchmarks.projection_speed import bench_projection_speed
from benchmarks.projection_stability import bench_projection_stability

pytestmark = pytest.mark.timeout(300)


async def test_a_map_is_measured_beside_the_libraries(bench: Bench) -> None:
    """The same vectors by all of them, and how true each map is."""
    figures = await bench_projection_speed(bench, points=(1000,), tsne_points=1000)

    for name in ("1000", "1000_tsne"):
        assert float(figures[f"{name}_trustworthiness"]) > 0.8
        assert float(figures[f"{name}_layout_seconds"]) > 0
    assert float(figures["1000_umap_learn_trustworthiness"]) > 0.8
    assert float(figures["1000_tsne_scikit_learn_trustworthiness"]) > 0.8
    assert float(figures["1000_operation_to_first_fit"]) > 0


async def test_a_map_keeps_its_shape(bench: Bench) -> None:
    """When new documents come, and what is said of it is what the files say."""
    figures = await bench_projection_stability(bench, points=1000)

    assert figures["new_points"] == 50
    assert figures["begun_from"] == figures["points"] == 1000
    assert float(figures["median_displacement"]) < 0.2
    assert float(figures["median_displacement"]) == pytest.approx(
        float(figures["median_displacement_that_vecloom_says"]), abs=0.002
    )


async def test_a_large_map_is_watched_and_cancelled_everywhere(bench: Bench) -> None:
    """Its worker's event loop and memory are seen, and a cancel takes effect in every stage."""
    figures = await bench_projection_large(bench, points=20_000, sample=6000)

    assert figures["points"] == figures["laid_out"] == 20_000
    assert float(figures["layout_child_anonymous_peak_mib"]) > 20
    assert float(figures["event_loop_lag_samples"]) > 10
    assert {f"cancel_{stage}_ms" for stage in STAGES} <= figures.keys()


async def test_every_point_has_a_place(bench: Bench) -> None:
    """Where only some of them are laid out too."""
    figures = await bench_projection_million(bench, points=4000, sample=1000)

    assert (figures["points"], figures["laid_out"]) == (4000, 1000)
    assert float(figures["trustworthiness_again"]) == pytest.approx(float(figures["trustworthiness@15"]), abs=0.03)
    assert float(figures["worker_anonymous_peak_mib"]) > 20

"""How far a map moves when a few documents come in."""

from typing import TYPE_CHECKING

import numpy as np

from app.domain.projections import ProjectionChoice
from benchmarks.projection_points import CHUNKS, Filled
from benchmarks.projections import Drawing, compile_code, draw, measure_trustworthiness, remove_all
from benchmarks.systems import Figures
from benchmarks.worker import REAL

if TYPE_CHECKING:
    from benchmarks.bench import Bench

POINTS = 10_000
NEW_SHARE = 0.01


async def bench_projection_stability(bench: "Bench", points: int = POINTS) -> Figures:
    """A map, the next one with new documents, and one of the same data that begins from none."""
    await compile_code()
    choice = ProjectionChoice()
    filled = Filled(bench, "stability")
    async with Drawing(bench, bench.folder / "system") as system, system.workers(REAL, 1):
        await filled.create()
        await filled.add(points)
        first = await draw(bench, filled, choice)
        await filled.add(max(CHUNKS, round(NEW_SHARE * points)))
        second = await draw(bench, filled, choice)
        await remove_all(bench, filled)
        fresh = await draw(bench, filled, choice)
    old = len(first.coordinates)
    centred = first.coordinates - first.coordinates.mean(axis=0)
    radius = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    moved = np.linalg.norm(second.coordinates[:old] - first.coordinates, axis=1) / radius
    trustworthiness = await measure_trustworthiness(filled, second.coordinates)
    of_fresh = await measure_trustworthiness(filled, fresh.coordinates)
    return {
        "points": old,
        "new_points": len(second.coordinates) - old,
        "begun_from": second.result["begun_from"],
        "median_displacement": round(float(np.median(moved)), 4),
        "p90_displacement": round(float(np.quantile(moved, 0.9)), 4),
        "median_displacement_that_vecloom_says": round(second.result["displacement"]["median"], 4),
        "trustworthiness": round(trustworthiness, 4),
        "trustworthiness_of_a_fresh_map": round(of_fresh, 4),
        "trustworthiness_more": round(trustworthiness - of_fresh, 4),
        "seconds": round(second.seconds, 2),
        "fresh_seconds": round(fresh.seconds, 2),
    }

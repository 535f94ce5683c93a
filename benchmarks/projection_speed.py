"""A whole PROJECTION beside the libraries that lay out the same vectors, in turns."""

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from numpy.typing import NDArray

from app.domain.projections import ProjectionChoice, ProjectionMethod
from benchmarks.projection_points import Filled
from benchmarks.projection_rivals import TSNE, UMAP
from benchmarks.projections import Drawing, compile_code, draw, measure_trustworthiness, remove_all
from benchmarks.systems import Figures
from benchmarks.worker import REAL

if TYPE_CHECKING:
    from benchmarks.bench import Bench

POINTS = (2000, 10_000, 50_000)
TSNE_POINTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rival:
    """What a library made in a process of its own; ``seconds`` of each fit."""

    coordinates: NDArray[np.float32]
    import_seconds: float
    seconds: Sequence[float]


async def bench_projection_speed(
    bench: "Bench", points: Sequence[int] = POINTS, tsne_points: int = TSNE_POINTS
) -> Figures:
    """By UMAP of every size, by t-SNE of one; with our code compiled before, and the libraries as they come."""
    await compile_code()
    figures: Figures = {}
    system = Drawing(bench, bench.folder / "system")
    async with system:
        for number in sorted({*points, tsne_points}):
            filled = Filled(bench, f"points-{number}")
            async with system.workers(REAL, 1):
                await filled.create()
                await filled.add(number)
            if number in points:
                figures |= await _compare_umap(bench, system, filled, f"{number}")
            if number == tsne_points:
                figures |= await _compare_tsne(bench, system, filled, f"{number}_tsne")
    return figures


async def _compare_umap(bench: "Bench", system: Drawing, filled: Filled, name: str) -> Figures:
    """First by a worker that has just started, then by the library, then by the same worker with its child there."""
    choice = ProjectionChoice()
    async with system.workers(REAL, 1):
        fresh = await draw(bench, filled, choice)
        # else the second one would be the first one's, or begin from it
        await remove_all(bench, filled)
        rival = await _run(UMAP, filled.vectors, fits=2)
        drawn = await draw(bench, filled, choice)
    first, second = rival.seconds
    trustworthiness = await measure_trustworthiness(filled, drawn.coordinates)
    other = await measure_trustworthiness(filled, rival.coordinates)
    return {
        f"{name}_operation_seconds": round(drawn.seconds, 2),
        f"{name}_operation_of_a_fresh_worker_seconds": round(fresh.seconds, 2),
        f"{name}_umap_learn_first_fit_seconds": round(first, 2),
        f"{name}_umap_learn_second_fit_seconds": round(second, 2),
        f"{name}_umap_learn_import_seconds": round(rival.import_seconds, 2),
        f"{name}_fresh_worker_to_first_fit": round(fresh.seconds / first, 3),
        f"{name}_operation_to_first_fit": round(drawn.seconds / first, 3),
        f"{name}_operation_to_second_fit": round(drawn.seconds / second, 3),
        f"{name}_trustworthiness": round(trustworthiness, 4),
        f"{name}_umap_learn_trustworthiness": round(other, 4),
        f"{name}_trustworthiness_more": round(trustworthiness - other, 4),
    } | drawn.stages(name)


async def _compare_tsne(bench: "Bench", system: Drawing, filled: Filled, name: str) -> Figures:
    """In the same turns."""
    choice = ProjectionChoice(method=ProjectionMethod.TSNE)
    await remove_all(bench, filled)
    async with system.workers(REAL, 1):
        fresh = await draw(bench, filled, choice)
        await remove_all(bench, filled)
        rival = await _run(TSNE, filled.vectors, fits=1)
        drawn = await draw(bench, filled, choice)
    trustworthiness = await measure_trustworthiness(filled, drawn.coordinates)
    other = await measure_trustworthiness(filled, rival.coordinates)
    return {
        f"{name}_operation_seconds": round(drawn.seconds, 2),
        f"{name}_operation_of_a_fresh_worker_seconds": round(fresh.seconds, 2),
        f"{name}_scikit_learn_seconds": round(rival.seconds[0], 2),
        f"{name}_fresh_worker_to_scikit_learn": round(fresh.seconds / rival.seconds[0], 3),
        f"{name}_operation_to_scikit_learn": round(drawn.seconds / rival.seconds[0], 3),
        f"{name}_trustworthiness": round(trustworthiness, 4),
        f"{name}_scikit_learn_trustworthiness": round(other, 4),
    } | drawn.stages(name)


async def _run(name: str, vectors: Path, *, fits: int) -> _Rival:
    """In a fresh process, which finds nothing compiled: so it is for a process that takes no care of that."""
    empty = vectors.with_suffix(".numba")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.projection_rivals", name, str(vectors), str(fits)),
        env={key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
        | {"NUMBA_CACHE_DIR": str(empty)},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    await asyncio.to_thread(shutil.rmtree, empty, ignore_errors=True)
    answer = orjson.loads(said.splitlines()[-1])
    coordinates = await asyncio.to_thread(np.load, vectors.with_suffix(f".{name}.npy"))
    return _Rival(coordinates=coordinates, import_seconds=answer["import_seconds"], seconds=answer["seconds"])

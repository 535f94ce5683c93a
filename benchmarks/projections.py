"""Maps of made-up collections, drawn by a worker process, and read from their files."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.domain.operations import Operation
from app.domain.projections import ProjectionChoice, ShownProjection
from app.operations.projections import ProjectionService
from app.projection.folders import ProjectionFolder
from app.projection.points_file import IDS, read_ids
from app.projection.quality import measure_quality
from benchmarks.limit import POLL_SECONDS
from benchmarks.systems import Figures
from benchmarks.vecloom import Vecloom

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.projection_points import Filled

COMPILE = "from app.projection.warm import compile_all; compile_all()"
TRUSTWORTHINESS = "trustworthiness@15"


class Drawing(Vecloom):
    """Workers with a folder for projections."""

    def environment(self) -> dict[str, str]:
        """See the base."""
        return super().environment() | {"VECLOOM_PROJECTION_FOLDER": str(folder_of(self._bench))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A map, its points in the order of a collection's vectors.

    Attributes:
        seconds: from the request to the end.
    """

    coordinates: NDArray[np.float32]
    seconds: float
    result: Mapping[str, Any]

    def stages(self, prefix: str) -> Figures:
        """Seconds of every stage that says so, and of all the rest."""
        stages = self.result["stage_seconds"]
        said = {f"{prefix}_{name}_seconds": round(value, 2) for name, value in stages.items()}
        return said | {f"{prefix}_other_seconds": round(self.seconds - sum(stages.values()), 2)}


def folder_of(bench: "Bench") -> Path:
    """Where the projections of a stack lie."""
    return bench.parts.settings.data / "projections"


def open_service(bench: "Bench") -> ProjectionService:
    """The service of projections, over the same folder as the workers."""
    return ProjectionService(bench.parts.database, bench.operations, ProjectionFolder(folder_of(bench)))


async def compile_code() -> None:
    """Have everything compiled and kept that maps are drawn with, as it is where a worker has drawn one before."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COMPILE)
    if await process.wait():
        raise SystemExit("the code that maps are drawn with cannot be compiled")


async def ask(bench: "Bench", filled: "Filled", choice: ProjectionChoice) -> Operation:
    """Have a map drawn that is not there yet."""
    answer = await open_service(bench).create(bench.user_id, filled.name, choice)
    if isinstance(answer, ShownProjection):
        raise SystemExit(f"projection {answer.projection.id} is there already")
    return answer


async def draw(bench: "Bench", filled: "Filled", choice: ProjectionChoice) -> Drawn:
    """The same, to its end."""
    operation = await bench.wait(await ask(bench, filled, choice), poll_seconds=POLL_SECONDS)
    return await read(bench, filled, operation)


async def read(bench: "Bench", filled: "Filled", operation: Operation) -> Drawn:
    """What came of an operation that has completed."""
    result = operation.result or {}
    if result["degraded"] or operation.created_at is None or operation.finished_at is None:
        raise SystemExit(f"the map of {filled.name} is degraded: {result['degraded']}")
    _, folder = await open_service(bench).open(bench.user_id, result["projection_id"])
    return Drawn(
        coordinates=await asyncio.to_thread(_read_coordinates, filled, folder),
        seconds=(operation.finished_at - operation.created_at).total_seconds(),
        result=result,
    )


def _read_coordinates(filled: "Filled", folder: Path) -> NDArray[np.float32]:
    coordinates = np.load(folder / "coordinates.npy")
    if not np.isfinite(coordinates).all():
        raise SystemExit("some points have no place")
    return filled.order(read_ids(folder / IDS), coordinates)


async def remove_all(bench: "Bench", filled: "Filled") -> None:
    """Every map of a collection: the next one begins from none."""
    service = open_service(bench)
    for shown in await service.list(bench.user_id, filled.name, limit=100):
        await service.delete(bench.user_id, str(shown.projection.id))


async def measure_trustworthiness(filled: "Filled", coordinates: NDArray[np.float32]) -> float:
    """On the same sample for every map of as many points."""
    vectors = await asyncio.to_thread(np.load, filled.vectors, mmap_mode="r")
    rows = np.arange(len(coordinates), dtype=np.int64)
    return (await asyncio.to_thread(measure_quality, vectors, rows, coordinates, seed=0))[TRUSTWORTHINESS]

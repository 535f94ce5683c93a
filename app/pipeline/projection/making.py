"""Makes a projection in a folder: points, a first map, the layout, its meaning, its files."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.db.database import Database
from app.domain.collections import Collection, Generation
from app.domain.ports import Processes, Reporter, VectorStore
from app.domain.projections import ColourBy, MadeProjection
from app.pipeline.projection.children import run_told
from app.pipeline.projection.colours import write_categories
from app.pipeline.projection.fetch import Fetched, fetch_points
from app.pipeline.projection.spans import write_spans
from app.pipeline.projection.texts import write_previews, write_texts
from app.projection.before import INITIAL, write_initial, write_moves
from app.projection.compressed import COPY
from app.projection.layout import LayoutAnswer, LayoutRequest, Method, make_first_map, make_layout
from app.projection.steps import colour_clusters, explain_map, write_files

SECONDS = 7200.0
"""Longer than the hard limit of an operation unless somebody has raised that."""
PROGRESS = "progress.json"
SCRATCH = (
    "vectors.npy",
    "similarities.npy",
    "initial.npy",
    "first.npy",
    "texts.jsonl",
    "previews.jsonl",
    "categories.json",
    "categories.npy",
    PROGRESS,
)
"""Files that nobody needs once the projection is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Everything a projection is made from.

    Attributes:
        folder: an empty one.
        before: folders of earlier projections that this one may begin from, the newest first.
        started: when the attempt has begun, on ``time.monotonic``'s clock.
        seconds: of each step that is done.
    """

    database: Database
    store: VectorStore
    processes: Processes
    report: Reporter
    collection: Collection
    generation: Generation
    config: Mapping[str, Any]
    folder: Path
    before: Sequence[Path]
    started: float
    seconds: dict[str, float] = field(default_factory=dict)

    async def run(self) -> MadeProjection:
        """One step after the other; a map is told as soon as there is one."""
        with self._timed("fetching"):
            fetched = await fetch_points(self.store, self.generation, self.folder, self.report)
        with self._timed("first_map"):
            await self._call(make_first_map, str(self.folder), self.config["dimensions"])
        await self._tell("first")
        with self._timed("spans"):
            await write_spans(self.database, self.generation, self.folder)
        common = await self._find_initial()
        answer = await self._lay_out(initial=common > 0)
        await self._tell("layout")
        with self._timed("explaining"):
            await self._explain()
        await self._tell("labels")
        with self._timed("writing"):
            await self._write(answer, fetched)
        files = await asyncio.to_thread(_clear, self.folder)
        return MadeProjection(
            degraded=answer.degraded,
            quality=answer.quality,
            points=answer.points,
            sampled=answer.sampled,
            details=self._details(answer, fetched, common=common),
            files=files,
        )

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - started

    async def _call(self, function: Any, *args: object) -> Any:  # noqa: ANN401 — see ``Processes``
        return await self.processes.run(function, *args, timeout_seconds=SECONDS)

    async def _tell(self, stage: str) -> None:
        await self.report.send_update("projection_map", {"stage": stage})

    async def _find_initial(self) -> int:
        """How many points the newest earlier map has that can be begun from; 0 if there is none."""
        for before in self.before:
            common: int = await self._call(write_initial, str(self.folder), str(before))
            if common:
                return common
        return 0

    async def _lay_out(self, *, initial: bool) -> LayoutAnswer:
        config, folder = self.config, str(self.folder)
        request = LayoutRequest(
            method=Method(config["method"]),
            dimensions=config["dimensions"],
            parameters=config["parameters"],
            seed=config["parameters"]["seed"],
            folder=folder,
            sample=config["sample"],
            initial=str(self.folder / INITIAL) if initial else None,
            progress=str(self.folder / PROGRESS),
        )
        answer = await run_told(
            self.processes,
            self.report,
            config["method"],
            self.folder / PROGRESS,
            make_layout,
            request,
            timeout_seconds=SECONDS,
        )
        if initial:
            await self._call(write_moves, folder)
        return answer

    async def _explain(self) -> None:
        texts = await write_texts(self.database, self.generation, self.folder, seed=self.config["parameters"]["seed"])
        await self._call(explain_map, str(self.folder), str(texts))

    async def _write(self, answer: LayoutAnswer, fetched: Fetched) -> None:
        previews = await write_previews(self.database, self.generation, self.folder)
        categories = await self._choose_colours()
        request = {
            "folder": str(self.folder),
            "title": self.collection.name,
            "method": answer.method.value,
            "dimensions": self.config["dimensions"],
            "colour_by": self.config["colour_by"],
            "categories": str(categories),
            "previews": str(previews),
            "meta": {
                "collection": self.collection.name,
                "generation": self.generation.name,
                "model": self.generation.model,
                "sampled": answer.sampled,
                "invalid": fetched.invalid,
                "degraded": answer.degraded,
                "quality": dict(answer.quality),
                "parameters": dict(self.config["parameters"]),
            },
        }
        await self._call(write_files, request, SCRATCH)

    async def _choose_colours(self) -> Path:
        colour_by = ColourBy(self.config["colour_by"])
        if colour_by is ColourBy.CLUSTER:
            return Path(await self._call(colour_clusters, str(self.folder)))
        return await write_categories(self.database, self.generation, self.folder, colour_by)

    def _details(self, answer: LayoutAnswer, fetched: Fetched, *, common: int) -> dict[str, Any]:
        return {
            "laid_out_by": answer.method.value,
            "invalid": fetched.invalid,
            "notes": list(answer.notes),
            "begun_from": common,
            "displacement": dict(answer.displacement),
            "warm": answer.warm,
            "stage_seconds": {name: round(value, 3) for name, value in {**self.seconds, **answer.seconds}.items()},
            "seconds": round(time.monotonic() - self.started, 3),
        }


def _clear(folder: Path) -> dict[str, int]:
    """Remove what is not needed any more; gives the sizes of the rest, copies for transport aside."""
    for name in SCRATCH:
        for path in (folder / name, folder / (name + COPY)):
            path.unlink(missing_ok=True)
    return {
        path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != COPY
    }

"""Cancels a PROJECTION in each of its stages: from the request to the committed final state, by Postgres' own clock."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from sqlalchemy import text

from app.domain.operations import Operation, OperationState
from app.domain.projections import ProjectionChoice
from app.progress.events import stream_key
from app.projection.progress import ProgressFile
from benchmarks.projection_points import Filled, find_attempts
from benchmarks.projections import ask, folder_of
from benchmarks.systems import Figures

if TYPE_CHECKING:
    from benchmarks.bench import Bench

LOOK_SECONDS = 0.01
REACH_SECONDS = 900.0
LAYOUT_STAGES = ("reducing", "neighbours", "layout", "placing", "measuring")
Reached = Callable[["_Underway"], Awaitable[bool]]


class _Underway:
    """A PROJECTION as it can be looked at from outside."""

    def __init__(self, bench: "Bench", operation: Operation) -> None:
        self.bench = bench
        self.operation = operation

    async def find_folder(self) -> Path | None:
        """Where it is being made."""
        found = await asyncio.to_thread(find_attempts, folder_of(self.bench))
        return found[0] if found else None

    async def list_events(self, type_: str) -> list[dict[str, Any]]:
        """What it has told of one type."""
        redis, settings = self.bench.parts.redis, self.bench.parts.settings
        entries = await redis.xrange(stream_key(settings.redis_namespace, self.operation.id))
        told = [orjson.loads(next(iter(fields.values()))) for _, fields in entries]
        return [one["data"] for one in told if one["type"] == type_]


def _is_laying_out(stage: str) -> Reached:
    """The child has said that it does this now."""

    async def reached(underway: _Underway) -> bool:
        folder = await underway.find_folder()
        now = None if folder is None else await asyncio.to_thread(ProgressFile(str(folder / "progress.json")).read)
        return now is not None and now[0] == stage

    return reached


def _has_told(stage: str) -> Reached:
    """A map is there, and the next stage has begun."""

    async def reached(underway: _Underway) -> bool:
        return any(data["stage"] == stage for data in await underway.list_events("projection_map"))

    return reached


def _has_file(name: str) -> Reached:
    """A file is there that is written in this stage."""

    async def reached(underway: _Underway) -> bool:
        folder = await underway.find_folder()
        return folder is not None and await asyncio.to_thread((folder / name).exists)

    return reached


async def _is_fetching(underway: _Underway) -> bool:
    return any(data["fetched"] < data["total"] for data in await underway.list_events("projection_fetch_progress"))


async def _has_fetched(underway: _Underway) -> bool:
    told = await underway.list_events("projection_fetch_progress")
    return bool(told) and told[-1]["fetched"] == told[-1]["total"]


STAGES: dict[str, Reached] = {
    "fetching": _is_fetching,
    "first_map": _has_fetched,
    **{f"layout_{stage}": _is_laying_out(stage) for stage in LAYOUT_STAGES},
    "writing_texts": _has_told("layout"),
    "explaining": _has_file("texts.jsonl"),
    "writing_previews": _has_file("previews.jsonl"),
    "writing_files": _has_file("x.f32"),
}
"""When each of them has begun."""
AFTER_SECONDS = {"explaining": 1.0}
"""Until a file of this name is whole and the child has it."""


async def cancel_everywhere(bench: "Bench", filled: Filled, choice: ProjectionChoice) -> Figures:
    """Milliseconds for each stage, and the most."""
    waits = {stage: await _cancel_in(bench, filled, choice, stage) for stage in STAGES}
    figures: Figures = {f"cancel_{stage}_ms": round(wait, 1) for stage, wait in waits.items()}
    return figures | {"cancel_most_ms": round(max(waits.values()), 1), "cancel_sample": choice.sample}


async def _cancel_in(bench: "Bench", filled: Filled, choice: ProjectionChoice, stage: str) -> float:
    operation = await ask(bench, filled, choice)
    await _wait_until(_Underway(bench, operation), stage)
    await bench.operations.cancel(bench.user_id, operation.id)
    while not operation.state.is_final:
        await asyncio.sleep(LOOK_SECONDS)
        operation = await bench.operations.get(bench.user_id, operation.id)
    if operation.state is not OperationState.CANCELLED:
        raise SystemExit(f"the map {operation.state} before it was cancelled in {stage}: {operation.error_message}")
    if left := await asyncio.to_thread(find_attempts, folder_of(bench)):
        raise SystemExit(f"left behind by a cancel in {stage}: {left}")
    return await _measure(bench, operation.id)


async def _wait_until(underway: _Underway, stage: str) -> None:
    deadline = time.monotonic() + REACH_SECONDS
    while not await STAGES[stage](underway):
        if time.monotonic() > deadline:
            raise SystemExit(f"the stage {stage} was not reached within {REACH_SECONDS:.0f} s")
        operation = await underway.bench.operations.get(underway.bench.user_id, underway.operation.id)
        if operation.state.is_final:
            raise SystemExit(f"the map {operation.state} without the stage {stage}: {operation.error_message}")
        await asyncio.sleep(LOOK_SECONDS)
    await asyncio.sleep(AFTER_SECONDS.get(stage, 0.0))


async def _measure(bench: "Bench", operation_id: UUID) -> float:
    """From the request to the end, in milliseconds."""
    query = text("SELECT extract(epoch FROM finished_at - cancel_requested_at) * 1000 FROM operations WHERE id = :id")
    async with bench.parts.database.begin() as connection:
        return float(await connection.scalar(query, {"id": operation_id}) or 0.0)

"""What must be true once everything is at rest, whatever happened before."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.stores.qdrant import QdrantStore
from tests.chaos.expected import Span, chunking_of, expect
from tests.chaos.load import Load, Target
from tests.chaos.system import System

SHOWN = 4


async def check_everything(system: System, load: Load) -> None:
    """Note every violation; the processes still run."""
    _check_stories(system, load)
    await _check_operations(system)
    for target in load.targets:
        await _check_collection(system, load, target)
    for name, collection_id in load.deleted.items():
        await _check_gone(system, name, collection_id)
    system.journal.tell(f"{load.results_checked} results of INDEX were compared with their folders")
    await _check_redis(system)


# --- watchers and operations --------------------------------------------------------------------


def _check_stories(system: System, load: Load) -> None:
    for watched in load.operations.values():
        for story in watched.stories:
            for problem in story.problems:
                system.journal.violate(f"{watched.name}, as watched: {problem}")
            if story.final is None:
                system.journal.violate(f"{watched.name}: a watcher never saw its end; last {story.events[-3:]}")


async def _check_operations(system: System) -> None:
    async with system.parts.database.begin() as connection:
        rows = await connection.execute(
            text(
                """SELECT id, kind, state, lease_token, lease_until FROM operations
                   WHERE state NOT IN ('completed', 'failed', 'cancelled') OR lease_token IS NOT NULL"""
            )
        )
        for row in rows.mappings():
            system.journal.violate(f"an operation is not at rest: {dict(row)}")
        counts = await connection.execute(
            text("SELECT count(*) AS operations, sum(attempt) AS attempts, max(attempt) AS most FROM operations")
        )
        system.journal.tell(f"at rest: {dict(counts.mappings().one())}")


# --- collections --------------------------------------------------------------------------------


async def _check_collection(system: System, load: Load, target: Target) -> None:
    body = await system.client.get(f"/collections/{target.name}")
    if body["busy"] is not None:
        system.journal.violate(f"{target.name} is busy with {body['busy']} although nothing runs")
    collection_id = UUID(body["id"])
    expected = await asyncio.to_thread(expect, target.folder, collection_id, chunking_of(body))
    documents, chunks, generation = await _read_manifest(system, collection_id)
    _compare(system, f"{target.name}: documents", expected.states, documents)
    if system.cuts_alike:
        _compare(system, f"{target.name}: chunks", expected.chunks, chunks)
    else:
        _check_ordinals(system, target, chunks)
    await _check_points(system, target, generation, chunks)
    _check_counters(system, load, target, Counter(state for state, _ in documents.values()))
    if not system.has_two_versions:
        _check_first_result(system, load, target)


async def _check_gone(system: System, name: str, collection_id: UUID) -> None:
    """Nothing of a deleted collection is left in either store."""
    left: dict[str, int] = {}
    async with system.parts.database.begin() as connection:
        for table in ("chunks", "documents", "sources", "generations", "operations"):
            statement = text(f"SELECT count(*) FROM {table} WHERE collection_id = :id")  # noqa: S608 — our own names
            left[table] = await connection.scalar(statement, {"id": collection_id}) or 0
        statement = text("SELECT count(*) FROM collections WHERE id = :id")
        left["collections"] = await connection.scalar(statement, {"id": collection_id}) or 0
    stored = await system.parts.store.list_collections()
    left["stored"] = sum(collection_id.hex in each for each in stored)
    if any(left.values()):
        system.journal.violate(f"{name} was deleted, and this is left: {left}")


async def _read_manifest(
    system: System, collection_id: UUID
) -> tuple[dict[str, tuple[str, str | None]], dict[UUID, Span], str]:
    async with system.parts.database.begin() as connection:
        values = {"id": collection_id}
        generation = await connection.scalar(
            text("SELECT name FROM generations WHERE collection_id = :id AND state = 'active'"), values
        )
        rows = await connection.execute(
            text("SELECT uri, state, error_code FROM documents WHERE collection_id = :id AND state <> 'removed'"),
            values,
        )
        documents: list[tuple[str, tuple[str, str | None]]] = [(row[0], (row[1], row[2])) for row in rows]
        doubled = [uri for uri, count in Counter(uri for uri, _ in documents).items() if count > 1]
        if doubled:
            system.journal.violate(f"documents are in the manifest twice: {doubled[:SHOWN]}")
        rows = await connection.execute(
            text(
                """SELECT id, document_id, ordinal, start_char, end_char, tokens, text
                   FROM chunks WHERE collection_id = :id"""
            ),
            values,
        )
        chunks: dict[UUID, Span] = {row[0]: (str(row[1]), row[2], row[3], row[4], row[5], row[6]) for row in rows}
    return dict(documents), chunks, str(generation)


def _check_ordinals(system: System, target: Target, chunks: Mapping[UUID, Span]) -> None:
    """Whichever version has cut a document, its chunks are all of one cut."""
    ordinals: dict[str, list[int]] = defaultdict(list)
    for document, ordinal, *_ in chunks.values():
        ordinals[document].append(ordinal)
    mixed = [document for document, found in ordinals.items() if sorted(found) != list(range(len(found)))]
    if mixed:
        system.journal.violate(f"{target.name}: {len(mixed)} documents have chunks of two cuts: {mixed[:SHOWN]}")


async def _check_points(system: System, target: Target, generation: str, chunks: Mapping[UUID, Span]) -> None:
    points = await _list_points(system.parts.store, generation)
    doubled = [point for point, count in Counter(point for point, _ in points).items() if count > 1]
    if doubled:
        system.journal.violate(f"{target.name}: {len(doubled)} points are in the store twice: {doubled[:SHOWN]}")
    wanted = {chunk_id: span[0] for chunk_id, span in chunks.items()}
    _compare(system, f"{target.name}: points", wanted, {point: str(owner) for point, owner in points})


async def _list_points(store: QdrantStore, generation: str) -> list[tuple[UUID, UUID]]:
    return [point async for batch in store.stream_ids(generation) for point in batch]


def _compare(system: System, what: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> None:
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    wrong = [key for key in wanted if key in found and wanted[key] != found[key]]
    for problem, keys in (("missing", missing), ("more than there should be", extra)):
        if keys:
            details = _show((key, wanted.get(key, found.get(key))) for key in keys)
            system.journal.violate(f"{what}: {len(keys)} {problem} (of {len(wanted)}): {details}")
    if wrong:
        details = _show((key, wanted[key], found[key]) for key in wrong)
        system.journal.violate(f"{what}: {len(wrong)} wrong (of {len(wanted)}; wanted, found): {details}")


def _show(items: Iterable[Sequence[object]]) -> str:
    """The first few, long texts cut short."""
    return "; ".join(_shorten(item) for _, item in zip(range(SHOWN), items, strict=False))


def _shorten(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_shorten(part) for part in value)})"
    return str(value)[:100].replace("\n", " ")


def _check_counters(system: System, load: Load, target: Target, states: Mapping[str, int]) -> None:
    """The last APPEND of a collection must have counted what is there."""
    ours = [watched for watched in load.operations.values() if watched.collection == target.name]
    last = [watched for watched in ours if watched.kind == "APPEND"][-1]
    final = last.story.final
    if final is None or final["type"] != "operation_completed":
        return
    result = final["data"]["result"]
    told = {"completed": result["documents"], "failed": result["documents_failed"], "needs_ocr": result["needs_ocr"]}
    there = {name: states.get(name, 0) for name in told}
    if told != there:
        system.journal.violate(f"{last.name} says {told}, but there are {there}")


def _check_first_result(system: System, load: Load, target: Target) -> None:
    """An INDEX that nobody came between must have counted all it did, in however many attempts."""
    watched = load.find_index(target)
    final = watched.story.final
    if target.name in load.disturbed or final is None or final["type"] != "operation_completed":
        return
    result = final["data"]["result"]
    wanted = {"documents_added": len(target.first.states), "documents_removed": 0, "unchanged": 0}
    bad = sum(state != "completed" for state, _ in target.first.states.values())
    if result["documents_failed"] + result["needs_ocr"] == bad:
        # no text was refused by a model that lied
        wanted["chunks"] = len(target.first.chunks)
    told = {name: result[name] for name in wanted}
    if told != wanted or result["stages"]["commit"]["items"] < len(target.first.states):
        system.journal.violate(f"{watched.name} says {told} and {result['stages']['commit']}, which should be {wanted}")
    load.results_checked += 1


# --- Redis, logs, processes ---------------------------------------------------------------------


async def _check_redis(system: System) -> None:
    """Every key but the queue itself goes away by itself."""
    redis = system.parts.redis
    queue = f"{system.settings.redis_namespace}:queue"
    for_ever = []
    async for key in redis.scan_iter(count=1000):
        name = bytes(key).decode()
        if name != queue and await redis.ttl(key) == -1:
            for_ever.append(name)
    if for_ever:
        system.journal.violate(f"{len(for_ever)} keys never expire: {for_ever[:SHOWN]}")


EXPECTED_ERRORS = frozenset({"child_not_reaped", "job_does_not_stop", "event_loop_blocked", "event_loop_given_up"})
"""Logged as errors, and right to be after what was done to the processes."""


def check_logs(system: System) -> None:
    """A bug is a violation; another error, and output that is no log line, is worth a look."""
    others: Counter[str] = Counter()
    for process in (*system.apis, *system.workers):
        for line in process.log.read_text(errors="replace").splitlines() if process.log.exists() else ():
            entry = _parse(line)
            if entry.get("event") in ("job_failed", "request_failed"):
                system.journal.violate(f"a bug is in the logs: {entry['event']} {_where(entry)}")
            elif entry.get("level") in ("error", "critical") and entry.get("event") not in EXPECTED_ERRORS:
                others[f"{entry['event'].splitlines()[0]} {_where(entry)}"] += 1
            elif line.startswith("Traceback"):
                others["a traceback that is no log line"] += 1
    for what, count in others.most_common(20):
        system.journal.warn(f"{count} times in the logs: {what}")


def _where(entry: Mapping[str, Any]) -> str:
    """The innermost exceptions of an entry, each with our own frames and its last one."""
    error, parts = entry.get("exception"), []
    while error:
        frames = [frame.rpartition("/app/")[2] for frame in error["frames"] if "/app/" in frame]
        parts.append(f"{error['type']} at {' < '.join([*reversed(frames[-6:])])} in {error['frames'][-1:]}")
        error = (error.get("errors") or [None])[0] or error.get("cause")
    return " || ".join(parts)[:2000]


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}

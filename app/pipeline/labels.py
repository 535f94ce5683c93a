"""Brings what filters see of points up to date after documents have come to belong to other or more sources."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.shared_documents import Label, SharedDocumentRepository
from app.domain.collections import GenerationState
from app.domain.errors import GenerationMissingError
from app.domain.operations import Lease
from app.domain.ports import VectorStore
from app.pipeline.write import payload_of

LABELS_PER_ROUND = 100
AT_ONCE = 4
KEPT = tuple(state for state in GenerationState if state is not GenerationState.DROPPED)


async def refresh_labels(database: Database, store: VectorStore, lease: Lease, collection_id: UUID) -> None:
    """Write labels that are stale to the points of all generations; goes on where another attempt was ended.

    Raises:
        LeaseLostError: if the collection is somebody else's by now.
    """
    while True:
        async with database.begin() as connection:
            stale = await SharedDocumentRepository(connection, collection_id).list_stale(limit=LABELS_PER_ROUND)
            generations = await CollectionRepository(connection).list_generations(collection_id, *KEPT)
        if not stale:
            return
        for generation in generations:
            # one that is not made yet has no points
            with suppress(GenerationMissingError):
                await _write(store, generation.name, stale)
        async with database.fenced(lease) as connection:
            labelled = [label.document_id for label in stale]
            await SharedDocumentRepository(connection, collection_id).mark_labelled(labelled)


async def _write(store: VectorStore, name: str, labels: Sequence[Label]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def send(documents: Sequence[UUID], payload: dict[str, Any]) -> None:
        async with slots:
            await store.set_payload(name, documents, payload)

    try:
        async with asyncio.TaskGroup() as group:
            for documents, payload in _join(labels):
                group.create_task(send(documents, payload))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


def _join(labels: Sequence[Label]) -> list[tuple[list[UUID], dict[str, Any]]]:
    """Documents that get the same in one request: a path is each document's own, sources are not."""
    alone: list[tuple[list[UUID], dict[str, Any]]] = []
    together: dict[str, list[UUID]] = defaultdict(list)
    payloads: dict[str, dict[str, Any]] = {}
    for label in labels:
        payload = payload_of(label.document_id, label.source_id, label.path, others=label.others)
        if label.path_too:
            alone.append(([label.document_id], payload))
        else:
            key = repr(payload["source_id"])
            payloads[key] = {"source_id": payload["source_id"]}
            together[key].append(label.document_id)
    return alone + [(documents, payloads[key]) for key, documents in together.items()]

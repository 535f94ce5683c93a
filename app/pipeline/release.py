"""Brings back the documents that an attempt had in its hands when it ended early."""

import asyncio
from uuid import UUID

from app.db.collections import CollectionRepository
from app.db.database import Database
from app.db.documents import DocumentRepository
from app.domain.collections import GenerationState
from app.domain.operations import Lease
from app.domain.ports import VectorStore

CLEAN_SECONDS = 0.4
CLEAN_DOCUMENTS = 100


async def release_documents(database: Database, store: VectorStore, lease: Lease, collection_id: UUID) -> None:
    """Make documents in the middle of being ingested pending again, and delete points they have no rows for.

    They stay marked as dirty: what was on its way to the store may still arrive, and the next attempt looks again.

    Raises:
        LeaseLostError: if they are somebody else's by now.
    """
    async with database.fenced(lease) as connection:
        manifest = DocumentRepository(connection, collection_id)
        released = await manifest.release_processing()
        generation = await CollectionRepository(connection).find_generation(collection_id, GenerationState.ACTIVE)
        if generation is None or not released:
            return
        known = await manifest.chunk_ids(generation.id, released)
    try:
        async with asyncio.timeout(CLEAN_SECONDS):
            for start in range(0, len(released), CLEAN_DOCUMENTS):
                documents = released[start : start + CLEAN_DOCUMENTS]
                keep = [chunk_id for document in documents for chunk_id in known.get(document, ())]
                await store.delete_documents(generation.name, documents, keep=keep)
    except TimeoutError:
        return

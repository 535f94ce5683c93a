"""How fast a verification compares; on points that are written directly, for it does not matter who wrote them."""

from uuid import UUID

import numpy as np
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.database import copy_rows
from app.db.documents import CHUNK_COLUMNS, ChunkRow
from app.domain.identity import chunk_ids, document_id
from app.pipeline.write import make_points, payload_of

CHUNKS_PER_DOCUMENT = 50
DOCUMENTS_PER_BATCH = 40
WORDS = [
    "a",
    "chunk",
    "of",
    "a",
    "made-up",
    "document",
    "that",
    "is",
    "about",
    "as",
    "long",
    "as",
    "those",
    "of",
    "real",
    "ones",
    "usually",
    "are",
]


async def fill(parts: Parts, collection_id: UUID, source_id: UUID, *, points: int) -> None:
    """Write documents, chunks and points of a collection whose generation is there."""
    async with parts.database.begin() as connection:
        query = text("SELECT id, name, dimension FROM generations WHERE collection_id = :id AND state = 'active'")
        generation = (await connection.execute(query, {"id": collection_id})).one()
    random = np.random.default_rng(7)
    for first in range(0, points // CHUNKS_PER_DOCUMENT, DOCUMENTS_PER_BATCH):
        chunks: list[ChunkRow] = []
        documents = []
        payloads = []
        for number in range(first, min(first + DOCUMENTS_PER_BATCH, points // CHUNKS_PER_DOCUMENT)):
            uri = f"file:///made-up/{number}.md"
            document = document_id(collection_id, uri)
            texts = [f"{number} {place} " + " ".join(random.choice(WORDS, 150)) for place in range(CHUNKS_PER_DOCUMENT)]
            for place, (point, content) in enumerate(zip(chunk_ids(document, texts), texts, strict=True)):
                chunks.append(
                    ChunkRow(
                        id=point,
                        document_id=document,
                        ordinal=place,
                        start=0,
                        end=len(content),
                        tokens=150,
                        text=content,
                    )
                )
            documents.append({"id": document, "uri": uri, "path": f"{number}.md"})
            payloads += [payload_of(document, source_id, f"{number}.md")] * CHUNKS_PER_DOCUMENT
        vectors = random.normal(size=(len(chunks), generation.dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        await parts.store.upsert(generation.name, make_points(chunks, vectors, payloads))
        async with parts.database.begin() as connection:
            await connection.execute(
                text(
                    f"""INSERT INTO documents (id, collection_id, source_id, uri, path, size, modified_ns, position,
                        state, chunk_count) VALUES (:id, '{collection_id}', '{source_id}', :uri, :path, 1, 1, 1,
                        'completed', {CHUNKS_PER_DOCUMENT})"""  # noqa: S608 — two UUIDs and a constant
                ),
                documents,
            )
            rows = [
                (collection_id, generation.id, c.id, c.document_id, c.ordinal, c.start, c.end, c.tokens, c.text)
                for c in chunks
            ]
            await copy_rows(connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)

"""Chunks are found by their ids without a look at the others, whatever Postgres knows of the table."""

from typing import Any
from uuid import uuid4

from sqlalchemy import text

from app.bootstrap import Parts
from app.db.database import copy_rows
from app.db.documents import CHUNK_COLUMNS, CHUNKS_OF_IDS
from app.db.statements import UUIDS, parsed

ROWS = 5000
BLOCKS_PER_CHUNK = 10


async def test_chunks_of_ids_are_read_through_the_primary_key(parts: Parts) -> None:
    """In a transaction whose rows no statistics can know yet."""
    collection, generation = uuid4(), uuid4()
    ids = [uuid4() for _ in range(ROWS)]
    rows = [(collection, generation, each, uuid4(), 0, 0, 9, 2, "some text", None, None, None, None) for each in ids]
    select = f"SELECT c.id, c.text FROM {CHUNKS_OF_IDS}"  # noqa: S608 — a constant
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {select}"
    values = {"collection": collection, "generation": generation, "ids": ids[:10]}
    async with parts.database.begin() as connection:
        await connection.execute(text("SELECT 1"))
        await copy_rows(connection, "chunks", columns=CHUNK_COLUMNS, rows=rows)
        plan: Any = await connection.scalar(parsed(explain, ids=UUIDS), values)
        found = (await connection.scalars(parsed(select, ids=UUIDS), values)).all()
        await connection.rollback()
    top = plan[0]["Plan"]
    assert sorted(found) == sorted(ids[:10])
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 10 * BLOCKS_PER_CHUNK

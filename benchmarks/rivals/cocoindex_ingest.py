"""CocoIndex 1: a memoised function for each file, its batched embedding, its SQLite target, its own state on the disk.

It brings no parsers for PDF, mail and office files, so it is given those that Vecloom uses.
"""

import asyncio
import os
import pathlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import cocoindex as coco
import kreuzberg
import numpy as np
import pypdfium2
from cocoindex.connectors import localfs, sqlite
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator
from openai import AsyncOpenAI

from benchmarks.rivals.ingestion import (
    BYTES_PER_TOKEN,
    CHUNK_OVERLAP_TOKENS,
    CHUNK_TOKENS,
    MODEL,
    PLAIN_TEXT,
    Job,
    Outcome,
    main,
)

TABLE = "chunks"
DATABASE = coco.ContextKey[sqlite.ManagedConnection]("database")
BATCH = 32
_splitter = RecursiveSplitter()


@dataclass
class Row:
    """A chunk as it is stored; its vector as bytes, for many a Python cannot load SQLite's vector extension."""

    id: int
    path: str
    text: str
    embedding: bytes


def read_text(content: bytes, path: pathlib.PurePath) -> str:
    """Text of a file of any of the formats."""
    if path.suffix in PLAIN_TEXT:
        return content.decode()
    if path.suffix == ".pdf":
        document = pypdfium2.PdfDocument(content)
        return "\n\n".join(page.get_textpage().get_text_range() for page in document)
    return kreuzberg.extract_bytes_sync(content, kreuzberg.detect_mime_type_from_path(str(path))).content


@cache
def open_client() -> AsyncOpenAI:
    """A client of the model server that the environment names; a batched function has no context to take it from."""
    return AsyncOpenAI()


@coco.fn.as_async(batching=True, max_batch_size=BATCH)
async def embed(texts: list[str]) -> list[bytes]:
    """One request for what has gathered."""
    answer = await open_client().embeddings.create(model=MODEL, input=texts)
    return [np.asarray(row.embedding, dtype=np.float32).tobytes() for row in answer.data]


@coco.fn(memo=True)
async def index_file(file: FileLike, table: sqlite.TableTarget[Row]) -> None:
    """Read, split and embed one file."""
    path = file.file_path.path
    text = read_text(await file.read(), path)
    chunks = _splitter.split(
        text,
        chunk_size=CHUNK_TOKENS * BYTES_PER_TOKEN,
        chunk_overlap=CHUNK_OVERLAP_TOKENS * BYTES_PER_TOKEN,
        language=path.suffix,
    )
    ids = IdGenerator()
    vectors = await asyncio.gather(*(embed(chunk.text) for chunk in chunks))
    for chunk, vector in zip(chunks, vectors, strict=True):
        row = Row(id=await ids.next_id(f"{path}\n{chunk.text}"), path=str(path), text=chunk.text, embedding=vector)
        table.declare_row(row=row)


@coco.fn
async def index_folder(folder: pathlib.Path) -> None:
    """Mount a component for each file."""
    schema = await sqlite.TableSchema.from_class(Row, primary_key=["id"])
    table = await sqlite.mount_table_target(DATABASE, TABLE, schema)
    await coco.mount_each(index_file, localfs.walk_dir(folder, recursive=True).items(), table)


def ingest(job: Job) -> Outcome:
    """Run its update once."""
    database = job.state / "chunks.sqlite"
    os.environ |= {"OPENAI_BASE_URL": job.url, "OPENAI_API_KEY": "none"}

    @coco.lifespan
    async def provide(builder: Any) -> AsyncIterator[None]:  # noqa: ANN401 — its own type has no stable name
        builder.settings.db_path = job.state / "cocoindex"
        with sqlite.managed_connection(database, load_vec=False) as connection:
            builder.provide(DATABASE, connection)
            yield

    coco.App(coco.AppConfig(name="side_by_side"), index_folder, folder=job.folder).update_blocking()
    with sqlite3.connect(database) as connection:
        documents, chunks = connection.execute("SELECT count(DISTINCT path), count(*) FROM chunks").fetchone()
    return Outcome(documents=documents, chunks=chunks)


if __name__ == "__main__":
    main(ingest)

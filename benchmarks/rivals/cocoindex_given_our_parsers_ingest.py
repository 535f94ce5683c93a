"""CocoIndex 1 with more than it comes with: Vecloom's parsers, and SQLite without a vector index."""

import asyncio
import os
import pathlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import cocoindex as coco
import kreuzberg
import pypdfium2
from cocoindex.connectors import localfs, sqlite
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator

from benchmarks.rivals.cocoindex_parts import embed, split_text
from benchmarks.rivals.ingestion import PLAIN_TEXT, Job, Outcome, main

TABLE = "chunks"
DATABASE = coco.ContextKey[sqlite.ManagedConnection]("database")


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


@coco.fn(memo=True)
async def index_file(file: FileLike, table: sqlite.TableTarget[Row]) -> None:
    """Read, split and embed one file."""
    path = file.file_path.path
    text = read_text(await file.read(), path)
    chunks = split_text(text, path)
    ids = IdGenerator()
    vectors = await asyncio.gather(*(embed(chunk.text) for chunk in chunks))
    for chunk, vector in zip(chunks, vectors, strict=True):
        row = Row(
            id=await ids.next_id(f"{path}\n{chunk.text}"), path=str(path), text=chunk.text, embedding=vector.tobytes()
        )
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

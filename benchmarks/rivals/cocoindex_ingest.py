"""CocoIndex 1 as its examples have it: a memoised function for each file, LanceDB as the local store, MarkItDown.

The store and the shape are those of its ``text_embedding_lancedb``, the parser that of ``patient_intake_extraction``
(written for versions before 1): Docling and Marker, which its PDF examples use, want models downloaded first.
"""

import asyncio
import io
import os
import pathlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import cocoindex as coco
import numpy as np
from cocoindex.connectors import lancedb, localfs
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator
from cocoindex.resources.schema import VectorSchema
from markitdown import MarkItDown, StreamInfo
from numpy.typing import NDArray

from benchmarks.rivals.cocoindex_parts import embed, split_text
from benchmarks.rivals.ingestion import PLAIN_TEXT, Job, Outcome, main

TABLE = "chunks"
DATABASE = coco.ContextKey[lancedb.LanceAsyncConnection]("database")
AS_TEXT = PLAIN_TEXT | {".eml"}
"""MarkItDown takes no mail but Outlook's."""

VECTOR = VectorSchema(dtype=np.dtype(np.float32), size=256)
"""The model server's vectors."""


@dataclass
class Row:
    """A chunk as it is stored."""

    id: int
    path: str
    text: str
    embedding: Annotated[NDArray[np.float32], VECTOR]


@cache
def open_converter() -> MarkItDown:
    """One for all files, as in the example."""
    return MarkItDown()


def convert(content: bytes, suffix: str) -> str:
    """Text of a file that is not text as it is."""
    converted = open_converter().convert_stream(io.BytesIO(content), stream_info=StreamInfo(extension=suffix))
    text: str = converted.text_content
    return text


@coco.fn(memo=True)
async def index_file(file: FileLike, table: lancedb.TableTarget[Row]) -> None:
    """Read, split and embed one file."""
    path = file.file_path.path
    content = await file.read()
    # In a thread, so that requests go on meanwhile: its examples call the parser on the event loop.
    text = content.decode() if path.suffix in AS_TEXT else await asyncio.to_thread(convert, content, path.suffix)
    chunks = split_text(text, path)
    ids = IdGenerator()
    vectors = await asyncio.gather(*(embed(chunk.text) for chunk in chunks))
    for chunk, vector in zip(chunks, vectors, strict=True):
        row = Row(id=await ids.next_id(f"{path}\n{chunk.text}"), path=str(path), text=chunk.text, embedding=vector)
        table.declare_row(row=row)


@coco.fn
async def index_folder(folder: pathlib.Path) -> None:
    """Mount a component for each file."""
    schema = await lancedb.TableSchema.from_class(Row, primary_key=["id"])
    table = await lancedb.mount_table_target(DATABASE, TABLE, schema)
    await coco.mount_each(index_file, localfs.walk_dir(folder, recursive=True).items(), table)


async def count(uri: str) -> Outcome:
    """What the table holds."""
    table = await (await lancedb.connect_async(uri)).open_table(TABLE)
    paths = (await table.query().select(["path"]).to_arrow())["path"].to_pylist()
    return Outcome(documents=len(set(paths)), chunks=len(paths))


def ingest(job: Job) -> Outcome:
    """Run its update once."""
    uri = str(job.state / "lancedb")
    os.environ |= {"OPENAI_BASE_URL": job.url, "OPENAI_API_KEY": "none"}

    @coco.lifespan
    async def provide(builder: Any) -> AsyncIterator[None]:  # noqa: ANN401 — its own type has no stable name
        builder.settings.db_path = job.state / "cocoindex"
        builder.provide(DATABASE, await lancedb.connect_async(uri))
        yield

    coco.App(coco.AppConfig(name="side_by_side"), index_folder, folder=job.folder).update_blocking()
    return asyncio.run(count(uri))


if __name__ == "__main__":
    main(ingest)

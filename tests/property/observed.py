"""What a collection holds, as Postgres, the vector store and the API say."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.harness import Api
from tests.property.contents import Content
from tests.property.model import Document, Documents

DOCUMENTS = """SELECT d.*, array(SELECT h.source_id FROM document_sources h WHERE h.document_id = d.id) AS others
               FROM documents d WHERE collection_id = :collection"""
CHUNKS = "SELECT * FROM chunks WHERE collection_id = :collection ORDER BY document_id, ordinal"


@dataclass(slots=True, kw_only=True)
class Observed:
    """A collection at rest.

    Attributes:
        problems: what may never be.
        leftovers: what an operation that was stopped may have left, and the next one clears away.
        extra: points that no chunk has.
    """

    documents: Documents = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    extra: set[UUID] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Rows of one collection."""

    documents: Sequence[RowMapping]
    chunks: Mapping[UUID, Sequence[RowMapping]]
    generation: str | None
    roots: Mapping[UUID, str]


async def observe(api: Api, name: str, folder: Path, contents: Mapping[bytes, Content]) -> Observed:
    """Look at everything; ``contents`` are all that ever were in the folder, by digest."""
    collection = (await api.client.get(f"/api/v1/collections/{name}")).json()
    async with api.parts.database.begin() as connection:
        manifest = await _read_manifest(connection, UUID(collection["id"]), folder)
    observed = Observed()
    for row in manifest.documents:
        _take_document(observed, row, manifest, folder, contents)
    known = {row["id"] for row in manifest.documents}
    observed.problems += [f"chunks of no document: {owner}" for owner in manifest.chunks if owner not in known]
    await _compare_points(observed, api, manifest)
    stats = (await api.client.get(f"/api/v1/collections/{name}/stats")).json()
    _compare_totals(observed, manifest, collection, stats)
    return observed


async def _read_manifest(connection: AsyncConnection, collection: UUID, folder: Path) -> Manifest:
    values = {"collection": collection}
    documents = (await connection.execute(text(DOCUMENTS), values)).mappings().all()
    chunks: dict[UUID, list[RowMapping]] = defaultdict(list)
    for row in (await connection.execute(text(CHUNKS), values)).mappings():
        chunks[row["document_id"]].append(row)
    generation = await connection.scalar(
        text("SELECT name FROM generations WHERE collection_id = :collection AND state = 'active'"), values
    )
    sources = await connection.execute(text("SELECT id, url FROM sources WHERE collection_id = :collection"), values)
    roots = {row.id: row.url.removeprefix(folder.as_uri()).removeprefix("/") for row in sources}
    return Manifest(documents=documents, chunks=chunks, generation=generation, roots=roots)


def _take_document(
    observed: Observed, row: RowMapping, manifest: Manifest, folder: Path, contents: Mapping[bytes, Content]
) -> None:
    path = row["uri"].removeprefix(f"{folder.as_uri()}/")
    if row["points_dirty"] or row["stale_labels"]:
        observed.leftovers.append(f"{path} is marked: dirty {row['points_dirty']}, labels {row['stale_labels']}")
    content = None if row["content_hash"] is None else contents.get(row["content_hash"])
    if row["content_hash"] is not None and content is None:
        observed.problems.append(f"{path}: its content was never in the folder")
    problem = _find_tear(content, row, manifest.chunks.get(row["id"], ()))
    if problem:
        observed.problems.append(f"{path}: {problem}")
    if row["state"] == "removed":
        return
    own = manifest.roots[row["source_id"]]
    if row["path"] != path.removeprefix(own).removeprefix("/"):
        observed.problems.append(f"{path}: its path is {row['path']} below {own!r}")
    observed.documents[path] = Document(
        content=content,
        state=row["state"],
        code=row["error_code"],
        sources=frozenset({own, *(manifest.roots[other] for other in row["others"])}),
    )


def _find_tear(content: Content | None, row: RowMapping, chunks: Sequence[RowMapping]) -> str | None:
    """What is wrong with the chunks of a document: one after the other they are the text, white space aside."""
    counted = (len(chunks), sum(chunk["tokens"] for chunk in chunks))
    if (row["chunk_count"], row["tokens"]) != counted:
        return f"{counted} chunks and tokens are there, {(row['chunk_count'], row['tokens'])} are counted"
    whole = (content.text or "") if content else ""
    if [chunk["ordinal"] for chunk in chunks] != list(range(len(chunks))):
        return f"its chunks are the numbers {[chunk['ordinal'] for chunk in chunks]}"
    end = 0
    for chunk in chunks:
        if whole[chunk["start_char"] : chunk["end_char"]] != chunk["text"]:
            return f"chunk {chunk['ordinal']} is {chunk['text']!r}, which is not at its place in {whole!r}"
        if whole[end : chunk["start_char"]].strip():
            return f"no chunk has {whole[end : chunk['start_char']]!r}"
        end = chunk["end_char"]
    return f"no chunk has {whole[end:]!r}" if whole[end:].strip() else None


async def _compare_points(observed: Observed, api: Api, manifest: Manifest) -> None:
    """Points are chunks, each of its document; what is too much belongs to a document that is marked as dirty."""
    wanted = {chunk["id"]: owner for owner, chunks in manifest.chunks.items() for chunk in chunks}
    points: list[tuple[UUID, UUID]] = []
    if manifest.generation is not None:
        points = [point async for batch in api.parts.store.stream_ids(manifest.generation) for point in batch]
    owners = dict(points)
    if len(owners) != len(points):
        observed.problems.append("points are in the store twice")
    missing = [point for point in wanted if point not in owners]
    wrong = [point for point in wanted if point in owners and owners[point] != wanted[point]]
    if missing or wrong:
        observed.problems.append(f"points are missing: {missing}, are of another document: {wrong}")
    dirty = {row["id"] for row in manifest.documents if row["points_dirty"]}
    observed.extra = {point for point in owners if point not in wanted}
    unknown = [point for point in observed.extra if owners[point] not in dirty]
    if unknown:
        observed.problems.append(f"points of no chunk, in documents that are not marked as dirty: {unknown}")
    if observed.extra:
        observed.leftovers.append(f"{len(observed.extra)} points of no chunk")


def _compare_totals(observed: Observed, manifest: Manifest, collection: Mapping[str, Any], stats: Any) -> None:
    chunks = [chunk for each in manifest.chunks.values() for chunk in each]
    there = {
        "documents": Counter(row["state"] for row in manifest.documents if row["state"] != "removed"),
        "chunks": len(chunks),
        "tokens": sum(chunk["tokens"] for chunk in chunks),
    }
    states = {state: count for state, count in collection["documents"].items() if state != "removed"}
    told = {"documents": states, "chunks": collection["chunks"], "tokens": collection["tokens"]}
    if told != there:
        observed.problems.append(f"the collection says {told}, but there are {there}")
    summed = {**there, "documents": there["documents"].total()}
    kept = {name: stats[name] for name in summed}
    if kept != summed:
        observed.problems.append(f"its statistics say {kept}, but there are {summed}")

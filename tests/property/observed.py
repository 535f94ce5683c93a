"""What a collection holds, as Postgres, the vector store and the API say."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.points import PointId
from tests.harness import Api
from tests.property.contents import Content
from tests.property.model import Document, Documents

DOCUMENTS = """SELECT d.*, array(SELECT h.source_id FROM document_sources h WHERE h.document_id = d.id) AS others
               FROM documents d WHERE collection_id = :collection"""
PAGE = 1000
CHUNKS = """SELECT * FROM chunks WHERE collection_id = :collection AND generation_id = (
    SELECT id FROM generations WHERE collection_id = :collection AND state = 'active') ORDER BY document_id, ordinal"""


@dataclass(slots=True, kw_only=True)
class Observed:
    """A collection at rest.

    Attributes:
        problems: what may never be.
        leftovers: what an operation that was stopped may have left, and the next one clears away.
    """

    documents: Documents = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Rows of one collection."""

    documents: Sequence[RowMapping]
    chunks: Mapping[UUID, Sequence[RowMapping]]
    generation: RowMapping | None
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
    generations = await connection.execute(
        text("SELECT name, dimension FROM generations WHERE collection_id = :collection AND state = 'active'"), values
    )
    sources = await connection.execute(text("SELECT id, url FROM sources WHERE collection_id = :collection"), values)
    roots = {row.id: row.url.removeprefix(folder.as_uri()).removeprefix("/") for row in sources}
    return Manifest(documents=documents, chunks=chunks, generation=generations.mappings().first(), roots=roots)


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
    documents = {row["id"]: row for row in manifest.documents}
    points = await _list_points(api, manifest.generation)
    found = {point for point, _ in points}
    if len(found) != len(points):
        observed.problems.append("points are in the store twice")
    if missing := set(wanted) - found:
        observed.problems.append(f"points are missing: {missing}")
    for point, payload in points:
        owner = documents.get(UUID(payload["document_id"]))
        if point in wanted:
            _compare_labels(observed, payload, documents[wanted[point]])
        elif owner is not None and owner["points_dirty"]:
            observed.leftovers.append(f"a point of no chunk, of {owner['uri']}")
        else:
            observed.problems.append(f"a point of no chunk, of a document that is not marked as dirty: {payload}")


async def _list_points(api: Api, generation: RowMapping | None) -> list[tuple[PointId, Mapping[str, Any]]]:
    if generation is None:
        return []
    pages = api.parts.store.stream_points(generation["name"], dimension=generation["dimension"], page=PAGE)
    return [pair async for page in pages for pair in zip(page.ids, page.payloads, strict=True)]


def _compare_labels(observed: Observed, payload: Mapping[str, Any], row: RowMapping) -> None:
    """Filters see of a point what its document is, unless that is marked as still to be done."""
    labelled = payload["source_id"] if isinstance(payload["source_id"], list) else [payload["source_id"]]
    seen = (UUID(payload["document_id"]), {UUID(source) for source in labelled}, payload["folders"][-1])
    wanted = (row["id"], {row["source_id"], *row["others"]}, row["path"])
    if seen != wanted:
        found = observed.leftovers if row["stale_labels"] and seen[0] == row["id"] else observed.problems
        found.append(f"a point is labelled {seen}, its document is {wanted}")


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

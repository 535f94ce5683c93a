"""Finds the documents of a collection that a dataset has judged."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from app.db.statements import BYTES, INTEGERS, TEXTS, UUIDS, parsed
from app.domain.dataset_mapping import Candidate, DatasetMapping, Match, MatchStep, Miss, MissReason
from app.domain.identity import document_id

CANDIDATES = 5
TYPES: dict[str, TypeEngine[Any]] = {
    "numbers": INTEGERS,
    "steps": INTEGERS,
    "ids": UUIDS,
    "hashes": BYTES,
    "docs": TEXTS,
    "fragments": TEXTS,
}
HASH = re.compile(r"[0-9a-fA-F]{64}")
STEPS = {
    1: MatchStep.ID,
    2: MatchStep.URI,
    3: MatchStep.CONTENT_HASH,
    4: MatchStep.PATH,
    5: MatchStep.NAME,
    6: MatchStep.NAME,
    7: MatchStep.NAME,
}
"""By number, as the statements have them; a name is that of a record, of a file, of a file without its ending."""
REASONS = {
    "failed": MissReason.DOCUMENT_FAILED,
    "needs_ocr": MissReason.NEEDS_OCR,
    "removed": MissReason.REMOVED,
    "pending": MissReason.NOT_INDEXED,
    "processing": MissReason.NOT_INDEXED,
}

# A document that waits to be read again is still found as it was.
_CAN_BE_FOUND = "(d.state = 'completed' OR (d.state IN ('pending', 'processing') AND d.chunk_count > 0))"

# What was found of a judged document at a step: how many can be searched, the first of them, and else why not.
_GROUPED = f"""
SELECT f.n, f.step, count(*) FILTER (WHERE {_CAN_BE_FOUND}) AS count, min(d.state) AS state,
       (array_agg(d.id ORDER BY d.uri) FILTER (WHERE {_CAN_BE_FOUND}))[1:{CANDIDATES}] AS ids,
       (array_agg(d.uri ORDER BY d.uri) FILTER (WHERE {_CAN_BE_FOUND}))[1:{CANDIDATES}] AS uris
FROM found f JOIN documents d ON d.id = f.id GROUP BY f.n, f.step ORDER BY f.n, f.step
"""

_BY_ID = f"""
WITH found AS (
    SELECT g.n, g.step, d.id FROM unnest(:numbers, :steps, :ids) AS g (n, step, id)
    JOIN documents d ON d.id = g.id AND d.collection_id = :collection
) {_GROUPED}"""

_BY_HASH = f"""
WITH found AS (
    SELECT g.n, 3 AS step, d.id FROM unnest(:numbers, :hashes) AS g (n, hash)
    JOIN documents d ON d.collection_id = :collection AND d.content_hash = g.hash
) {_GROUPED}"""

# One scan of the collection. The fragment of a record's URI is its quoted id.
_BY_NAME = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(:numbers, :docs, :fragments) AS g (n, doc, fragment)
), there AS MATERIALIZED (
    SELECT id, path, CASE WHEN record_offset IS NOT NULL THEN split_part(uri, '#', 2) END AS fragment,
           CASE WHEN record_offset IS NULL THEN substring(path FROM '[^/]*$') END AS name
    FROM documents WHERE collection_id = :collection
), found AS (
    SELECT n, 4 AS step, id FROM given JOIN there ON path = doc
    UNION ALL SELECT n, 5, id FROM given JOIN there USING (fragment)
    UNION ALL SELECT n, 6, id FROM given JOIN there ON name = doc
    UNION ALL SELECT n, 7, id FROM given JOIN there ON substring(name FROM '^(.+)\\.[^.]*$') = doc
) {_GROUPED}"""


async def map_documents(connection: AsyncConnection, collection_id: UUID, docs: Sequence[str]) -> DatasetMapping:
    """Map each judged document to the one document of a collection that it is, in three statements at most.

    Each way of finding one is tried where those before it have found none that can be searched. A way that finds
    several of those makes it ambiguous.
    """
    finder = _Finder(connection, collection_id, docs)
    for find in (finder.by_id, finder.by_hash, finder.by_name):
        await find()
    return finder.mapping()


class _Finder:
    """What has been found so far of judged documents, which go by their numbers."""

    def __init__(self, connection: AsyncConnection, collection_id: UUID, docs: Sequence[str]) -> None:
        self._connection = connection
        self._collection = collection_id
        self._docs = dict(enumerate(dict.fromkeys(docs)))
        self._open = set(self._docs)
        self._matches: dict[str, Match] = {}
        self._misses: dict[str, Miss] = {}

    async def by_id(self) -> None:
        """An id follows from the URI."""
        asked = await asyncio.to_thread(lambda: list(self._ids()))
        numbers, steps, ids = ([row[column] for row in asked] for column in range(3))
        await self._look(_BY_ID, numbers=numbers, steps=steps, ids=ids)

    def _ids(self) -> Iterable[tuple[int, int, UUID]]:
        for number, doc in self._docs.items():
            with suppress(ValueError):
                yield number, 1, UUID(doc)
            if ":" in doc:
                yield number, 2, document_id(self._collection, doc)

    async def by_hash(self) -> None:
        """sha256 in hex."""
        asked = [number for number in sorted(self._open) if HASH.fullmatch(self._docs[number])]
        hashes = [bytes.fromhex(self._docs[number]) for number in asked]
        await self._look(_BY_HASH, numbers=asked, hashes=hashes)

    async def by_name(self) -> None:
        """Paths, then names."""
        asked = sorted(self._open)
        docs = [self._docs[number] for number in asked]
        fragments = await asyncio.to_thread(lambda: [quote(doc, safe="") for doc in docs])
        await self._look(_BY_NAME, numbers=asked, docs=docs, fragments=fragments)

    async def _look(self, sql: str, **values: Sequence[object]) -> None:
        if not values["numbers"]:
            return
        statement = parsed(sql, **{name: TYPES[name] for name in values})
        result = await self._connection.execute(statement, {"collection": self._collection, **values})
        await asyncio.to_thread(self._take, result.mappings().all())

    def _take(self, rows: Sequence[RowMapping]) -> None:
        """Rows of a document are in the order of the steps."""
        for row in rows:
            number = row["n"]
            if number not in self._open:
                continue
            doc, step = self._docs[number], STEPS[row["step"]]
            if row["count"] == 0:
                # something later may still find one that can be searched
                self._misses.setdefault(doc, Miss(reason=REASONS[row["state"]], step=step))
                continue
            self._open.remove(number)
            self._misses.pop(doc, None)
            if row["count"] == 1:
                self._matches[doc] = Match(document_id=row["ids"][0], step=step)
                continue
            found = zip(row["ids"], row["uris"], strict=True)
            candidates = tuple(Candidate(document_id=id_, uri=uri) for id_, uri in found)
            self._misses[doc] = Miss(reason=MissReason.AMBIGUOUS, step=step, candidates=candidates, count=row["count"])

    def mapping(self) -> DatasetMapping:
        """What was found; the rest is nowhere."""
        nowhere = Miss(reason=MissReason.UNMAPPED)
        misses = {doc: self._misses.get(doc, nowhere) for doc in self._docs.values() if doc not in self._matches}
        return DatasetMapping(matches=self._matches, misses=misses)

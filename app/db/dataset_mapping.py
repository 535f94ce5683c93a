"""Finds the documents of a collection that a dataset has judged."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from urllib.parse import quote
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed
from app.domain.dataset_mapping import Candidate, DatasetMapping, Match, MatchStep, Miss, MissReason
from app.domain.identity import document_id

CANDIDATES = 5
TOGETHER = 2000
"""Judged documents whose answers come as one text."""
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

# What was found of a judged document at a step: how many can be searched, the first of them, and else why not. All goes
# there and back as JSON, for making an object of each on the event loop would hold that up.
_GROUPED = f""", grouped AS (
    SELECT f.n, f.step, count(*) FILTER (WHERE {_CAN_BE_FOUND}) AS count, min(d.state) AS state,
           (array_agg(d.id ORDER BY d.uri) FILTER (WHERE {_CAN_BE_FOUND}))[1:{CANDIDATES}] AS ids,
           (array_agg(d.uri ORDER BY d.uri) FILTER (WHERE {_CAN_BE_FOUND}))[1:{CANDIDATES}] AS uris
    FROM found f JOIN documents d ON d.id = f.id GROUP BY f.n, f.step
)
SELECT json_agg(json_build_array(n, step, count, state, ids, uris) ORDER BY n, step)::text AS part
FROM grouped GROUP BY n / {TOGETHER}
"""

_BY_ID = f"""
WITH given AS MATERIALIZED (
    SELECT (g ->> 0)::int AS n, (g ->> 1)::int AS step, (g ->> 2)::uuid AS id
    FROM jsonb_array_elements(CAST(:given AS jsonb)) AS g
), found AS (
    SELECT n, step, d.id FROM given JOIN documents d ON d.id = given.id AND d.collection_id = :collection
) {_GROUPED}"""

_BY_HASH = f"""
WITH given AS MATERIALIZED (
    SELECT (g ->> 0)::int AS n, decode(g ->> 1, 'hex') AS hash FROM jsonb_array_elements(CAST(:given AS jsonb)) AS g
), found AS (
    SELECT n, 3 AS step, d.id FROM given JOIN documents d ON d.collection_id = :collection AND d.content_hash = hash
) {_GROUPED}"""

# One scan of the collection. The fragment of a record's URI is its quoted id.
_BY_NAME = f"""
WITH given AS MATERIALIZED (
    SELECT (g ->> 0)::int AS n, g ->> 1 AS doc, g ->> 2 AS fragment
    FROM jsonb_array_elements(CAST(:given AS jsonb)) AS g
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
    finder = await asyncio.to_thread(_Finder, collection_id, docs)
    for sql, ask in ((_BY_ID, finder.ask_ids), (_BY_HASH, finder.ask_hashes), (_BY_NAME, finder.ask_names)):
        given = await asyncio.to_thread(ask)
        if given is not None:
            rows = await connection.execute(parsed(sql), {"collection": collection_id, "given": given})
            await asyncio.to_thread(finder.take, rows.scalars().all())
    return await asyncio.to_thread(finder.mapping)


class _Finder:
    """What has been found so far of judged documents, which go by their numbers. No I/O, for threads."""

    def __init__(self, collection_id: UUID, docs: Sequence[str]) -> None:
        self._collection = collection_id
        self._docs = dict(enumerate(dict.fromkeys(docs)))
        self._open = dict.fromkeys(self._docs)
        self._matches: dict[str, Match] = {}
        self._misses: dict[str, Miss] = {}

    def ask_ids(self) -> str | None:
        """Those that may be ids, or URIs, from which ids follow."""
        return _to_json(self._ids())

    def _ids(self) -> Iterator[tuple[int, int, UUID]]:
        for number, doc in self._docs.items():
            with suppress(ValueError):
                yield number, 1, UUID(doc)
            if ":" in doc:
                yield number, 2, document_id(self._collection, doc)

    def ask_hashes(self) -> str | None:
        """Those that may be sha256 in hex."""
        return _to_json((number, self._docs[number]) for number in self._open if HASH.fullmatch(self._docs[number]))

    def ask_names(self) -> str | None:
        """All that are left, as they are and quoted."""
        asked = ((number, self._docs[number]) for number in self._open)
        return _to_json((number, doc, quote(doc, safe="")) for number, doc in asked)

    def take(self, parts: Sequence[str]) -> None:
        """What a statement has found; of a document in the order of the steps."""
        for part in parts:
            for number, step, count, state, ids, uris in orjson.loads(part):
                if number in self._open:
                    self._judge(number, STEPS[step], count, state, list(zip(ids or (), uris or (), strict=True)))

    def _judge(self, number: int, step: MatchStep, count: int, state: str, found: Sequence[tuple[str, str]]) -> None:
        doc = self._docs[number]
        if count == 0:
            # something later may still find one that can be searched
            self._misses.setdefault(doc, Miss(reason=REASONS[state], step=step))
            return
        del self._open[number]
        self._misses.pop(doc, None)
        if count == 1:
            self._matches[doc] = Match(document_id=UUID(found[0][0]), step=step)
            return
        candidates = tuple(Candidate(document_id=UUID(id_), uri=uri) for id_, uri in found)
        self._misses[doc] = Miss(reason=MissReason.AMBIGUOUS, step=step, candidates=candidates, count=count)

    def mapping(self) -> DatasetMapping:
        """What was found; the rest is nowhere."""
        nowhere = Miss(reason=MissReason.UNMAPPED)
        misses = {doc: self._misses.get(doc, nowhere) for doc in self._docs.values() if doc not in self._matches}
        return DatasetMapping(matches=self._matches, misses=misses)


def _to_json(rows: Iterable[object]) -> str | None:
    """None if there are none."""
    asked = list(rows)
    return orjson.dumps(asked).decode() if asked else None

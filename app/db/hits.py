"""Rows of ``documents`` and ``chunks`` as an answer of a search needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.direct import DirectStatement
from app.db.documents import CHUNKS_OF_IDS, ManifestRows
from app.db.statements import UUIDS, parsed

_LOAD = DirectStatement(
    parsed(
        f"""SELECT c.id, c.document_id, d.uri, d.path, d.title, c.text, c.start_char AS start, c.end_char AS "end",
                   c.headings, c.parent_start, c.parent_end
            FROM {CHUNKS_OF_IDS} JOIN documents d ON d.id = c.document_id""",
        ids=UUIDS,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRow:
    """What search shows of a chunk."""

    id: UUID
    document_id: UUID
    uri: str
    path: str
    title: str | None
    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    parent_start: int | None = None
    parent_end: int | None = None


class HitRepository(ManifestRows):
    """What the manifest of one collection knows of the chunks that were found."""

    async def load_hits(self, generation_id: UUID, ids: Sequence[UUID]) -> dict[UUID, HitRow]:
        """Text and document of chunks, by id; chunks the manifest does not know are missing."""
        rows = await _LOAD.fetch(
            self._connection, {"collection": self._collection, "generation": generation_id, "ids": list(ids)}
        )
        return {row["id"]: HitRow(**{**row, "headings": tuple(row["headings"] or ())}) for row in rows}

    async def find_chunks(self, generation_id: UUID, ids: Sequence[UUID]) -> dict[UUID, UUID]:
        """The document of each of these chunks; those the manifest does not know are missing."""
        rows = await self._execute(
            f"SELECT c.id, c.document_id FROM {CHUNKS_OF_IDS} JOIN documents d ON d.id = c.document_id",
            generation=generation_id,
            ids=list(ids),
        )
        return {row["id"]: row["document_id"] for row in rows}

    async def load_parents(
        self, generation_id: UUID, parents: Sequence[tuple[UUID, int]]
    ) -> dict[tuple[UUID, int], str]:
        """Texts of parents, by document and place, put together from their chunks."""
        rows = await self._execute(
            """SELECT c.document_id, c.parent_start, c.start_char, c.text FROM chunks c
               JOIN unnest(:documents, CAST(:starts AS int[])) AS p (document_id, parent_start)
                 ON c.document_id = p.document_id AND c.parent_start = p.parent_start
               WHERE c.collection_id = :collection AND c.generation_id = :generation ORDER BY c.start_char""",
            generation=generation_id,
            documents=[document for document, _ in parents],
            starts=[start for _, start in parents],
        )
        texts: dict[tuple[UUID, int], str] = {}
        for row in rows:
            key = (row["document_id"], row["parent_start"])
            at = row["start_char"] - row["parent_start"]
            # a child that is white space alone is no chunk
            texts[key] = texts.get(key, "")[:at].ljust(at) + row["text"]
        return texts

"""What two generations of a collection hold of each document, read in the order of document ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.documents import ManifestRows
from app.db.verification import EMBEDDED_TEXT

SPACES = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""What is white space to those who cut texts."""

_FRESH = "char_length(translate(substr(c.text, greatest(0, coalesce(c.covered, 0) - c.start_char) + 1), :spaces, ''))"
"""Characters of a chunk that are no white space and that no chunk before it in the document has."""

_COVERED = """SELECT *, max(end_char) OVER (PARTITION BY document_id ORDER BY start_char, end_char, id
                  ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
              FROM chunks WHERE collection_id = :collection AND generation_id = :generation
              AND document_id = ANY(:documents)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One chunk of a document, without its text.

    ``fresh`` is how many characters it adds to what the chunks before it have, white space aside.
    """

    id: UUID
    document_id: UUID
    start: int
    end: int
    tokens: int
    text_hash: bytes
    fresh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One chunk of a document, as far as the text of the document can be put together from it."""

    id: UUID
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    parent_start: int | None
    parent_end: int | None
    gap: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDocument:
    """A document with its chunks, or the first of them.

    Attributes:
        is_record: whether it is one line of a file of records.
        is_whole: whether all of its chunks are there.
    """

    id: UUID
    path: str
    title: str | None
    mime_type: str | None
    is_record: bool
    is_whole: bool
    pieces: tuple[Piece, ...]


class ValidationRepository(ManifestRows):
    """Chunks of several generations of one collection; never commits."""

    async def count(self, generation_id: UUID) -> int:
        """How many points a generation must hold."""
        rows = await self._execute(
            "SELECT count(*) AS n FROM chunks WHERE collection_id = :collection AND generation_id = :generation",
            generation=generation_id,
        )
        return int(rows[0]["n"])

    async def list_documents(
        self, generations: tuple[UUID, UUID], *, after: UUID | None, limit: int
    ) -> list[tuple[UUID, int]]:
        """The next documents that either generation has chunks of, and how many both have together."""
        one = """(SELECT document_id, count(*) AS n FROM chunks
                  WHERE collection_id = :collection AND generation_id = {}
                  AND (CAST(:after AS uuid) IS NULL OR document_id > :after)
                  GROUP BY document_id ORDER BY document_id LIMIT :limit)"""
        rows = await self._execute(
            f"""SELECT document_id, sum(n) AS n FROM ({one.format(":old")} UNION ALL {one.format(":new")}) AS both_sides
                GROUP BY document_id ORDER BY document_id LIMIT :limit""",
            old=generations[0],
            new=generations[1],
            after=after,
            limit=limit,
        )
        return [(row["document_id"], int(row["n"])) for row in rows]

    async def measure(self, generation_id: UUID, documents: Sequence[UUID]) -> dict[UUID, int]:
        """How many characters of each document a generation has, white space aside."""
        rows = await self._execute(
            f"""SELECT document_id, sum({_FRESH}) AS characters FROM ({_COVERED}) AS c GROUP BY document_id""",
            generation=generation_id,
            documents=list(documents),
            spaces=SPACES,
        )
        return {row["document_id"]: int(row["characters"]) for row in rows}

    async def list_spans(self, generation_id: UUID, documents: Sequence[UUID]) -> list[Span]:
        """The chunks of some documents, document by document and in order."""
        rows = await self._execute(
            f"""SELECT c.id, c.document_id, c.start_char AS start, c.end_char AS "end", c.tokens,
                       sha256(convert_to({EMBEDDED_TEXT}, 'UTF8')) AS text_hash, {_FRESH} AS fresh
                FROM ({_COVERED}) AS c ORDER BY c.document_id, c.start_char, c.end_char, c.id""",
            generation=generation_id,
            documents=list(documents),
            spaces=SPACES,
        )
        return [Span(**row) for row in rows]

    async def load_texts(
        self, generation_id: UUID, documents: Sequence[UUID], *, characters: int
    ) -> list[TextDocument]:
        """Some documents with those of their chunks that begin within the first ``characters``, in order of ids."""
        rows = await self._execute(
            """SELECT c.document_id, c.id, c.start_char AS start, c.end_char AS "end", c.text, c.headings,
                      c.parent_start, c.parent_end, c.gap, d.path, d.title, d.mime_type,
                      d.record_offset IS NOT NULL AS is_record,
                      NOT EXISTS (SELECT 1 FROM chunks l WHERE l.collection_id = c.collection_id
                          AND l.generation_id = c.generation_id AND l.document_id = c.document_id
                          AND l.start_char >= :characters) AS is_whole
               FROM chunks c JOIN documents d ON d.id = c.document_id
               WHERE c.collection_id = :collection AND c.generation_id = :generation
                 AND c.document_id = ANY(:documents) AND c.start_char < :characters
               ORDER BY c.document_id, c.start_char, c.end_char, c.id""",
            generation=generation_id,
            documents=list(documents),
            characters=characters,
        )
        pieces: dict[UUID, list[Piece]] = {}
        heads = {row["document_id"]: row for row in rows}
        for row in rows:
            values = {name: row[name] for name in ("id", "start", "end", "text", "parent_start", "parent_end", "gap")}
            pieces.setdefault(row["document_id"], []).append(Piece(headings=tuple(row["headings"] or ()), **values))
        names = ("path", "title", "mime_type", "is_record", "is_whole")
        return [
            TextDocument(id=document, pieces=tuple(parts), **{name: heads[document][name] for name in names})
            for document, parts in pieces.items()
        ]

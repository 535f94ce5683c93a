"""Reads what the last scan of a source has found out about its documents."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db.database import Database
from app.db.statements import UUIDS, parsed
from app.domain.documents import KnownDocument
from app.domain.identity import document_id

_FIND = """
SELECT uri, size, modified_ns, etag, links FROM documents
WHERE id = ANY(:ids) AND source_id = :source AND state <> 'removed'
"""


class KnownRows:
    """``KnownDocuments`` over the manifest of one source."""

    def __init__(self, database: Database, *, collection_id: UUID, source_id: UUID) -> None:
        self._database = database
        self._collection_id = collection_id
        self._source_id = source_id

    async def find(self, uris: Sequence[str]) -> Mapping[str, KnownDocument]:
        """See the port."""
        values = {"ids": [document_id(self._collection_id, uri) for uri in uris], "source": self._source_id}
        async with self._database.begin() as connection:
            rows = (await connection.execute(parsed(_FIND, ids=UUIDS), values)).mappings().all()
        return {
            row["uri"]: KnownDocument(
                size=row["size"],
                modified_ns=row["modified_ns"],
                etag=row["etag"],
                links=None if row["links"] is None else tuple(row["links"]),
            )
            for row in rows
        }

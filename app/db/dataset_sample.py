"""Documents of a collection that chance chooses, to make queries of."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed
from app.db.validation import TextDocument, ValidationRepository

CHARACTERS = 4000
"""Of a document: queries are made of its beginning."""

_SAMPLE = """
SELECT id FROM documents WHERE collection_id = :collection AND state = 'completed' AND chunk_count > 0
ORDER BY md5(:seed || id::text), id LIMIT :limit
"""


async def sample_documents(
    connection: AsyncConnection, collection_id: UUID, generation_id: UUID, *, limit: int, seed: int
) -> Sequence[TextDocument]:
    """Documents as a generation holds them, with their beginnings; the same ``seed`` chooses the same ones."""
    values = {"collection": collection_id, "seed": f"{seed}:", "limit": limit}
    chosen = [row.id for row in await connection.execute(parsed(_SAMPLE), values)]
    manifest = ValidationRepository(connection, collection_id)
    return await manifest.load_texts(generation_id, chosen, characters=CHARACTERS) if chosen else []

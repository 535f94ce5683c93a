"""Rows of ``search_judgments``."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed
from app.domain.benchmark_datasets import MOST_JUDGMENTS as MOST_OF_A_QUERY
from app.domain.errors import DocumentNotFoundError
from app.domain.judgments import MOST_JUDGMENTS, Judgment, JudgmentCounts, TooManyJudgmentsError

_COLUMNS = "id, user_id, query, document_id, uri, grade, at"
_SAME = "collection_id = :collection AND user_id = :user AND md5(query) = md5(:query)"


class JudgmentRepository:
    """Judgments of one collection; never commits."""

    def __init__(self, connection: AsyncConnection, collection_id: UUID) -> None:
        self._connection = connection
        self._collection = collection_id

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        result = await self._connection.execute(parsed(sql), {"collection": self._collection, **values})
        return result.mappings().all() if result.returns_rows else []

    async def set(self, user_id: UUID, *, query: str, document_id: UUID, grade: int) -> Judgment:
        """Write down what a user thinks, in place of what the user thought before.

        Raises:
            DocumentNotFoundError: if the collection has no such document.
            TooManyJudgmentsError: if it would be one more than are kept.
        """
        # two at once must not both be the last one
        await self._rows("SELECT 1 FROM collections WHERE id = :collection FOR NO KEY UPDATE")
        rows = await self._rows(
            f"""UPDATE search_judgments SET grade = :grade, at = now() WHERE {_SAME} AND document_id = :document
                RETURNING {_COLUMNS}""",
            user=user_id,
            query=query,
            document=document_id,
            grade=grade,
        )
        if not rows:
            await self._require_room(user_id, query)
            rows = await self._rows(
                f"""INSERT INTO search_judgments (collection_id, user_id, query, document_id, uri, grade)
                    SELECT collection_id, :user, :query, id, uri, :grade FROM documents
                    WHERE id = :document AND collection_id = :collection AND state <> 'removed' RETURNING {_COLUMNS}""",
                user=user_id,
                query=query,
                document=document_id,
                grade=grade,
            )
        if not rows:
            raise DocumentNotFoundError(document_id)
        return Judgment(**rows[0])

    async def _require_room(self, user_id: UUID, query: str) -> None:
        rows = await self._rows(
            f"""SELECT count(*) AS n, count(*) FILTER (WHERE {_SAME}) AS of_query FROM search_judgments
                WHERE collection_id = :collection""",
            user=user_id,
            query=query,
        )
        if rows[0]["n"] >= MOST_JUDGMENTS:
            raise TooManyJudgmentsError("this collection", MOST_JUDGMENTS)
        if rows[0]["of_query"] >= MOST_OF_A_QUERY:
            raise TooManyJudgmentsError("this query", MOST_OF_A_QUERY)

    async def take_back(self, user_id: UUID, *, query: str, document_id: UUID) -> None:
        """Forget what a user thought; nothing, if there is nothing."""
        await self._rows(
            f"DELETE FROM search_judgments WHERE {_SAME} AND document_id = :document",
            user=user_id,
            query=query,
            document=document_id,
        )

    async def list_page(self, *, limit: int, after: int | None) -> list[Judgment]:
        """Those made first come last; ``after`` is the id of the last one of the page before."""
        rows = await self._rows(
            f"""SELECT {_COLUMNS} FROM search_judgments WHERE collection_id = :collection
                AND (CAST(:after AS bigint) IS NULL OR id < :after) ORDER BY id DESC LIMIT :limit""",
            limit=limit,
            after=after,
        )
        return [Judgment(**row) for row in rows]

    async def list_of_query(self, user_id: UUID, query: str) -> list[Judgment]:
        """What a user thinks of the hits of a query: at most ``MOST_OF_A_QUERY``, newest first."""
        rows = await self._rows(
            f"SELECT {_COLUMNS} FROM search_judgments WHERE {_SAME} ORDER BY id DESC", user=user_id, query=query
        )
        return [Judgment(**row) for row in rows]

    async def count(self) -> JudgmentCounts:
        """How many there are."""
        rows = await self._rows(
            """SELECT count(*) AS judgments, count(DISTINCT md5(query)) AS queries FROM search_judgments
               WHERE collection_id = :collection"""
        )
        return JudgmentCounts(**rows[0])

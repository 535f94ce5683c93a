"""Rows of ``operation_totals``: sums over all attempts at an operation."""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class TotalsRepository:
    """The sums of one operation; never commits."""

    def __init__(self, connection: AsyncConnection, operation_id: UUID) -> None:
        self._connection = connection
        self._operation = operation_id

    async def add(self, amounts: Mapping[str, float]) -> None:
        """Add to the sums. To be the last statement of a transaction: until its end, others wait for these rows."""
        names = sorted(amounts)  # one order for all who add, so that none waits for the other
        await self._connection.execute(
            text(
                """INSERT INTO operation_totals AS t (operation_id, name, amount)
                   SELECT :operation, name, amount
                   FROM unnest(CAST(:names AS text[]), CAST(:amounts AS float8[])) AS given (name, amount)
                   ON CONFLICT (operation_id, name) DO UPDATE SET amount = t.amount + excluded.amount"""
            ),
            {"operation": self._operation, "names": names, "amounts": [float(amounts[name]) for name in names]},
        )

    async def load(self) -> dict[str, float]:
        """All sums; what was never added to is missing."""
        rows = await self._connection.execute(
            text("SELECT name, amount FROM operation_totals WHERE operation_id = :operation"),
            {"operation": self._operation},
        )
        return {row.name: row.amount for row in rows}

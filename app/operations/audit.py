"""What owners read of the audit log."""

from collections.abc import Sequence
from uuid import UUID

from app.db.audit import AuditRepository
from app.db.database import Database
from app.domain.audit import AuditEntry, AuditFilter
from app.domain.errors import InvalidInputError

LARGEST_ID = 2**63 - 1


class AuditService:
    """The audit log, as an owner sees it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, user_id: UUID, wanted: AuditFilter, *, limit: int, after: str | None
    ) -> tuple[Sequence[AuditEntry], str | None]:
        """A page of entries about what is the user's, newest first, and the cursor of the next page."""
        if after is not None and not (after.isascii() and after.isdecimal() and int(after) <= LARGEST_ID):
            raise InvalidInputError("`after` must be the `next` of an earlier page")
        async with self._database.begin() as connection:
            page = await AuditRepository(connection).list_page(
                user_id, wanted, limit=limit, after=None if after is None else int(after)
            )
        return page, str(page[-1].id) if len(page) == limit else None

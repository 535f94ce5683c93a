"""How it stands with the partitions of the chunks."""

from collections.abc import Sequence

from app.db.database import Database
from app.db.partitions import PartitionRepository
from app.domain.partitions import PartitionHealth, PartitionLook, judge_partitions


class PartitionService:
    """Reads; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, *, days: int) -> tuple[Sequence[PartitionHealth], Sequence[PartitionLook]]:
        """All partitions as they are now, and what was found in the last days, newest first."""
        async with self._database.begin() as connection:
            partitions = PartitionRepository(connection)
            return judge_partitions(await partitions.read_figures()), await partitions.list_looks(days=days)

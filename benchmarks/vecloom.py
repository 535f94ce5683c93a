"""Vecloom as a system to measure: operations through its service, a worker process of its own."""

import os
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from sqlalchemy import event, text

from app.db.collections import CollectionRepository
from app.db.sources import SourceRepository
from app.domain.documents import Chunking, SourceKind
from benchmarks.forwarder import Forwarder
from benchmarks.systems import Line, System, line_to_valkey, socket_of

if TYPE_CHECKING:
    from benchmarks.bench import Bench


class Vecloom(System):
    """Operations created by the service over Postgres with real commits; each in the next of some collections."""

    name = "vecloom"
    configuration = "default settings; Postgres with fsync"
    settle_seconds = 12.0  # an idle Postgres session tells its counters within ten
    ready = "worker_started"

    def __init__(self, bench: "Bench", folder: Path) -> None:
        super().__init__(folder)
        self._bench = bench
        self._targets: list[tuple[UUID, UUID]] = []
        self._turn = count()
        self._checkin_ns: int | None = None
        self._pool = bench.parts.database.engine.sync_engine.pool

    def _note_checkin(self, *_: object) -> None:
        if self._checkin_ns is None:
            self._checkin_ns = time.monotonic_ns()

    def command(self, body: str) -> list[str]:
        """See the base."""
        return [sys.executable, "-m", "benchmarks.worker", body, str(self.log.path)]

    def environment(self) -> dict[str, str]:
        """See the base."""
        endpoints, settings = self._bench.parts.endpoints, self._bench.parts.settings
        return os.environ | {
            "VECLOOM_LEASE": str(settings.lease),
            "VECLOOM_HEARTBEAT": str(settings.heartbeat),
            "VECLOOM_RECONCILE": str(settings.reconcile),
            "VECLOOM_DATABASE_URL": endpoints.database_url,
            "VECLOOM_REDIS_URL": endpoints.redis_url,
            "VECLOOM_QDRANT_URL": endpoints.qdrant_url,
            "VECLOOM_QDRANT_API_KEY": endpoints.qdrant_api_key or "",
            "VECLOOM_REDIS_NAMESPACE": settings.redis_namespace,
        }

    def lines(self, folder: Path) -> list[Line]:
        """See the base."""
        endpoints = self._bench.parts.endpoints
        valkey = line_to_valkey(socket_of(endpoints.redis_url), folder)
        postgres = parse_qs(urlsplit(endpoints.database_url).query)["host"][0]
        name = ".s.PGSQL.5432"
        return [valkey, Line(f"host={postgres}", f"host={folder}", Forwarder(folder / name, Path(postgres) / name))]

    async def add_collections(self, number: int) -> None:
        """Add collections with a source each, without operations: one operation writes to a collection at a time."""
        name = self._folder.name
        async with self._bench.parts.database.begin() as connection:
            collections, sources = CollectionRepository(connection), SourceRepository(connection)
            for index in range(number):
                collection = await collections.add(
                    user_id=self._bench.user_id,
                    name=f"{name}-{index}",
                    model="wordllama",
                    chunking=Chunking(),
                )
                source = await sources.add(
                    collection.id, kind=SourceKind.DIRECTORY, url=self._folder.as_uri(), config={}
                )
                self._targets.append((collection.id, source.id))

    async def create(self) -> str:
        """See the base; the first connection that goes back to the pool has committed the operation."""
        collection_id, source_id = self._targets[next(self._turn) % len(self._targets)]
        self._checkin_ns = None
        operation = await self._bench.operations.create_append(
            self._bench.user_id, collection_id, source_id=source_id, mode="full"
        )
        self.committed_ns = self._checkin_ns
        return str(operation.id)

    async def count_unfinished(self) -> int:
        """See the base."""
        async with self._bench.parts.database.begin() as connection:
            unfinished = await connection.scalar(
                text("SELECT count(*) FROM operations WHERE finished_at IS NULL"),
            )
        return int(unfinished or 0)

    async def count_transactions(self) -> int:
        """Transactions of the database since its start."""
        async with self._bench.parts.database.begin() as connection:
            statistic = text(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
            return int(await connection.scalar(statistic) or 0)

    async def open(self) -> None:
        """See the base."""
        event.listen(self._pool, "checkin", self._note_checkin)

    async def aclose(self) -> None:
        """See the base."""
        event.remove(self._pool, "checkin", self._note_checkin)

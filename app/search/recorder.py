"""Remembers searches without keeping them waiting: in memory first, in Postgres within a second or so."""

import asyncio
import hmac
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from uuid import UUID

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db.database import Database
from app.db.search_health import SearchHealthRepository, Tally
from app.db.search_logs import SearchLogRepository
from app.domain.collections import Generation
from app.domain.errors import (
    ConflictError,
    DiskFullError,
    EmbedderUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    PermissionDeniedError,
    VectorStoreUnavailableError,
)
from app.domain.points import SearchMode
from app.domain.sanitising import sanitise
from app.domain.searches import LogChoice, SearchEntry
from app.metrics import SEARCH_LOG_DROPPED, SEARCHES

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
MANY = 200
"""Entries that are written before the second is over."""

MOST_WAITING = 1000
WRITE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
LONGEST_QUERY = 1000
CALLER_BYTES = 16

OF_CALLERS = (InvalidInputError, NotAuthenticatedError, PermissionDeniedError, NotFoundError, ConflictError)
"""What whoever asks has to change: nothing here has failed."""

POSTGRES_AWAY = (OperationalError, InterfaceError, PoolTimeoutError, OSError, TimeoutError)
STORE_AWAY = (VectorStoreUnavailableError, DiskFullError, *POSTGRES_AWAY)


@dataclass(slots=True, kw_only=True)
class FollowedSearch:
    """A search on its way; what is found out about it is noted here.

    Attributes:
        log: None if its collection has none.
        hits: how many documents answer it; None while it has no answer.
    """

    user_id: UUID
    query: str
    mode: SearchMode
    limit: int
    generation: Generation | None = None
    log: LogChoice | None = None
    hits: int | None = None


class SearchRecorder:
    """What became of searches, and those that are to be written down, until ``flush`` has written it.

    Args:
        most_waiting: entries that may wait; the oldest give way to more.
    """

    def __init__(self, database: Database, *, most_waiting: int = MOST_WAITING) -> None:
        self._database = database
        self._entries: deque[SearchEntry] = deque()
        self._tallies: dict[UUID, Tally] = {}
        self._most_waiting = most_waiting
        self._dropped = 0
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._closed = False

    @contextmanager
    def following(self, search: FollowedSearch) -> Iterator[FollowedSearch]:
        """Remember what becomes of the search that the block answers; one that is cancelled is forgotten."""
        started = time.perf_counter()
        try:
            yield search
        except OF_CALLERS:
            raise
        except Exception as error:
            self._note_failure(search, error)
            raise
        else:
            self._note_answer(search, (time.perf_counter() - started) * 1000)

    def _note_failure(self, search: FollowedSearch, error: Exception) -> None:
        SEARCHES.labels("failed").inc()
        if search.generation is None:
            return
        of_store, of_model = isinstance(error, STORE_AWAY), isinstance(error, EmbedderUnavailableError)
        self._tally(search.generation.id, Tally(searches=1, failed=1, of_store=of_store, of_model=of_model))

    def _note_answer(self, search: FollowedSearch, milliseconds: float) -> None:
        generation, hits, took_ms = search.generation, search.hits, round(milliseconds, 3)
        if generation is None or hits is None:
            return
        SEARCHES.labels("hits" if hits else "empty").inc()
        self._tally(generation.id, Tally(searches=1, empty=int(hits == 0), milliseconds=took_ms))
        if search.log is None or random.random() >= search.log.share:  # noqa: S311 — a sample, no secret
            return
        if query := shorten(search.query):
            entry = SearchEntry(
                collection_id=generation.collection_id,
                generation_id=generation.id,
                caller=hmac.digest(search.log.key, search.user_id.bytes, "sha256")[:CALLER_BYTES],
                query=query,
                mode=search.mode,
                limit=search.limit,
                hits=hits,
                took_ms=took_ms,
                at=time.monotonic(),
            )
            self._add(entry)

    def _tally(self, generation_id: UUID, tally: Tally) -> None:
        self._tallies.setdefault(generation_id, Tally()).add(tally)
        self._some.set()

    def _add(self, entry: SearchEntry) -> None:
        self._entries.append(entry)
        self._drop_excess()
        if len(self._entries) >= MANY:
            self._many.set()

    def _drop_excess(self) -> None:
        while len(self._entries) > self._most_waiting:
            self._entries.popleft()
            self._dropped += 1
            SEARCH_LOG_DROPPED.inc()

    async def flush(self) -> None:
        """Write what there is; what Postgres does not take now waits. Raises nothing but a cancellation."""
        entries, self._entries = list(self._entries), deque()
        tallies, self._tallies = self._tallies, {}
        if not entries and not tallies:
            return
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._write(entries, tallies)
        except POSTGRES_AWAY as error:
            self._put_back(entries, tallies)
            log.warning("searches_not_recorded", error=type(error).__name__, waiting=len(self._entries))
        except Exception as error:  # noqa: BLE001 — what is refused once is refused again; its text holds what was asked
            log.error("searches_lost", error=type(error).__name__, entries=len(entries))  # noqa: TRY400 — see above
        if self._dropped:
            log.warning("search_log_dropped", entries=self._dropped)
            self._dropped = 0

    async def _write(self, entries: Sequence[SearchEntry], tallies: dict[UUID, Tally]) -> None:
        cleaned = await asyncio.to_thread(_clean, entries) if entries else []
        async with self._database.begin() as connection:
            if tallies:
                await SearchHealthRepository(connection).add(tallies)
            if cleaned:
                await SearchLogRepository(connection).add(cleaned, now=time.monotonic())

    def _put_back(self, entries: Sequence[SearchEntry], tallies: dict[UUID, Tally]) -> None:
        self._entries.extendleft(reversed(entries))
        self._drop_excess()
        for generation_id, tally in tallies.items():
            self._tally(generation_id, tally)

    async def run(self) -> None:
        """Write what comes until ``close`` is called, and then what is left."""
        while not self._closed:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._many.wait()
            self._some.clear()
            self._many.clear()
            await self.flush()
        await self.flush()

    def close(self) -> None:
        """Have ``run`` come to its end."""
        self._closed = True
        self._some.set()
        self._many.set()


def shorten(query: str) -> str:
    """The beginning of a long query, up to a space: half a word might be half a secret, which nobody knows for one."""
    if len(query) <= LONGEST_QUERY:
        return query
    beginning = query[: LONGEST_QUERY + 1].rsplit(None, 1)
    return beginning[0] if len(beginning) > 1 else ""


def _clean(entries: Sequence[SearchEntry]) -> list[SearchEntry]:
    return [replace(entry, query=sanitise(entry.query, longest=LONGEST_QUERY)) for entry in entries]


@asynccontextmanager
async def recording(database: Database, *, close_seconds: float = CLOSE_SECONDS) -> AsyncIterator[SearchRecorder]:
    """A recorder that writes while the block runs; at its end it writes what is left, if Postgres takes it in time."""
    recorder = SearchRecorder(database)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        recorder.close()
        await asyncio.wait({task}, timeout=close_seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=close_seconds)

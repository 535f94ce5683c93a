"""Asks the queries of a dataset, run by run, and keeps what each has found as soon as it is known."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import anyio
import numpy as np
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from app.db.benchmarks import BenchmarkRepository
from app.db.database import Database
from app.domain.benchmark_datasets import DatasetQuery
from app.domain.benchmarks import QueryResult, RunSpec
from app.domain.collections import Generation
from app.domain.errors import EmbedderBatchTooLargeError, EmbedderRejectedError, SliceEndedError
from app.domain.operations import Lease
from app.domain.points import Ranked, SearchMode, Vectors
from app.domain.ports import Reporter
from app.domain.search_settings import SearchSettings

OF_ONE_QUERY = (EmbedderRejectedError, EmbedderBatchTooLargeError)
"""What says something about a query, and nothing about the others."""
MOST_WRITTEN = 100
"""Results that one transaction keeps."""
GATHERED_SECONDS = 0.1
"""Between two transactions. What a kill comes before is asked again, and a transaction costs as much as a quarter of a
search."""


class Rank(Protocol):
    """Searches one generation; ``SearchService.rank`` of a collection."""

    async def __call__(
        self, generation: Generation, *, query: str, vector: Vectors | None, settings: SearchSettings, limit: int
    ) -> Sequence[Ranked]:
        """The best documents, best first, each once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One attempt at asking what is not asked yet.

    Attributes:
        runs: each with its generation, in their order.
        embed: the vector of a query by a generation's own model.
        top_k: how many documents each query asks for.
        at_once: queries that are asked at the same time.
        primary: the measure that watchers are told of.
        score: its values for some results; queries that cannot be judged have none.
    """

    database: Database
    lease: Lease
    report: Reporter
    benchmark_id: UUID
    runs: Sequence[tuple[RunSpec, Generation]]
    queries: Sequence[DatasetQuery]
    embed: Callable[[Generation, str], Awaitable[Vectors]]
    rank: Rank
    top_k: int
    at_once: int
    primary: str
    score: Callable[[Sequence[QueryResult]], Sequence[float]]
    should_yield: Callable[[], bool]
    note_progress: Callable[[], None]
    _vectors: dict[tuple[UUID, int], tuple[Vectors, float]] = field(init=False, default_factory=dict)

    async def run(self) -> None:
        """Return when every query of every run has its result.

        Raises:
            SliceEndedError: if the slice was asked to yield; what has been asked stays known.
            DomainError: if queries cannot be asked, whichever they are.
        """
        async with self.database.begin() as connection:
            finished = await BenchmarkRepository(connection).list_finished(self.benchmark_id)
        for number, (spec, generation) in enumerate(self.runs):
            done = finished.get(number, set())
            pending = [place for place in range(len(self.queries)) if place not in done]
            places = iter(pending)
            try:
                await self._run(number, spec, generation, places, left=len(pending))
            except ExceptionGroup as failures:
                raise _first_of(failures) from failures
            if next(places, None) is not None:
                raise SliceEndedError("the slice ended before all queries were asked")

    async def _run(
        self, number: int, spec: RunSpec, generation: Generation, places: Iterator[int], *, left: int
    ) -> None:
        if left == 0:
            return
        send, receive = anyio.create_memory_object_stream[QueryResult](max_buffer_size=math.inf)
        are_asked = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(number, spec, receive, are_asked, done=len(self.queries) - left))
            async with send, asyncio.TaskGroup() as askers:
                for _ in range(min(self.at_once, left)):
                    askers.create_task(self._ask_on(number, spec, generation, places, send))
            are_asked.set()

    async def _ask_on(
        self,
        number: int,
        spec: RunSpec,
        generation: Generation,
        places: Iterator[int],
        send: MemoryObjectSendStream[QueryResult],
    ) -> None:
        while not self.should_yield():
            place = next(places, None)
            if place is None:
                return
            await send.send(await self._ask(number, spec, generation, place))

    async def _ask(self, number: int, spec: RunSpec, generation: Generation, place: int) -> QueryResult:
        query = self.queries[place]
        try:
            vector, embed_ms = await self._embed(spec, generation, place)
        except OF_ONE_QUERY as error:
            return QueryResult(run=number, number=place, query_id=query.query_id, error_code=error.code)
        started = time.perf_counter()
        found = await self.rank(generation, query=query.text, vector=vector, settings=spec.settings, limit=self.top_k)
        return QueryResult(
            run=number,
            number=place,
            query_id=query.query_id,
            documents=b"".join(one.document_id.bytes for one in found),
            scores=np.array([one.score for one in found], dtype="<f4").tobytes(),
            embed_ms=embed_ms,
            search_ms=(time.perf_counter() - started) * 1000,
        )

    async def _embed(self, spec: RunSpec, generation: Generation, place: int) -> tuple[Vectors | None, float]:
        """A query's vector and the milliseconds it took, when it was first needed."""
        if spec.settings.mode is SearchMode.BM25:
            return None, 0.0
        known = self._vectors.get((generation.id, place))
        if known is None:
            started = time.perf_counter()
            vector = await self.embed(generation, self.queries[place].text)
            known = self._vectors[generation.id, place] = vector, (time.perf_counter() - started) * 1000
        return known

    async def _keep(
        self,
        number: int,
        spec: RunSpec,
        receive: MemoryObjectReceiveStream[QueryResult],
        are_asked: asyncio.Event,
        *,
        done: int,
    ) -> None:
        """Write down what has come, and tell; what comes meanwhile and shortly after is written together."""
        total, judged = 0.0, 0
        async with receive:
            async for first in receive:
                with suppress(TimeoutError):
                    await asyncio.wait_for(are_asked.wait(), GATHERED_SECONDS)
                results = [first]
                while len(results) < MOST_WRITTEN and receive.statistics().current_buffer_used:
                    results.append(receive.receive_nowait())
                async with self.database.fenced(self.lease) as connection:
                    await BenchmarkRepository(connection).add_results(self.benchmark_id, results)
                self.note_progress()
                done += len(results)
                values = self.score(results)
                total, judged = total + sum(values), judged + len(values)
                partial = {self.primary: round(total / judged, 4)} if judged else {}
                told = {**self._describe(number, spec), "query": done, "partial_metrics": partial}
                await self.report.send_update("benchmark_progress", told)

    def _describe(self, number: int, spec: RunSpec) -> dict[str, Any]:
        return {
            "run": number + 1,
            "runs": len(self.runs),
            "queries": len(self.queries),
            "config": {"name": spec.name, "generation": spec.generation, **spec.settings.to_config()},
        }


def _first_of(failures: ExceptionGroup[Exception]) -> Exception:
    """The error that has ended the others."""
    first = failures.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first

"""Rows of ``benchmarks``, ``benchmark_runs`` and ``benchmark_results``."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.products import error_code_of, state_of
from app.db.statements import JSON, JSON_OR_NULL, parsed
from app.domain.benchmarks import (
    Benchmark,
    BenchmarkNotFoundError,
    ListedBenchmark,
    NewBenchmark,
    QueryResult,
    RunSpec,
)
from app.domain.kept_mapping import KeptMapping
from app.domain.operations import ProductState

RESULTS_PER_PAGE = 500

_COLUMNS = f"""b.id, b.collection_id, c.name AS collection_name, b.user_id, b.operation_id, b.dataset_id,
    b.dataset_name, b.dataset_fingerprint, b.is_synthetic, {state_of("b")} AS state, b.config,
    {error_code_of("b")} AS error_code,
    b.created_at, b.finished_at"""
_FROM = """FROM benchmarks b JOIN collections c ON c.id = b.collection_id AND c.deleted_at IS NULL
    LEFT JOIN operations o ON o.id = b.operation_id"""


def to_benchmark(row: Mapping[str, Any] | RowMapping) -> Benchmark:
    """A benchmark of its row."""
    return Benchmark(**{**row, "state": ProductState(row["state"])})


class BenchmarkRepository:
    """Takes ids, gives benchmarks, never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _rows(self, sql: str, /, **values: object) -> Sequence[RowMapping]:
        types = {
            name: JSON if value is not None else JSON_OR_NULL
            for name, value in values.items()
            if isinstance(value, (dict, list)) and name in ("config", "mapping", "report", "settings", "per_query")
        }
        result = await self._connection.execute(parsed(sql, **types), values)
        return result.mappings().all() if result.returns_rows else []

    # --- benchmarks -----------------------------------------------------------------------------

    async def add(self, new: NewBenchmark) -> UUID:
        """A benchmark with its runs; its operation comes next."""
        benchmark_id = uuid4()
        await self._rows(
            """INSERT INTO benchmarks (id, collection_id, user_id, dataset_id, dataset_name, dataset_fingerprint,
                                       is_synthetic, config)
               SELECT CAST(:id AS uuid), CAST(:collection AS uuid), CAST(:user AS uuid), d.id, d.name, d.fingerprint,
                      coalesce(d.format = 'synthetic', true), CAST(:config AS jsonb)
               FROM (SELECT 1) one LEFT JOIN benchmark_datasets d ON d.id = CAST(:dataset AS uuid)""",
            id=benchmark_id,
            collection=new.collection_id,
            user=new.user_id,
            dataset=new.dataset_id,
            config=dict(new.config),
        )
        for number, run in enumerate(new.runs):
            await self._rows(
                """INSERT INTO benchmark_runs (benchmark_id, number, name, settings, generation_id, generation)
                   VALUES (:benchmark, :number, :name, :settings, :generation_id, :generation)""",
                benchmark=benchmark_id,
                number=number,
                name=run.name,
                settings=run.settings.to_config(),
                generation_id=run.generation_id,
                generation=run.generation,
            )
        return benchmark_id

    async def set_operation(self, benchmark_id: UUID, operation_id: UUID) -> None:
        """Say which operation measures it."""
        await self._rows(
            "UPDATE benchmarks SET operation_id = :operation WHERE id = :id", id=benchmark_id, operation=operation_id
        )

    async def get(self, user_id: UUID, benchmark_id: UUID | str) -> Benchmark:
        """With its report, without its mapping. Raises BenchmarkNotFoundError, also for somebody else's."""
        try:
            wanted = UUID(str(benchmark_id))
        except ValueError:
            raise BenchmarkNotFoundError(benchmark_id) from None
        rows = await self._rows(
            f"SELECT {_COLUMNS}, b.report {_FROM} WHERE b.id = :id AND b.user_id = :user",
            id=wanted,
            user=user_id,
        )
        if not rows:
            raise BenchmarkNotFoundError(benchmark_id)
        return to_benchmark(rows[0])

    async def find_mapping(self, benchmark_id: UUID) -> KeptMapping | None:
        """What judged documents are in the collection, once that is looked up."""
        rows = await self._rows("SELECT mapping FROM benchmarks WHERE id = :id", id=benchmark_id)
        return KeptMapping.from_config(rows[0]["mapping"]) if rows and rows[0]["mapping"] is not None else None

    async def list_newest(self, collection_id: UUID, *, limit: int) -> list[ListedBenchmark]:
        """Newest first, without what is long."""
        rows = await self._rows(
            f"""SELECT {_COLUMNS}, b.report -> 'runs' AS runs, b.report -> 'verdicts' AS verdicts {_FROM}
                WHERE b.collection_id = :collection ORDER BY b.created_at DESC, b.id LIMIT :limit""",
            collection=collection_id,
            limit=limit,
        )
        return [
            ListedBenchmark(
                benchmark=to_benchmark({name: row[name] for name in row if name not in ("runs", "verdicts")}),
                runs=row["runs"] or [],
                verdicts=row["verdicts"] or [],
            )
            for row in rows
        ]

    async def find_baseline(self, collection_id: UUID, dataset_id: UUID, *, top_k: int) -> UUID | None:
        """The newest benchmark that was begun for this dataset because it is attached, and has completed.

        One that has failed its conditions is none: what got worse would else be found good enough the next time.
        """
        rows = await self._rows(
            """SELECT id FROM benchmarks WHERE collection_id = :collection AND dataset_id = :dataset
                 AND state = 'completed' AND config -> 'is_attached' = 'true' AND (config ->> 'top_k')::int = :top_k
                 AND NOT coalesce(jsonb_path_exists(report, '$.verdicts[*] ? (@.outcome == "failed")'), false)
               ORDER BY finished_at DESC LIMIT 1""",
            collection=collection_id,
            dataset=dataset_id,
            top_k=top_k,
        )
        return UUID(str(rows[0]["id"])) if rows else None

    async def delete(self, benchmark_id: UUID) -> None:
        """With its runs and results."""
        await self._rows("DELETE FROM benchmarks WHERE id = :id", id=benchmark_id)

    async def begin(self, benchmark_id: UUID) -> None:
        """An attempt measures it, whatever had become of it before."""
        await self._rows(
            """UPDATE benchmarks SET state = 'running', error_code = NULL, finished_at = NULL
               WHERE id = :id AND state <> 'completed'""",
            id=benchmark_id,
        )

    async def set_dataset(self, benchmark_id: UUID, dataset_id: UUID) -> None:
        """Say what it is measured with, which was only made by its operation."""
        await self._rows(
            """UPDATE benchmarks b SET dataset_id = d.id, dataset_name = d.name, dataset_fingerprint = d.fingerprint,
                      is_synthetic = d.format = 'synthetic'
               FROM benchmark_datasets d WHERE b.id = :id AND d.id = :dataset""",
            id=benchmark_id,
            dataset=dataset_id,
        )

    async def keep_mapping(self, benchmark_id: UUID, mapping: KeptMapping) -> None:
        """Write down what judged documents are in the collection."""
        await self._rows(
            "UPDATE benchmarks SET mapping = :mapping WHERE id = :id", id=benchmark_id, mapping=mapping.to_config()
        )

    async def complete(
        self, benchmark_id: UUID, report: Mapping[str, Any], per_query: Mapping[int, Mapping[str, Any]]
    ) -> None:
        """Keep what was found; ``per_query`` by the numbers of runs."""
        for number, values in per_query.items():
            await self._rows(
                "UPDATE benchmark_runs SET per_query = :per_query WHERE benchmark_id = :id AND number = :number",
                id=benchmark_id,
                number=number,
                per_query=dict(values),
            )
        await self._rows(
            """UPDATE benchmarks SET state = 'completed', report = :report, finished_at = now(), error_code = NULL
               WHERE id = :id""",
            id=benchmark_id,
            report=dict(report),
        )

    # --- runs and results -----------------------------------------------------------------------

    async def list_runs(self, benchmark_id: UUID) -> list[RunSpec]:
        """In their order."""
        rows = await self._rows(
            """SELECT name, settings, generation_id::text AS generation_id, generation FROM benchmark_runs
               WHERE benchmark_id = :id ORDER BY number""",
            id=benchmark_id,
        )
        return [RunSpec.from_config(dict(row)) for row in rows]

    async def load_per_query(self, benchmark_id: UUID) -> dict[str, Mapping[str, Any]]:
        """By the names of runs, each measure's values and the ids of the queries; empty until it has completed."""
        rows = await self._rows(
            """SELECT name, per_query FROM benchmark_runs WHERE benchmark_id = :id AND per_query IS NOT NULL
               ORDER BY number""",
            id=benchmark_id,
        )
        return {row["name"]: row["per_query"] for row in rows}

    async def list_finished(self, benchmark_id: UUID) -> dict[int, set[int]]:
        """The queries of each run that need not be asked again."""
        rows = await self._rows(
            """SELECT run, array_agg(number) AS numbers FROM benchmark_results WHERE benchmark_id = :id
               GROUP BY run""",
            id=benchmark_id,
        )
        return {row["run"]: set(row["numbers"]) for row in rows}

    async def add_results(self, benchmark_id: UUID, results: Sequence[QueryResult]) -> None:
        """What some queries have found."""
        await self._connection.execute(
            parsed(
                """INSERT INTO benchmark_results (benchmark_id, run, number, query_id, documents, scores, embed_ms,
                                                  search_ms, error_code)
                   VALUES (:benchmark, :run, :number, :query_id, :documents, :scores, :embed_ms, :search_ms, :code)
                   ON CONFLICT DO NOTHING"""
            ),
            [
                {
                    "benchmark": benchmark_id,
                    "run": one.run,
                    "number": one.number,
                    "query_id": one.query_id,
                    "documents": one.documents,
                    "scores": one.scores,
                    "embed_ms": one.embed_ms,
                    "search_ms": one.search_ms,
                    "code": one.error_code,
                }
                for one in results
            ],
        )

    async def list_results(self, benchmark_id: UUID, run: int) -> list[QueryResult]:
        """All of one run, in the order of queries."""
        rows = await self._rows(
            """SELECT run, number, query_id, documents, scores, embed_ms, search_ms, error_code FROM benchmark_results
               WHERE benchmark_id = :id AND run = :run ORDER BY number""",
            id=benchmark_id,
            run=run,
        )
        return [QueryResult(**row) for row in rows]

    async def stream_results(self, benchmark_id: UUID, run: int) -> AsyncIterator[list[QueryResult]]:
        """All of one run without its scores, in the order of queries, some hundreds at a time."""
        after = -1
        while True:
            rows = await self._rows(
                """SELECT run, number, query_id, documents, embed_ms, search_ms, error_code
                   FROM benchmark_results WHERE benchmark_id = :id AND run = :run AND number > :after
                   ORDER BY number LIMIT :limit""",
                id=benchmark_id,
                run=run,
                after=after,
                limit=RESULTS_PER_PAGE,
            )
            if not rows:
                return
            yield [QueryResult(**row) for row in rows]
            after = rows[-1]["number"]

    async def drop_old_results(self, *, older_than_days: int, rows: int) -> int:
        """Drop rankings of benchmarks that ended long ago, some at a time; their reports stay. How many they were."""
        dropped = await self._connection.execute(
            parsed(
                """DELETE FROM benchmark_results WHERE ctid IN (
                       SELECT r.ctid FROM benchmark_results r JOIN benchmarks b ON b.id = r.benchmark_id
                       WHERE b.finished_at < now() - make_interval(days => :days) LIMIT :rows)"""
            ),
            {"days": older_than_days, "rows": rows},
        )
        return dropped.rowcount

    async def count_old_results(self, *, older_than_days: int) -> int:
        """How many those are."""
        rows = await self._rows(
            """SELECT count(*) AS n FROM benchmark_results r JOIN benchmarks b ON b.id = r.benchmark_id
               WHERE b.finished_at < now() - make_interval(days => :days)""",
            days=older_than_days,
        )
        return int(rows[0]["n"])

    # --- upkeep ---------------------------------------------------------------------------------

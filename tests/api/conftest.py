"""An application over service doubles, and real progress streams."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis

from app.api.app import create_api
from app.api.services import ApiServices
from app.domain.operations import Operation, OperationKind, OperationState
from app.progress.hub import ProgressHub
from app.progress.reporter import ProgressReporter
from tests.api.benchmark_doubles import FakeAttachedBenchmarks, FakeBenchmarks
from tests.api.dataset_doubles import NoDatasets, NoJudgments
from tests.api.doubles import (
    KEY,
    FakeAudit,
    FakeChecks,
    FakeCollections,
    FakeIdentity,
    FakeOperations,
    FakeRebuilds,
    FakeRemovals,
    FakeSearch,
    FakeSources,
    FakeWebhooks,
    NoPartitions,
    NoPeriodicJobs,
    NoStatistics,
)
from tests.api.generation_doubles import FakeComparisons, FakeGenerations
from tests.api.projection_doubles import FakeLiveProjections, FakeProjections
from tests.api.search_doubles import FakeSearchLogs
from tests.api.session_doubles import FakeSessions
from tests.api.sync_doubles import FakeSyncs
from tests.api.upload_doubles import NoBatches, NoUploads
from tests.progress.valkey import RestartableValkey, running_valkey, wait_until

REQUEST_MAX_BYTES = 100_000


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The application, what it calls, and how to report progress to it."""

    application: FastAPI
    identity: FakeIdentity
    sessions: FakeSessions
    operations: FakeOperations
    collections: FakeCollections
    sources: FakeSources
    search: FakeSearch
    comparisons: FakeComparisons
    removals: FakeRemovals
    rebuilds: FakeRebuilds
    benchmarks: FakeBenchmarks
    projections: FakeProjections
    health: FakeChecks
    syncs: FakeSyncs
    hub: ProgressHub
    redis: Redis
    namespace: str

    def add_operation(self, state: OperationState) -> Operation:
        """An operation of the caller."""
        return self.operations.add(self.identity.user_id, self.collections.handbook, state, OperationKind.INDEX)

    def report(self, operation: Operation) -> ProgressReporter:
        """A reporter of an operation."""
        reporter = ProgressReporter(self.redis, operation.id, namespace=self.namespace)
        reporter.set_user_id(operation.user_id)
        return reporter


@pytest.fixture(scope="session")
def valkey() -> Iterator[RestartableValkey]:
    """One server for all tests of this folder."""
    with running_valkey() as server:
        yield server


@pytest.fixture
async def redis(valkey: RestartableValkey) -> AsyncIterator[Redis]:
    """A client of the server."""
    async with Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
async def edge(redis: Redis) -> AsyncIterator[Edge]:
    """The application over doubles, with room for two watchers of a user."""
    identity = FakeIdentity()
    sessions = FakeSessions(identity)
    operations, collections, search = FakeOperations(), FakeCollections(identity.user_id), FakeSearch()
    health, removals, rebuilds = FakeChecks(), FakeRemovals(operations), FakeRebuilds(operations)
    syncs, sources, comparisons = FakeSyncs(), FakeSources(collections), FakeComparisons()
    benchmarks, projections = FakeBenchmarks(operations), FakeProjections(operations)
    namespace = f"test-{uuid4().hex[:8]}"
    async with ProgressHub(redis, namespace=namespace, queue_size=50) as hub:
        services = ApiServices(
            identity=identity,
            sessions=sessions,
            operations=operations,
            collections=collections,
            sources=sources,
            search=search,
            generations=FakeGenerations(),
            comparisons=comparisons,
            search_logs=FakeSearchLogs(),
            datasets=NoDatasets(),
            judgments=NoJudgments(),
            removals=removals,
            rebuilds=rebuilds,
            benchmarks=benchmarks,
            attached_benchmarks=FakeAttachedBenchmarks(),
            projections=projections,
            live_projections=FakeLiveProjections(),
            health=health,
            diagnosis=health,
            hub=hub,
            syncs=syncs,
            periodic=NoPeriodicJobs(),
            audit=FakeAudit(),
            webhooks=FakeWebhooks(),
            statistics=NoStatistics(),
            partitions=NoPartitions(),
            uploads=NoUploads(),
            batches=NoBatches(),
            watchers_per_user=2,
            request_max_bytes=REQUEST_MAX_BYTES,
        )
        yield Edge(
            application=create_api(services),
            identity=identity,
            sessions=sessions,
            operations=operations,
            collections=collections,
            sources=sources,
            search=search,
            comparisons=comparisons,
            removals=removals,
            rebuilds=rebuilds,
            benchmarks=benchmarks,
            projections=projections,
            health=health,
            syncs=syncs,
            hub=hub,
            redis=redis,
            namespace=namespace,
        )


@pytest.fixture
async def client(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a valid key."""
    transport = httpx.ASGITransport(app=edge.application, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {KEY}"}
    ) as opened:
        yield opened


@pytest.fixture
async def port(edge: Edge) -> AsyncIterator[int]:
    """The port of a server that serves the application."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(edge.application, lifespan="off", log_config=None, ws="websockets-sansio")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def has_started() -> bool:
        return server.started

    await wait_until(has_started)
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving
    listener.close()

"""Health: whether the parts answer that a process cannot do without."""

from collections.abc import Awaitable, Callable, Sequence

from redis.asyncio import Redis

from app.db.database import Database
from app.db.schema import Schema
from app.domain.checks import Check, Probe
from app.domain.ports import VectorStore

MIGRATE = "run `vecloom migrate` with this version"


def health_probes(database: Database, redis: Redis, store: VectorStore) -> list[Probe]:
    """Probes of the outside systems, cheap enough to be run every second."""
    schema = Schema()

    async def ping_redis() -> None:
        await redis.ping()

    async def ask_store() -> None:
        if not await store.is_ready():
            raise ConnectionError

    async def compare_schema() -> Sequence[Check]:
        async with database.begin() as connection:
            trouble = await schema.find_trouble(connection)
        return [Check(name="migrations", ok=trouble is None, detail=trouble or "current", fix=MIGRATE)]

    return [
        answering("postgres", database.ping, fix="check that Postgres runs and VECLOOM_DATABASE_URL is right"),
        Probe(name="migrations", look=compare_schema, fix="see the check of Postgres"),
        answering("redis", ping_redis, fix="check that Redis runs and VECLOOM_REDIS_URL is right"),
        answering("vector_store", ask_store, fix="check that Qdrant runs and VECLOOM_QDRANT_URL is right"),
    ]


def answering(name: str, ask: Callable[[], Awaitable[None]], *, fix: str) -> Probe:
    """A probe of something that is well if it answers."""

    async def look() -> Sequence[Check]:
        await ask()
        return [Check(name=name, ok=True, detail="answers", fix=fix)]

    return Probe(name=name, look=look, fix=fix)


def readiness(checks: Sequence[Check]) -> dict[str, object]:
    """The answer of ``/health/ready``."""
    return {
        "status": "ready" if all(check.ok for check in checks) else "not_ready",
        "checks": {check.name: check.ok for check in checks},
        "details": {check.name: check.detail for check in checks if not check.ok},
    }

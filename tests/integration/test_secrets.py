"""Secrets in what other servers answer reach no row, no event and no log line."""

from pathlib import Path

import pytest
from sqlalchemy import text

from app.progress.events import stream_key
from app.settings import Settings
from tests.harness import Api, WorkerProcess
from tests.model_server import FakeModelServer
from tests.vector_proxy import Plan, Spoil, VectorProxy

TOKEN, PASSWORD, PERSON = "zq-token-4f6a1c", "zq-password-77b2", "zq-person-0a9d"
REASON = (
    f'denied {{"headers": {{"Authorization": "Bearer {TOKEN}"}}}} for /home/{PERSON}/notes'
    f" of {PERSON}@mail.example.org, via postgresql://bob:{PASSWORD}@db/x?password={PASSWORD}"
)


@pytest.fixture
def settings(settings: Settings, proxy: VectorProxy, server: FakeModelServer) -> Settings:
    """Settings that use both."""
    changes = {"qdrant_url": proxy.url, "embedding_url": server.url, "embedding_model": server.model}
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.mark.parametrize("who", ["vector store", "model"])
async def test_what_a_server_lets_slip_is_kept_nowhere(
    *,
    api: Api,
    folder: Path,
    proxy: VectorProxy,
    server: FakeModelServer,
    worker_process: WorkerProcess,
    tmp_path: Path,
    who: str,
) -> None:
    """An error body with a token, a password and a person's name fails the operation without any of them."""
    if who == "model":
        server.fail_next(403, times=1000, body={"error": {"message": REASON}})
    proxy.spoil_next(Plan(spoil=Spoil.REFUSED, status=403, reason=REASON), times=1000)
    worker_process.start()

    operation = await api.create("comets", folder)
    failed = await api.wait(operation)
    async with api.parts.database.begin() as connection:
        rows = [
            str(await connection.scalar(text(f"SELECT json_agg(t) FROM {table} t")))  # noqa: S608 — our own names
            for table in ("operations", "documents")
        ]
    events = await api.parts.redis.xrange(stream_key(api.parts.settings.redis_namespace, operation["operation_id"]))
    kept = [*rows, str(events), str(failed), (tmp_path / "worker.log").read_text()]

    assert failed["state"] == "failed"
    assert events
    assert all("attempt_failed" in log for log in kept[-1:])
    for secret in (TOKEN, PASSWORD, PERSON):
        assert not any(secret in place for place in kept)

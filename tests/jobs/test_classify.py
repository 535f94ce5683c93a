"""What exceptions of drivers and of the system amount to: one case for each class, with the real exception."""

import asyncio
import errno
import pickle
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

import asyncpg
import httpx
import pytest
from asyncpg import exceptions as postgres
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from redis import exceptions as redis
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.bootstrap import Parts
from app.db.database import Database, copy_rows
from app.domain.errors import (
    DomainError,
    EmbedderUnavailableError,
    LeaseLostError,
    SliceEndedError,
    TransientError,
    UnknownModelError,
)
from app.domain.failures import UnexpectedError
from app.domain.retry_after import parse_retry_after
from app.embedders.http import HttpEmbedder
from app.jobs.classify import classify
from app.stores.qdrant import QdrantStore

SECRET = "hunter2"
"""What no message may repeat."""


def wrap(driver: Exception, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    """A driver's error as SQLAlchemy raises it."""
    below: Exception = AsyncAdapt_asyncpg_dbapi.Error(str(driver), driver)  # type: ignore[no-untyped-call]  # of SQLAlchemy
    below.__cause__ = driver
    return kind("SELECT 1", {}, below)


def answer(status: int, **headers: str) -> httpx.HTTPStatusError:
    """An answer that httpx raises for."""
    request = httpx.Request("GET", f"http://bob:{SECRET}@host/")
    response = httpx.Response(status, headers=headers, request=request)
    return httpx.HTTPStatusError(SECRET, request=request, response=response)


def leak(status: int, **headers: str) -> UnexpectedResponse:
    """An answer that qdrant-client raises for."""
    return UnexpectedResponse(status, "", SECRET.encode(), httpx.Headers(headers))


def refused(number: int, *, filename: str | None = None) -> OSError:
    """What the system says."""
    return OSError(number, SECRET, filename)


TRANSIENT: list[tuple[BaseException, str]] = [
    # Postgres, as asyncpg raises it and as SQLAlchemy does
    (postgres.DeadlockDetectedError(SECRET), "database_conflict"),
    (wrap(postgres.SerializationError(SECRET)), "database_conflict"),
    (wrap(postgres.LockNotAvailableError(SECRET)), "database_conflict"),
    (wrap(postgres.TransactionRollbackError(SECRET)), "database_conflict"),
    (wrap(postgres.QueryCanceledError(SECRET)), "database_timeout"),
    (wrap(postgres.IdleSessionTimeoutError(SECRET)), "database_timeout"),
    (postgres.TooManyConnectionsError(SECRET), "database_unavailable"),
    (wrap(postgres.TooManyConnectionsError(SECRET)), "database_unavailable"),
    (wrap(postgres.OutOfMemoryError(SECRET)), "database_unavailable"),
    (wrap(postgres.AdminShutdownError(SECRET)), "database_unavailable"),
    (wrap(postgres.CrashShutdownError(SECRET)), "database_unavailable"),
    (wrap(postgres.CannotConnectNowError(SECRET)), "database_unavailable"),
    (wrap(postgres.ReadOnlySQLTransactionError(SECRET)), "database_unavailable"),
    (wrap(postgres.ConnectionDoesNotExistError(SECRET)), "database_unavailable"),
    (wrap(postgres.PostgresIOError(SECRET)), "database_unavailable"),
    (wrap(asyncpg.InterfaceError(SECRET)), "database_unavailable"),
    (PoolTimeoutError(SECRET), "database_unavailable"),
    (postgres.DiskFullError(SECRET), "disk_full"),
    (wrap(postgres.DiskFullError(SECRET)), "disk_full"),
    # Redis
    (redis.ConnectionError(SECRET), "redis_unavailable"),
    (redis.TimeoutError(SECRET), "redis_unavailable"),
    (redis.MaxConnectionsError(SECRET), "redis_unavailable"),
    (redis.BusyLoadingError(SECRET), "redis_unavailable"),
    (redis.ReadOnlyError(SECRET), "redis_unavailable"),
    (redis.OutOfMemoryError(SECRET), "redis_unavailable"),
    (redis.ResponseError(f"NOREPLICAS {SECRET}"), "redis_unavailable"),
    (redis.ResponseError(f"MISCONF {SECRET}"), "disk_full"),
    # other servers
    (answer(408), "remote_unavailable"),
    (answer(425), "remote_unavailable"),
    (answer(429), "remote_unavailable"),
    (answer(500), "remote_unavailable"),
    (answer(503), "remote_unavailable"),
    (answer(507), "disk_full"),
    (httpx.ConnectError(SECRET), "network_error"),
    (httpx.ReadTimeout(SECRET), "network_error"),
    (httpx.RemoteProtocolError(SECRET), "network_error"),
    (leak(429), "vector_store_unavailable"),
    (leak(500), "vector_store_unavailable"),
    (leak(507), "disk_full"),
    (ResourceExhaustedResponse(SECRET, 3), "vector_store_unavailable"),
    (QdrantException(SECRET), "vector_store_unavailable"),
    (ResponseHandlingException(httpx.ReadTimeout(SECRET)), "vector_store_unavailable"),
    (ResponseHandlingException(ValueError(SECRET)), "vector_store_garbage"),
    # this machine
    (ConnectionRefusedError(errno.ECONNREFUSED, SECRET), "network_error"),
    (ConnectionResetError(errno.ECONNRESET, SECRET), "network_error"),
    (BrokenPipeError(errno.EPIPE, SECRET), "network_error"),
    (refused(errno.EHOSTUNREACH), "network_error"),
    (refused(errno.ENETUNREACH), "network_error"),
    (refused(errno.ETIMEDOUT), "network_error"),
    (refused(errno.ENOENT), "network_error"),
    (socket.gaierror(socket.EAI_NONAME, SECRET), "network_error"),
    (ssl.SSLError(1, SECRET), "network_error"),
    (TimeoutError(), "network_error"),
    (asyncio.IncompleteReadError(b"", 8), "network_error"),
    (refused(errno.ENOSPC), "disk_full"),
    (refused(errno.EDQUOT), "disk_full"),
    (refused(errno.EIO), "storage_failed"),
    (refused(errno.ESTALE), "storage_failed"),
    (refused(errno.EMFILE), "resources_exhausted"),
    (refused(errno.ENOMEM), "resources_exhausted"),
    (MemoryError(), "resources_exhausted"),
    (BrokenProcessPool(SECRET), "process_died"),
]
PERMANENT: list[tuple[BaseException, str]] = [
    (wrap(postgres.InvalidPasswordError(SECRET)), "database_refuses_access"),
    (wrap(postgres.InsufficientPrivilegeError(SECRET), ProgrammingError), "database_refuses_access"),
    (asyncpg.ClientConfigurationError(SECRET), "database_refuses_access"),
    (wrap(postgres.InvalidCatalogNameError(SECRET)), "database_schema"),
    (wrap(postgres.InvalidSchemaNameError(SECRET)), "database_schema"),
    (wrap(postgres.UndefinedTableError(SECRET), ProgrammingError), "database_schema"),
    (wrap(postgres.UndefinedColumnError(SECRET), ProgrammingError), "database_schema"),
    (wrap(postgres.DataCorruptedError(SECRET)), "database_damaged"),
    (wrap(postgres.IndexCorruptedError(SECRET)), "database_damaged"),
    (redis.AuthenticationError(SECRET), "redis_refuses_access"),
    (redis.AuthorizationError(SECRET), "redis_refuses_access"),
    (redis.NoPermissionError(SECRET), "redis_refuses_access"),
    (answer(400), "remote_refuses"),
    (answer(403), "remote_refuses"),
    (answer(404), "remote_refuses"),
    (leak(400), "vector_store_rejected"),
    (leak(401), "vector_store_rejected"),
    (leak(404), "generation_missing"),
    (ssl.SSLCertVerificationError(1, SECRET), "certificate_invalid"),
    (refused(errno.EACCES, filename=SECRET), "permission_denied"),
    (refused(errno.EPERM), "permission_denied"),
    (refused(errno.EROFS), "storage_read_only"),
    (refused(errno.ENOENT, filename=SECRET), "file_missing"),
    (UnknownModelError("m", "known: none"), "unknown_model"),
]
UNKNOWN: list[BaseException] = [
    ValueError(SECRET),
    KeyError(SECRET),
    RecursionError(SECRET),
    pickle.PicklingError(SECRET),
    pickle.UnpicklingError(SECRET),
    UnicodeDecodeError("utf-8", b"x", 0, 1, SECRET),
    refused(errno.EISDIR),
    redis.ResponseError(f"ERR {SECRET}"),
    redis.DataError(SECRET),
    answer(302),
    wrap(postgres.UniqueViolationError(SECRET), IntegrityError),
    wrap(postgres.DataError(SECRET)),
    wrap(postgres.PostgresSyntaxError(SECRET), ProgrammingError),
    BaseExceptionGroup("", [asyncio.CancelledError(SECRET)]),
]


def name_case(value: object) -> str:
    """What a case is called."""
    state = getattr(value, "errno", None) or getattr(getattr(value, "response", value), "status_code", "")
    below = getattr(value, "orig", None)
    return value if isinstance(value, str) else f"{type(below.__cause__ if below else value).__name__}{state}"


@pytest.mark.parametrize(("error", "code"), TRANSIENT, ids=name_case)
def test_what_may_pass_is_tried_again(error: BaseException, code: str) -> None:
    """Whatever a later attempt may not meet again is transient."""
    known = classify(error)

    assert (known.code, known.retryable) == (code, True)
    assert not isinstance(known, UnexpectedError)


@pytest.mark.parametrize(("error", "code"), PERMANENT, ids=name_case)
def test_what_would_come_back_is_not(error: BaseException, code: str) -> None:
    """A definite refusal, something missing or broken is permanent."""
    known = classify(error)

    assert (known.code, known.retryable) == (code, False)


@pytest.mark.parametrize("error", UNKNOWN, ids=name_case)
def test_anything_else_is_unknown(error: BaseException) -> None:
    """What nobody thought of is named by its type alone."""
    known = classify(error)

    assert isinstance(known, UnexpectedError)
    assert known.code == "internal_error"


@pytest.mark.parametrize(
    "error", [error for error, code in [*TRANSIENT, *PERMANENT] if code != "vector_store_rejected"], ids=name_case
)
def test_a_message_says_something_and_quotes_nothing(error: BaseException) -> None:
    """Texts of exceptions may hold anything, so none of them reaches a user."""
    message = classify(error).message

    assert len(message) > 10
    assert SECRET not in message


# --- how long to wait ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        answer(429, **{"Retry-After": "7"}),
        answer(503, **{"Retry-After": "7"}),
        leak(503, **{"Retry-After": "7"}),
        ResourceExhaustedResponse("", 7),
        EmbedderUnavailableError("busy", retry_after_seconds=7),
    ],
    ids=name_case,
)
def test_what_the_other_side_asked_for_is_kept(error: Exception) -> None:
    """``Retry-After`` comes through, from whoever sent it."""
    known = classify(error)

    assert isinstance(known, TransientError)
    assert known.retry_after_seconds == 7


def test_a_date_is_an_answer_too() -> None:
    """``Retry-After`` may be a moment instead of a number."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)

    known = classify(leak(503, **{"Retry-After": moment}))

    assert isinstance(known, TransientError)
    assert known.retry_after_seconds is not None
    assert 60 < known.retry_after_seconds <= 100


# --- several at once ----------------------------------------------------------------------------

LOST = LeaseLostError("lost")
PERMANENT_ERROR = UnknownModelError("m", "known: none")
TRANSIENT_ERROR = EmbedderUnavailableError("away")
BUG = ValueError("bug")
ENDED = SliceEndedError("ended")


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((TRANSIENT_ERROR, PERMANENT_ERROR, BUG), "unknown_model"),
        ((BUG, TRANSIENT_ERROR), "embedder_unavailable"),
        ((BUG, ENDED), "internal_error"),
        ((ENDED, TRANSIENT_ERROR), "embedder_unavailable"),
        ((PERMANENT_ERROR, LOST), "lease_lost"),
        ((ExceptionGroup("inner", [BUG, ExceptionGroup("", [PERMANENT_ERROR])]), TRANSIENT_ERROR), "unknown_model"),
        ((refused(errno.ENOSPC), BUG), "disk_full"),
    ],
)
def test_the_worst_of_several_decides(errors: tuple[Exception, ...], code: str) -> None:
    """A lost lease before a permanent error, before a transient one, before an unknown one, before a slice's end."""
    assert classify(ExceptionGroup("several", errors)).code == code


def test_a_cancellation_beside_an_error_is_its_effect() -> None:
    """Tasks that were cancelled because another failed say nothing."""
    known = classify(BaseExceptionGroup("several", [asyncio.CancelledError(), TRANSIENT_ERROR]))

    assert known is TRANSIENT_ERROR


# --- a real Postgres ----------------------------------------------------------------------------


@pytest.fixture
async def connections(parts: Parts) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
    """Two open connections, each in a transaction, to a database with a table of two rows."""
    async with parts.database.begin() as connection:
        await connection.execute(text("CREATE TABLE pairs (id int PRIMARY KEY, value int)"))
        await connection.execute(text("INSERT INTO pairs VALUES (1, 0), (2, 0)"))
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(parts.database.engine.connect()),
            await stack.enter_async_context(parts.database.engine.connect()),
        )


async def provoke(work: Awaitable[object]) -> DomainError:
    """What an awaitable's exception amounts to."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 — which one it is, is the question
        return classify(error)
    raise AssertionError("nothing was raised")


UPDATE = "UPDATE pairs SET value = value + 1 WHERE id = {}"


async def test_a_deadlock_is_transient(connections: tuple[AsyncConnection, AsyncConnection]) -> None:
    """One of two transactions that wait for each other is given up."""
    one, two = connections
    await one.execute(text(UPDATE.format(1)))
    await two.execute(text(UPDATE.format(2)))

    outcomes = await asyncio.gather(
        one.execute(text(UPDATE.format(2))), two.execute(text(UPDATE.format(1))), return_exceptions=True
    )

    codes = [classify(outcome).code for outcome in outcomes if isinstance(outcome, BaseException)]
    assert codes == ["database_conflict"]


async def test_a_serialisation_failure_is_transient(connections: tuple[AsyncConnection, AsyncConnection]) -> None:
    """A transaction whose snapshot is overtaken is given up."""
    one, two = connections
    await one.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    await one.execute(text("SELECT * FROM pairs"))
    await two.execute(text(UPDATE.format(1)))
    await two.commit()

    known = await provoke(one.execute(text(UPDATE.format(1))))

    assert (known.code, known.retryable) == ("database_conflict", True)


@pytest.mark.parametrize(
    ("statements", "code", "retryable"),
    [
        (("SET LOCAL statement_timeout = '20ms'", "SELECT pg_sleep(10)"), "database_timeout", True),
        (("SET TRANSACTION READ ONLY", "DELETE FROM pairs"), "database_unavailable", True),
        (("SELECT pg_terminate_backend(pg_backend_pid())",), "database_unavailable", True),
        (("SELECT * FROM nowhere",), "database_schema", False),
        (("SELECT nothing FROM pairs",), "database_schema", False),
        (("SET LOCAL ROLE pg_monitor", "DELETE FROM pairs"), "database_refuses_access", False),
        (("INSERT INTO pairs VALUES (1, 0)",), "internal_error", True),
    ],
)
async def test_a_refusal_of_postgres_is_known_by_its_state(
    connections: tuple[AsyncConnection, AsyncConnection], statements: tuple[str, ...], code: str, *, retryable: bool
) -> None:
    """Whatever class SQLAlchemy and the driver give it."""
    *before, last = statements
    for statement in before:
        await connections[0].execute(text(statement))

    known = await provoke(connections[0].execute(text(last)))

    assert (known.code, known.retryable) == (code, retryable)


async def test_a_lock_that_is_not_given_is_transient(connections: tuple[AsyncConnection, AsyncConnection]) -> None:
    """A row that another transaction keeps."""
    one, two = connections
    await one.execute(text(UPDATE.format(1)))
    await two.execute(text("SET LOCAL lock_timeout = '20ms'"))

    known = await provoke(two.execute(text(UPDATE.format(1))))

    assert (known.code, known.retryable) == ("database_conflict", True)


async def test_an_error_of_copy_is_known_although_nobody_wraps_it(
    connections: tuple[AsyncConnection, AsyncConnection],
) -> None:
    """COPY goes around SQLAlchemy, so its errors come as the driver's own."""
    connection = connections[0]
    await connection.execute(text("SET TRANSACTION READ ONLY"))

    known = await provoke(copy_rows(connection, "pairs", columns=("id", "value"), rows=[(3, 0)]))

    assert (known.code, known.retryable) == ("database_unavailable", True)


@pytest.mark.parametrize(
    ("change", "code", "retryable"),
    [
        (lambda url, _: url.replace("/t_", "/no_t_"), "database_schema", False),
        (lambda url, role: url.replace("//postgres@", f"//{role}@"), "database_unavailable", True),
        (lambda url, _: url.replace("//postgres@", "//nobody_at_all@"), "database_refuses_access", False),
        (lambda url, _: f"{url.partition('?')[0]}?host=/nowhere", "database_unavailable", True),
    ],
    ids=["no database", "too many connections", "no such user", "no server"],
)
async def test_a_connection_that_cannot_be_made_says_why(
    parts: Parts, change: Callable[[str, str], str], code: str, *, retryable: bool
) -> None:
    """Nobody is told to try again with a wrong name, and nobody gives up because the server is full or away."""
    role = f"limited_{uuid4().hex[:8]}"
    async with parts.database.begin() as connection:
        await connection.execute(text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"))
    database = Database(change(parts.endpoints.database_url, role), pool_size=1)

    known = await provoke(database.ping())
    await database.aclose()
    async with parts.database.begin() as connection:
        await connection.execute(text(f"DROP ROLE {role}"))

    assert (known.code, known.retryable) == (code, retryable)


@pytest.mark.parametrize("value", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "soon", "inf", ""])
def test_a_retry_after_that_says_nothing_is_none(value: str) -> None:
    """Whatever a server writes there."""
    assert parse_retry_after(value) is None


@pytest.fixture(scope="module")
def distrusted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server whose certificate nobody has signed but itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("a certificate is made by openssl, which is not here")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


async def test_a_certificate_that_nobody_trusts_is_no_outage(distrusted: str) -> None:
    """The model server, the vector store and a plain client all name it, and nobody tries again."""
    embedder = HttpEmbedder(distrusted, model="m", timeout_seconds=5)
    store = QdrantStore(distrusted, api_key=None)
    async with httpx.AsyncClient() as client:
        found = [
            await provoke(embedder.embed_documents(["whales"])),
            await provoke(store.list_collections()),
            await provoke(store.retrieve_points("x", [uuid4()], dimension=4)),
            await provoke(client.get(distrusted)),
        ]
    await embedder.aclose()
    await store.aclose()

    assert [(known.code, known.retryable) for known in found] == [("certificate_invalid", False)] * 4

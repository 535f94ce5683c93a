"""Says of any exception whether trying again may help: by its type and its code, never by words in its text.

Transient: no or no good answer from outside, a full disk, exhausted resources. Permanent: a definite refusal, something
missing or broken. Unknown, which is tried again once: everything else.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor

import asyncpg
import httpx
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import (
    DiskFullError,
    DomainError,
    LeaseLostError,
    PermissionDeniedError,
    ProcessDiedError,
    SliceEndedError,
)
from app.domain.failures import (
    CertificateError,
    DatabaseConflictError,
    DatabaseDamagedError,
    DatabaseRefusesAccessError,
    DatabaseSchemaError,
    DatabaseTimeoutError,
    DatabaseUnavailableError,
    FileMissingError,
    NetworkError,
    ReadOnlyStorageError,
    RedisRefusesAccessError,
    RedisUnavailableError,
    RemoteRefusesError,
    RemoteUnavailableError,
    ResourcesExhaustedError,
    StorageFailedError,
    UnexpectedError,
    find_distrust,
)
from app.domain.retry_after import parse_retry_after
from app.stores.qdrant import CLIENT_ERRORS, read_client_error

SQLSTATES: dict[str, Callable[[], DomainError]] = {
    "53100": lambda: DiskFullError("the disk of the database"),
    "40001": lambda: DatabaseConflictError("the database gave up a transaction in favour of another one"),
    "40P01": lambda: DatabaseConflictError("the database broke a deadlock"),
    "55P03": lambda: DatabaseConflictError("another transaction held a lock for too long"),
    "57014": lambda: DatabaseTimeoutError("the database ended a statement that took too long"),
    "57P05": lambda: DatabaseTimeoutError("the database ended a session that was idle for too long"),
    "25006": lambda: DatabaseUnavailableError("the database accepts no writes now, as during a failover"),
    "53300": lambda: DatabaseUnavailableError("the database has no connection left; raise its max_connections"),
    "57P03": lambda: DatabaseUnavailableError("the database is starting or stopping"),
    "42501": lambda: DatabaseRefusesAccessError("the database user lacks a privilege; grant it, or use another user"),
    "3D000": lambda: DatabaseSchemaError("the database does not exist; check the database URL"),
    "3F000": lambda: DatabaseSchemaError("the database lacks a schema; run the migrations"),
    "42P01": lambda: DatabaseSchemaError("the database lacks a table of this version; run the migrations"),
    "42703": lambda: DatabaseSchemaError("the database lacks a column of this version; run the migrations"),
    "XX001": lambda: DatabaseDamagedError("the database finds its data damaged; restore it from a backup"),
    "XX002": lambda: DatabaseDamagedError("the database finds an index damaged; run REINDEX on it"),
}
SQLSTATE_CLASSES: dict[str, Callable[[], DomainError]] = {
    "08": lambda: DatabaseUnavailableError("the connection to the database broke"),
    "28": lambda: DatabaseRefusesAccessError("the database refuses the user or its password; check the database URL"),
    "40": lambda: DatabaseConflictError("the database gave up a transaction"),
    "53": lambda: DatabaseUnavailableError("the database is out of memory or another resource"),
    "57": lambda: DatabaseUnavailableError("the database ended the connection: it was stopped, or it crashed"),
    "58": lambda: DatabaseUnavailableError("the database fails to read or write its files; see its log"),
}
"""By the first two characters, for states without an entry of their own."""

MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})
ERRNOS: tuple[tuple[frozenset[int], Callable[[str], DomainError]], ...] = (
    (
        frozenset({errno.ENOSPC, errno.EDQUOT}),
        lambda _: DiskFullError("the disk of this machine, or the quota on it,"),
    ),
    (
        frozenset({errno.EACCES, errno.EPERM}),
        lambda _: PermissionDeniedError("the system does not let this server use a file; check its permissions"),
    ),
    (
        frozenset({errno.EROFS}),
        lambda _: ReadOnlyStorageError("a file system is mounted read-only; mount it writable"),
    ),
    (
        frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
        | MISSING,
        lambda name: NetworkError(f"a connection failed ({name})"),
    ),
    (
        frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS}),
        lambda name: ResourcesExhaustedError(f"the system has no more of what is needed ({name})"),
    ),
    (
        frozenset({errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EREMOTEIO, errno.ENOTCONN}),
        lambda name: StorageFailedError(f"a disk or network drive does not work ({name})"),
    ),
)
RETRYABLE_STATUS = frozenset({408, 425, 429})
INSUFFICIENT_STORAGE = 507

REDIS: tuple[tuple[tuple[type[Exception], ...], Callable[[], DomainError]], ...] = (
    (
        (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError),
        lambda: RedisRefusesAccessError("Redis refuses the password or a command; check the Redis URL and its user"),
    ),
    (
        (OutOfMemoryError,),
        lambda: RedisUnavailableError("Redis has reached its memory limit; raise its maxmemory"),
    ),
    ((ReadOnlyError,), lambda: RedisUnavailableError("Redis is a read-only replica, as during a failover")),
    ((RedisConnectionError, RedisTimeoutError), lambda: RedisUnavailableError("Redis does not answer")),
)
"""The first that fits decides: redis-py's refusals are connection errors too."""
REDIS_CANNOT_SAVE = "MISCONF"
REDIS_PASSING = frozenset({"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN"})
"""Error codes of the protocol: the first word of an answer that has no class of its own in redis-py."""


def classify(error: BaseException) -> DomainError:
    """The domain error an exception amounts to; of a group, what its decisive member amounts to."""
    decisive = find_decisive(error) or error
    if isinstance(decisive, DomainError):
        return decisive
    return next((known for read in READERS if (known := read(decisive)) is not None), None) or UnexpectedError(
        f"unexpected {type(decisive).__name__}; the worker's log has the details"
    )


def find_decisive(error: BaseException | None) -> BaseException | None:
    """The member of a group that says what becomes of the attempt; any other exception is its own."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    return max(_members(error), key=lambda member: _weight(classify(member)), default=error)


def _members(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Every exception in a group and its groups, but for cancellations: those are what a failure does to the rest."""
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _members(member)
        elif not isinstance(member, asyncio.CancelledError):
            yield member


def _weight(error: DomainError) -> int:
    """Which of several errors decides.

    A lost lease forbids to write anything. A permanent error would come back at the next attempt, whatever came with
    it. A transient one explains a bug beside it better than the other way round. A slice that ended failed at nothing.
    """
    if isinstance(error, LeaseLostError):
        return 4
    if isinstance(error, SliceEndedError):
        return 0
    if isinstance(error, UnexpectedError):
        return 1
    return 2 if error.retryable else 3


# --- Postgres -----------------------------------------------------------------------------------


def _read_database(error: BaseException) -> DomainError | None:
    if isinstance(error, PoolTimeoutError):
        return DatabaseUnavailableError("no database connection was free in time")
    driver = _driver_error(error) if isinstance(error, DBAPIError) else error
    if isinstance(driver, asyncpg.PostgresError):
        return _read_sqlstate(str(driver.sqlstate or ""))
    if isinstance(driver, asyncpg.ClientConfigurationError):
        return DatabaseRefusesAccessError("the database URL has a setting that cannot be used")
    if isinstance(driver, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return DatabaseUnavailableError("the connection to the database was closed")
    if isinstance(error, InterfaceError | OperationalError) or getattr(error, "connection_invalidated", False):
        return DatabaseUnavailableError("the database did not answer")
    return None


def _driver_error(error: DBAPIError) -> BaseException | None:
    """What asyncpg raised, below what SQLAlchemy made of it."""
    return error.orig and (error.orig.__cause__ or error.orig)


def _read_sqlstate(state: str) -> DomainError | None:
    make = SQLSTATES.get(state) or SQLSTATE_CLASSES.get(state[:2])
    return make() if make else None


# --- Redis --------------------------------------------------------------------------------------


def _read_redis(error: BaseException) -> DomainError | None:
    for kinds, make in REDIS:
        if isinstance(error, kinds):
            return make()
    if not isinstance(error, ResponseError):
        return None
    code = str(error).partition(" ")[0]
    if code == REDIS_CANNOT_SAVE:
        return DiskFullError("Redis cannot save its data; most likely its disk")
    return RedisUnavailableError(f"Redis is not ready ({code})") if code in REDIS_PASSING else None


# --- other servers ------------------------------------------------------------------------------


def _read_remote(error: BaseException) -> DomainError | None:
    if isinstance(error, CLIENT_ERRORS):
        return read_client_error(error, "")
    if isinstance(error, httpx.HTTPStatusError):
        return _read_status(error.response)
    if isinstance(error, httpx.TransportError | httpx.DecodingError):
        return find_distrust(error) or NetworkError(f"a connection failed ({type(error).__name__})")
    return None


def _read_status(response: httpx.Response) -> DomainError | None:
    status = response.status_code
    if status == INSUFFICIENT_STORAGE:
        return DiskFullError("the disk of a server that was asked")
    if status in RETRYABLE_STATUS or status >= 500:
        after = parse_retry_after(response.headers.get("Retry-After"))
        return RemoteUnavailableError(f"a server answers {status}", retry_after_seconds=after)
    return RemoteRefusesError(f"a server refuses with {status}") if status >= 400 else None


# --- this machine -------------------------------------------------------------------------------


def _read_system(error: BaseException) -> DomainError | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError()
    # these use the number of an OSError for something else
    if isinstance(error, ssl.SSLError | socket.gaierror | socket.herror):
        return NetworkError(f"a connection failed ({type(error).__name__})")
    if isinstance(error, ConnectionError | TimeoutError | asyncio.IncompleteReadError):
        return NetworkError(f"a connection failed ({type(error).__name__})")
    if isinstance(error, MemoryError):
        return ResourcesExhaustedError("not enough memory")
    if isinstance(error, BrokenExecutor):
        return ProcessDiedError("a child process ended in the middle of a call")
    return _read_errno(error) if isinstance(error, OSError) else None


def _read_errno(error: OSError) -> DomainError | None:
    # without a file's name it is the socket of a server that is not running
    if error.errno in MISSING and error.filename is not None:
        return FileMissingError("a file or folder that is needed does not exist")
    name = errno.errorcode.get(error.errno or 0, "")
    return next((make(name) for numbers, make in ERRNOS if error.errno in numbers), None)


READERS: tuple[Callable[[BaseException], DomainError | None], ...] = (
    _read_database,
    _read_redis,
    _read_remote,
    _read_system,
)

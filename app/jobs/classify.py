"""Says of any exception whether trying again may help, by its type alone."""

import errno

import httpx
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.domain.errors import DomainError, PermanentError, TransientError

SERIALIZATION_FAILURE = "40001"
DEADLOCK = "40P01"
CONNECTION_CLASSES = ("08", "53", "57")
"""SQLSTATE classes: connection exception, insufficient resources, operator intervention."""


class DatabaseUnavailableError(TransientError):
    """Postgres does not answer, or asks to try again."""

    code = "database_unavailable"


class NetworkError(TransientError):
    """A connection broke or timed out."""

    code = "network_error"


class DiskFullError(PermanentError):
    """No space is left where the data lies."""

    code = "disk_full"


class UnexpectedError(TransientError):
    """A bug, or something nobody thought of. The message names the type alone: texts may hold anything."""

    code = "internal_error"


def classify(error: BaseException) -> DomainError:
    """The domain error an exception amounts to."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, DomainError):
        return error
    if isinstance(error, DBAPIError) and _is_passing(error):
        return DatabaseUnavailableError("the database did not answer or asked to try again")
    if isinstance(error, PoolTimeoutError | RedisError):
        return DatabaseUnavailableError("no database connection was free in time")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError("no space is left on the disk; make room and retry the operation")
    if isinstance(error, ConnectionError | TimeoutError | httpx.TransportError):
        return NetworkError(f"a connection failed ({type(error).__name__})")
    return UnexpectedError(f"unexpected {type(error).__name__}; the worker's log has the details")


def _is_passing(error: DBAPIError) -> bool:
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return True
    state = str(getattr(error.orig, "sqlstate", "") or "")
    return state in (SERIALIZATION_FAILURE, DEADLOCK) or state.startswith(CONNECTION_CLASSES)

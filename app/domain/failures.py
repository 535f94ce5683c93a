"""What failures of the outside world amount to: databases, networks, disks, memory.

``app/jobs/classify.py`` reads them from the exceptions of drivers and of the operating system; adapters that give
exceptions a meaning of their own ask ``find_distrust`` first. Every message is safe to show: it never quotes the
exception.
"""

import ssl

from app.domain.errors import PermanentError, TransientError

# --- Postgres -----------------------------------------------------------------------------------


class DatabaseUnavailableError(TransientError):
    """Postgres does not answer, is starting or stopping, or has no connection left."""

    code = "database_unavailable"


class DatabaseConflictError(TransientError):
    """Postgres gave up a transaction that got in the way of another: a deadlock, a lock or a snapshot."""

    code = "database_conflict"


class DatabaseTimeoutError(TransientError):
    """Postgres ended a statement that took too long."""

    code = "database_timeout"


class DatabaseRefusesAccessError(PermanentError):
    """Postgres refuses the user or its password, or the user may not do what is needed."""

    code = "database_refuses_access"


class DatabaseSchemaError(PermanentError):
    """The database, or a table or column of this version, does not exist."""

    code = "database_schema"


class DatabaseDamagedError(PermanentError):
    """Postgres finds its own files damaged."""

    code = "database_damaged"


# --- Redis --------------------------------------------------------------------------------------


class RedisUnavailableError(TransientError):
    """Redis does not answer, is loading, is a read-only replica, or is full."""

    code = "redis_unavailable"


class RedisRefusesAccessError(PermanentError):
    """Redis refuses the password or a command."""

    code = "redis_refuses_access"


# --- networks -----------------------------------------------------------------------------------


class NetworkError(TransientError):
    """A connection broke or timed out."""

    code = "network_error"


class RemoteUnavailableError(TransientError):
    """A server answers 408, 425, 429 or 5xx."""

    code = "remote_unavailable"


class RemoteRefusesError(PermanentError):
    """A server answers any other 4xx."""

    code = "remote_refuses"


class CertificateError(PermanentError):
    """A server's certificate cannot be trusted."""

    code = "certificate_invalid"

    def __init__(self) -> None:
        super().__init__("a server's certificate cannot be trusted; install its authority's certificate")


def find_distrust(error: BaseException) -> CertificateError | None:
    """What a failed connection amounts to if, at the bottom of it, a certificate was not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateError()
        cause = cause.__cause__ or cause.__context__
    return None


# --- this machine -------------------------------------------------------------------------------


class FileMissingError(PermanentError):
    """A file or folder that is needed does not exist."""

    code = "file_missing"


class ReadOnlyStorageError(PermanentError):
    """The file system is mounted read-only."""

    code = "storage_read_only"


class StorageFailedError(TransientError):
    """A disk or a network drive fails to read or write, or is gone."""

    code = "storage_failed"


class ResourcesExhaustedError(TransientError):
    """The machine has no memory, file handles or processes left for us."""

    code = "resources_exhausted"


class HardTimeLimitError(TransientError):
    """The attempt did not stop at the soft time limit and was ended at the hard one."""

    code = "hard_time_limit"


class MaxRuntimeError(PermanentError):
    """The operation has run as long as its ``max_runtime_seconds`` allows."""

    code = "max_runtime_exceeded"


# --- everything else ----------------------------------------------------------------------------


class UnexpectedError(TransientError):
    """A bug, or something nobody thought of. The message names the type alone: texts may hold anything."""

    code = "internal_error"

"""Errors of continuous sync; the tree is in ``app/domain/errors.py``."""

from shlex import quote

from app.domain.errors import ConflictError, InvalidInputError, NotFoundError


class SyncNotSetError(ConflictError):
    """The collection has no continuous sync that could be paused or resumed."""

    code = "sync_not_set"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"collection {name!r} has no continuous sync; give it one with: vecloom sync {quote(name)} --every 15m"
        )


class SyncRunningError(ConflictError):
    """A sync run is under way that was begun without what this caller confirms."""

    code = "sync_running"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a sync run of collection {name!r} is under way, and nobody has confirmed removals for it; ask again when"
            f" it has ended: vecloom sync {quote(name)}"
        )


class NothingToSyncError(ConflictError):
    """The collection has no source."""

    code = "nothing_to_sync"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"collection {name!r} has no source to look at; add one with: vecloom index FOLDER -c {quote(name)}"
        )


class SyncRunNotFoundError(NotFoundError):
    """The collection has no sync run of this id, or has it no more."""

    code = "sync_run_not_found"

    def __init__(self, run_id: object) -> None:
        super().__init__(f"sync run {run_id} does not exist, or is too old to be kept")


class InvalidDurationError(InvalidInputError):
    """A length of time is not written as one, or is too short or too long."""

    code = "invalid_duration"

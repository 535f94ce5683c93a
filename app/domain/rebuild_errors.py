"""Errors of rebuilding a collection, and of going back."""

from collections.abc import Sequence

from app.domain.errors import ConflictError, PermanentError


class RebuildInProgressError(ConflictError):
    """A collection is rebuilt, or goes back, once at a time."""

    code = "rebuild_in_progress"

    def __init__(self, name: str, operation_id: object) -> None:
        super().__init__(
            f"collection {name!r} is being rebuilt by operation {operation_id}; wait for it, or cancel it before"
        )


class NothingToRollBackError(ConflictError):
    """No generation that served before is kept."""

    code = "nothing_to_roll_back"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"collection {name!r} has no earlier generation to go back to: there was no REINDEX, or"
            " VECLOOM_REINDEX_ROLLBACK_WINDOW is over; rebuild it with the settings of before instead"
        )


class NothingToRebuildError(ConflictError):
    """The collection has no generation that a rebuild could begin with."""

    code = "nothing_to_rebuild"

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} has nothing to rebuild yet; its next APPEND builds it")


class ValidationFailedError(PermanentError):
    """A rebuild did not pass its gate; the generation before goes on serving."""

    code = "validation_failed"

    def __init__(self, failed: Sequence[str]) -> None:
        super().__init__(
            f"the rebuilt generation was refused by {', '.join(failed)}; the one before goes on serving. The report is"
            " in the operation's result. To accept what it says, rebuild with another gate policy"
        )

"""How many watchers may be open."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from app.domain.errors import TooManyWatchersError


class WatcherSlots:
    """Counts open watchers, so that neither one user nor all together can exhaust a process."""

    def __init__(self, *, per_user: int, per_process: int) -> None:
        self._per_user = per_user
        self._per_process = per_process
        self._open: Counter[UUID] = Counter()

    @property
    def taken(self) -> int:
        """How many watchers are open."""
        return self._open.total()

    @contextmanager
    def hold(self, user_id: UUID) -> Iterator[None]:
        """Count a watcher for the time of the block.

        Raises:
            TooManyWatchersError: if the user or the process has as many as are allowed.
        """
        if self._open[user_id] >= self._per_user or self._open.total() >= self._per_process:
            raise TooManyWatchersError("too many open watchers; close some and try again")
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

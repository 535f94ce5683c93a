"""How often somebody may try to sign in."""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from app.domain.sessions import TooManyTriesError

WINDOW_SECONDS = 60.0
TRIES_PER_ADDRESS = 10
TRIES_PER_PROCESS = 300
MOST_ADDRESSES = 10_000


class SignInTries:
    """Counts tries by the address they come from, and all together; those that succeed do not count."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()

    def begin(self, address: str) -> None:
        """Count a try, before it is known what comes of it.

        Raises:
            TooManyTriesError: if there were too many within a minute.
        """
        now = self._clock()
        tries = self._of_address.setdefault(address, deque())
        self._of_address.move_to_end(address)
        if len(self._of_address) > MOST_ADDRESSES:
            self._of_address.popitem(last=False)
        for counted, most in ((tries, TRIES_PER_ADDRESS), (self._all, TRIES_PER_PROCESS)):
            while counted and counted[0] <= now - WINDOW_SECONDS:
                counted.popleft()
            if len(counted) >= most:
                raise TooManyTriesError(retry_after_seconds=math.ceil(counted[0] + WINDOW_SECONDS - now))
        tries.append(now)
        self._all.append(now)

    def forgive(self, address: str) -> None:
        """Forget the tries of an address: somebody there has signed in."""
        self._of_address.pop(address, None)

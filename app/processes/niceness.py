"""Who goes first where processors are few."""

import os
from contextlib import suppress


def stand_back(niceness: int) -> None:
    """Let others go before this process and those that it starts, by so much more than now."""
    if not hasattr(os, "nice") or not niceness:
        return
    now = os.nice(niceness)
    # where each session is scheduled as a group, niceness counts inside it alone, but the group has one of its own
    if os.getsid(0) == os.getpid():
        with suppress(OSError), open("/proc/self/autogroup", "w") as autogroup:  # noqa: PTH123 — not a file of ours
            autogroup.write(str(now))

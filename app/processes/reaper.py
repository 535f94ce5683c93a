"""Kills the process groups of a pool whose owner is gone, however it went. Runs as a small process of its own.

The kernel kills the children of a killed parent, but not the processes that a library in a child had started. The
owner gives the groups there are as arguments, and writes ``+PID`` and ``-PID`` lines to a pipe from then on; its end is
the end of the owner.
"""

import os
import signal
import sys
from collections.abc import Iterable


def follow(known: Iterable[str], lines: Iterable[str]) -> set[int]:
    """The groups that are left when the lines end."""
    groups = {int(group) for group in known}
    for line in lines:
        if line.startswith("+"):
            groups.add(int(line))
        else:
            groups.discard(-int(line))
    return groups


def kill_group(group: int) -> None:
    """End every process of a group that still exists."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # macOS does not permit to signal a group of which only zombies are left
        return


def main() -> None:
    """Follow stdin to its end, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for group in follow(sys.argv[1:], sys.stdin):
        kill_group(group)


if __name__ == "__main__":
    main()

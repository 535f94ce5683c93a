"""Functions that tests call in child processes."""

import os
import signal
import time


def add(left: int, right: int) -> int:
    """Plain work."""
    return left + right


def fail(message: str) -> None:
    """Raise."""
    raise ValueError(message)


def hang() -> None:
    """Never end, in a way that no exception can interrupt from outside."""
    while True:
        time.sleep(3600)


def die() -> None:
    """End as a crash in native code would."""
    os.kill(os.getpid(), signal.SIGSEGV)


def eat_memory(size: int) -> int:
    """Allocate."""
    return len(bytearray(size))


def pid() -> int:
    """Which process this is."""
    print("noise on stdout must not break the protocol")  # noqa: T201 — that is the point
    return os.getpid()

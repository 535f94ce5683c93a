"""Functions that tests call in child processes."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


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


def kill_self(number: int) -> None:
    """End by a signal, as the kernel's out-of-memory killer or a crash in native code would end it."""
    os.kill(os.getpid(), number)


def exhaust_memory_natively(size: int) -> None:
    """Use memory that native code did not get and did not ask about."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    ctypes.memset(libc.malloc(size) or 0, 1, 4096)


KEPT: list[bytearray] = []


def leak(size: int) -> int:
    """Hold memory for ever; gives the process id."""
    KEPT.append(bytearray(b"x") * size)
    return os.getpid()


def write_pid(path: str) -> None:
    """Tell which process this is in a file that is complete once it exists."""
    partial = Path(f"{path}.partial")
    partial.write_text(str(os.getpid()))
    partial.rename(path)


def hang_after_telling(path: str) -> None:
    """Sleep for ever, with a file that says so."""
    write_pid(path)
    hang()


def block_in_native_code(path: str) -> None:
    """Hold the interpreter's lock in native code for ever."""
    write_pid(path)
    ctypes.PyDLL(None).sleep(3600)


def block_in_a_read(path: str) -> None:
    """Wait for bytes that never come."""
    reading, _ = os.pipe()
    write_pid(path)
    os.read(reading, 1)


def stop_self(path: str) -> None:
    """Be stopped by a signal and not go on."""
    write_pid(path)
    os.kill(os.getpid(), signal.SIGSTOP)


def start_grandchild(path: str) -> int:
    """Start a process that outlives the call and does not care about signals; gives its id."""
    ignoring = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(3600)"
    grandchild = subprocess.Popen([sys.executable, "-c", ignoring])
    partial = Path(f"{path}.partial")
    partial.write_text(str(grandchild.pid))
    partial.rename(path)
    return grandchild.pid


def hang_with_grandchild(path: str) -> None:
    """Start a process, then never end."""
    start_grandchild(path)
    hang()


def crash_with_grandchild(path: str) -> None:
    """Start a process, then crash."""
    start_grandchild(path)
    die()


class Witness:
    """Knows the threads on which it was pickled and unpickled."""

    def __init__(self) -> None:
        self.pickled_on = 0
        self.unpickled_on = 0

    def __getstate__(self) -> dict[str, int]:
        self.pickled_on = threading.get_ident()
        return {}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.pickled_on = 0
        self.unpickled_on = threading.get_ident()


def answer_with(witness: Witness, size: int) -> tuple[Witness, list[str]]:
    """The witness and so many characters."""
    return witness, [f"{number:01000d}" for number in range(size // 1000)]


def count_bytes(*parts: object) -> int:
    """The length of what came."""
    return sum(len(part) for part in parts if isinstance(part, bytes | str))


def give_bytes(size: int) -> bytes:
    """So many bytes."""
    return b"x" * size


def is_warm() -> bool:
    """Whether ``warm_up`` was called in this process."""
    return WARM.is_set()


WARM = threading.Event()


def warm_up() -> None:
    """What a child does before its first call."""
    WARM.set()


def die_once(marker: str, text: str) -> str:
    """Be killed the first time this is called with a marker; give the text from then on."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return text
    os.kill(os.getpid(), signal.SIGKILL)
    return text


class KillsOnce(str):
    """A text that kills the first process that receives it; its value is the path of the marker."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return die_once, (str(self), "whale")


class Kills(str):
    """A text that kills every process that receives it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return kill_self, (signal.SIGKILL,)


def leave() -> None:
    """What ends a process where it is not caught."""
    raise SystemExit(2)


class Leaves(str):
    """Text that raises SystemExit in whichever process unpickles it: no Exception, as a panic of Rust is none."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return leave, ()

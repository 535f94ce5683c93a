"""What runs in a child: one call after the other, as frames over one socket.

The parent sends a size (``SIZE``) and so many bytes: a pickled call. The child sends ``ANSWER``: a size, the bytes of
memory it holds and whether memory ran out; then so many bytes: a pickled answer. An answer of no bytes comes first and
says *ready for calls*.
"""

import ctypes
import importlib
import os
import pickle
import resource
import signal
import struct
import sys
from contextlib import suppress
from typing import Any, BinaryIO

from app.processes.niceness import stand_back

SIZE = struct.Struct("<Q")
ANSWER = struct.Struct("<QQ?")
PR_SET_PDEATHSIG = 1
OOM_SCORE = 500
NICENESS = 10
"""Event loops and databases go first: they only hand on what the children make, and people wait for them."""


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next call, or None at the end of the stream."""
    header = stream.read(SIZE.size)
    if len(header) < SIZE.size:
        return None
    return stream.read(SIZE.unpack(header)[0])


def read_resident_bytes() -> int:
    """Memory this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 — not a file of ours
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def find_function(module: str, name: str) -> Any:  # noqa: ANN401 — any module-level function of ours
    """A function of ``app``; nothing else can be called."""
    if not module.startswith(("app.", "tests.", "benchmarks.")):
        raise PermissionError(f"{module}.{name} may not be called in a child process")
    return getattr(importlib.import_module(module), name)


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 — not a file of ours
            score.write(str(OOM_SCORE))


def _take_socket() -> tuple[BinaryIO, BinaryIO]:
    """The socket for this module alone: what a library prints, or a process it starts, must not reach it."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return calls, answers


def _warm_up(preload: list[str]) -> None:
    for entry in preload:
        module, _, function = entry.partition(":")
        if function:
            find_function(module, function)()
        else:
            importlib.import_module(module)


def _call(frame: bytes) -> tuple[bytes, bool]:
    """A pickled answer, and whether memory ran out."""
    try:
        module, name, arguments = pickle.loads(frame)  # noqa: S301 — written by our own parent
        answer = (True, find_function(module, name)(*arguments))
        return pickle.dumps(answer, protocol=5), False
    except BaseException as error:  # noqa: BLE001 — whatever it is, the caller gets it
        return _pickle_error(error), isinstance(error, MemoryError)


def _pickle_error(error: BaseException) -> bytes:
    """The error if it can travel, else its text; what would end a process ends none at the other side."""
    if isinstance(error, Exception):
        with suppress(Exception):
            blob = pickle.dumps((False, error), protocol=5)
            pickle.loads(blob)  # noqa: S301 — some exceptions pickle but do not come back
            return blob
    return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")), protocol=5)


def _answer(answers: BinaryIO, content: bytes, *, memory_ran_out: bool = False) -> None:
    answers.write(ANSWER.pack(len(content), read_resident_bytes(), memory_ran_out))
    answers.write(content)
    answers.flush()


def main(parent: int, memory_bytes: int, preload: list[str]) -> None:
    """Serve calls until the parent closes the socket."""
    _die_with_parent(parent)
    stand_back(NICENESS)
    # the parent decides when a call ends, also when somebody signals the whole service
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    calls, answers = _take_socket()
    _warm_up(preload)
    _answer(answers, b"")
    while (frame := read_frame(calls)) is not None:
        content, memory_ran_out = _call(frame)
        _answer(answers, content, memory_ran_out=memory_ran_out)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

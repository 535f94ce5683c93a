"""What runs in a child: one call after the other, as frames over stdin and stdout."""

import ctypes
import importlib
import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

HEADER = struct.Struct("<Q")
PR_SET_PDEATHSIG = 1
OOM_SCORE = 500


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, or None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    return stream.read(HEADER.unpack(header)[0])


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


def _call(frame: bytes) -> bytes:
    try:
        module, name, arguments = pickle.loads(frame)  # noqa: S301 — written by our own parent
        answer = (True, find_function(module, name)(*arguments))
        return pickle.dumps(answer, protocol=5)
    except BaseException as error:  # noqa: BLE001 — whatever it is, the caller gets it
        try:
            blob = pickle.dumps((False, error), protocol=5)
            pickle.loads(blob)  # noqa: S301 — some exceptions pickle but do not come back
        except Exception:  # noqa: BLE001 — an exception that cannot travel is told by its text
            blob = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")), protocol=5)
        return blob


def main(parent: int, memory_bytes: int, preload: list[str]) -> None:
    """Serve calls until the parent closes the pipe."""
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for module in preload:
        importlib.import_module(module)
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        answer = _call(frame)
        frames.write(HEADER.pack(len(answer)))
        frames.write(answer)
        frames.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])

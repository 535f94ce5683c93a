"""A worker on "another machine": for it, the folder ``HIDDEN`` is an empty one."""

import os
import sys
import tempfile

from app.settings import Settings
from app.worker import run_worker

CLONE_NEWNS = 0x20000


def main() -> None:
    """Hide the folder in a mount namespace of this process, then work."""
    import ctypes  # noqa: PLC0415 — only here

    libc = ctypes.CDLL(None, use_errno=True)
    empty = tempfile.mkdtemp()
    private, bind = 0x4000 | 0x40000, 0x1000
    steps = (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, private, None),
        libc.mount(empty.encode(), os.environ["HIDDEN"].encode(), None, bind, None),
    )
    if any(steps):
        sys.exit("cannot hide the folder")
    run_worker(Settings())


if __name__ == "__main__":
    main()

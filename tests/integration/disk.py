"""A small disk of a test's own that can be filled up and emptied again."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEP_BYTES = 1024 * 1024


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / ".ballast"

    def fill(self) -> None:
        """Take all room there is, to the last byte."""
        ballast = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        step = STEP_BYTES
        try:
            while step:
                try:
                    os.write(ballast, bytes(step))
                except OSError:
                    step //= 2
        finally:
            os.close(ballast)

    def make_room(self) -> None:
        """Give it back."""
        self._ballast.unlink()


@contextmanager
def mounted_disk(path: Path, *, mebibytes: int) -> Iterator[Disk]:
    """A disk of so many mebibytes while the block runs."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "tmpfs", path],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted_disk(Path(folder) / "probe", mebibytes=1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


CAN_MOUNT = _can_mount()
"""Whether this machine lets the tests have a disk of their own."""

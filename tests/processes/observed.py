"""What tests ask the kernel about processes."""

from pathlib import Path

from tests.harness import wait_until


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _find_pid(path: Path) -> int | None:
    return int(path.read_text()) if path.exists() else None


async def read_pid(path: Path) -> int:
    """The process id in a file, once it is there."""

    async def written() -> int | None:
        return _find_pid(path)

    pid: int = await wait_until(written)
    return pid


async def wait_until_gone(*pids: int) -> None:
    """Poll until none of the processes is alive."""

    async def gone() -> bool:
        return not any(is_alive(pid) for pid in pids)

    await wait_until(gone)


def find_children(parent: int) -> set[int]:
    """Living children of a process."""
    try:
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except FileNotFoundError:
        return set()
    return {int(pid) for pid in listed if is_alive(int(pid))}


def is_reaper(pid: int) -> bool:
    """Whether a process is the one that ends what others leave behind."""
    return "processes/reaper.py" in _read_command(pid)


def is_pool_child(pid: int) -> bool:
    """Whether a process takes calls of a pool."""
    return "app.processes.child" in _read_command(pid)


def _read_command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""

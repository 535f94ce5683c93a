"""Child processes: alone on their data, and never left behind."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.domain.errors import EmbeddedStartError
from app.embedded.children import Child, Command, Service, claim_lock, run_to_end, spawn
from tests.embedded.owner import temporary_folder, wait_until

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
FORKING = "import os, time; os.fork() or time.sleep(60); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def folder() -> Iterator[Path]:
    """An existing empty folder."""
    with temporary_folder() as path:
        path.mkdir()
        yield path


def python(folder: Path, program: str) -> Command:
    """A child that runs a Python program, with little patience for it."""
    return Command(
        name="child",
        arguments=(sys.executable, "-c", program),
        folder=folder,
        log=folder / "child.log",
        lock=folder / "child.lock",
        environment={},
        stop_signals=((signal.SIGTERM, 0.2),),
        kill_seconds=0.5,
    )


async def start(command: Command) -> Child:
    """Spawn it and wait for its first output."""
    lock = await claim_lock(command)
    child = spawn(command, lock=lock)
    os.close(lock)
    await wait_until(lambda: child.read_log_tail() == "up")
    return child


def start_innocent() -> "subprocess.Popen[bytes]":
    """A process that has nothing to do with us."""
    return subprocess.Popen(["sleep", "60"])


def list_open_modes(folder: Path) -> dict[str, int]:
    """What others may do with each file of a folder."""
    return {path.name: path.stat().st_mode & 0o077 for path in folder.iterdir()}


async def test_a_child_that_ignores_the_polite_signal_is_killed(folder: Path) -> None:
    """Stopping ends in SIGKILL, within the sum of the waits."""
    child = await start(python(folder, STUBBORN))

    await child.stop()

    assert child.exit_code == -signal.SIGKILL


async def test_a_leftover_is_ended_before_its_data_is_given_away(folder: Path) -> None:
    """Who claims the lock gets it only when the process of the earlier start is gone."""
    command = python(folder, STUBBORN)
    leftover = await start(command)

    os.close(await claim_lock(command))

    assert await leftover.wait() == -signal.SIGKILL


async def test_what_a_child_forked_holds_the_lock_too(folder: Path) -> None:
    """Data is not given away while a process forked by a dead child may still write to it."""
    command = python(folder, FORKING)
    child = await start(command)
    forked = psutil.Process(child.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()

    with pytest.raises(EmbeddedStartError, match="still holds"):
        await claim_lock(replace(command, stop_signals=()))

    for process in forked:
        process.kill()
    os.close(await claim_lock(command))


async def test_a_pid_given_to_another_process_is_not_signalled(folder: Path) -> None:
    """A lock file signed long before the process with that pid began names a dead child."""
    command = python(folder, FORKING)
    child = await start(command)
    (forked,) = psutil.Process(child.pid).children()
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    innocent = start_innocent()
    command.lock.write_text(f"{innocent.pid}\n")
    os.utime(command.lock, (1, 1))

    with pytest.raises(EmbeddedStartError, match="still holds"):
        await claim_lock(replace(command, stop_signals=()))
    alive = innocent.poll() is None

    forked.kill()
    innocent.kill()
    innocent.wait()
    assert alive


async def test_output_of_a_failing_program_is_in_the_error(folder: Path) -> None:
    """A program that fails tells why in the error's message."""
    command = python(folder, "import sys; sys.exit('no good')")
    lock = await claim_lock(command)

    with pytest.raises(EmbeddedStartError, match=r"exit code 1(.|\n)*no good"):
        await run_to_end(command, lock=lock, timeout_seconds=30)

    os.close(lock)


async def test_a_program_that_hangs_is_ended(folder: Path) -> None:
    """Past its time a program is stopped and the error says how long it had."""
    command = python(folder, STUBBORN)
    lock = await claim_lock(command)

    with pytest.raises(EmbeddedStartError, match=r"not done after 0\.3 s"):
        await run_to_end(command, lock=lock, timeout_seconds=0.3)

    os.close(lock)


async def test_files_of_a_child_are_private(folder: Path) -> None:
    """A child creates its files for this user only, and so is its log."""
    command = python(folder, "open('made', 'w').close()")
    lock = await claim_lock(command)

    await run_to_end(command, lock=lock, timeout_seconds=30)

    os.close(lock)
    assert list_open_modes(folder) == {"made": 0, "child.log": 0, "child.lock": 0}


class Poor:
    """A server of which a restart fails three times; a start asks twice for its command."""

    name = "poor"

    def __init__(self, folder: Path) -> None:
        self._command = python(folder, "print('up', flush=True); import time; time.sleep(60)")
        self.asked = 0

    def build_command(self) -> Command:
        """See the protocol."""
        self.asked += 1
        if self.asked in (3, 4):
            raise OSError(errno.EMFILE, "too many open files")
        if self.asked == 5:
            raise ValueError("a bug")
        return self._command

    async def prepare(self, lock: int) -> None:
        """See the protocol."""

    async def is_ready(self) -> bool:
        """See the protocol."""
        return True


async def test_a_server_that_cannot_be_restarted_at_once_is_tried_again(folder: Path) -> None:
    """Whatever goes wrong at a restart, the server comes back as soon as it can."""
    server = Poor(folder)
    service = Service(server, on_end=lambda _: None, longest_restart_seconds=0.2)
    await service.start()
    first = service.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    await wait_until(lambda: server.asked >= 7 and service.pid not in (None, first))
    second = service.pid
    await service.stop()

    assert second is not None
    assert not psutil.pid_exists(second)

"""Runs git: without a shell, with nothing of this machine's own settings, watched, and ended when it is given up."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from app.domain.errors import SourceLibraryMissingError
from app.sources.git_cache import folder_bytes

WATCH_SECONDS = 0.25
STALL_SECONDS = 120.0
LONGEST_SECONDS = 3 * 3600.0
NEEDS = (2, 37)
"""The first git that connects to the address it is told."""
TOLD_BYTES = 16 * 1024
ANSWER_BYTES = 16 * 1024 * 1024
ALWAYS = {
    "core.hooksPath": "/dev/null",
    "core.askPass": "",
    "core.bigFileThreshold": "16m",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
    "http.proxy": "",
    "init.templateDir": "",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.version": "2",
    "transfer.bundleURI": "false",
}
LOCAL = "[safe]\n\tdirectory = *\n[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n"
"""What the git at the other end is told where that is this machine: it reads no variables."""


class GitFailedError(Exception):
    """Git ended with an error. ``told`` is the end of what it said; servers have a part in it."""

    def __init__(self, told: str) -> None:
        super().__init__("git failed")
        self.told = told


class GitStalledError(Exception):
    """Nothing came for too long."""


class GitTooMuchError(Exception):
    """More came than may lie in the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitProgram:
    """Git, and what it is run with.

    Attributes:
        desk: a private folder, for what it is asked and what it says.
        scheme: the only one it may connect by; none for what it does here.
        settings: of git, beside those it always has; may be secret.
        environment: variables beside those it always has.
        max_bytes: most that the desk and the repository may hold.
    """

    desk: Path
    scheme: str = ""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    max_bytes: int
    stall_seconds: float = STALL_SECONDS

    def _variables(self, repository: Path, objects: Path | None) -> dict[str, str]:
        settings = {**ALWAYS, **self.settings}
        variables = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.desk),
            "LC_ALL": "C",
            "GIT_DIR": str(repository),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.desk / "gitconfig"),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": self.scheme or "none",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_CONFIG_COUNT": str(len(settings)),
            **self.environment,
        }
        for number, (name, value) in enumerate(settings.items()):
            variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        if objects is not None:
            variables["GIT_OBJECT_DIRECTORY"] = str(objects)
        return variables

    async def run(self, repository: Path, *arguments: str, asked: bytes = b"", objects: Path | None = None) -> bytes:
        """What git says, at most ``ANSWER_BYTES`` of it.

        Raises:
            GitFailedError, GitStalledError, GitTooMuchError: and nothing of it runs any more.
        """
        async with self.answering(repository, *arguments, asked=asked, objects=objects) as answer:
            return await asyncio.to_thread(answer.read, ANSWER_BYTES)

    @asynccontextmanager
    async def answering(
        self, repository: Path, *arguments: str, asked: bytes = b"", objects: Path | None = None
    ) -> AsyncIterator[IO[bytes]]:
        """The same, as a file, however long it is."""
        with (
            TemporaryFile(dir=self.desk) as question,
            TemporaryFile(dir=self.desk) as answer,
            TemporaryFile(dir=self.desk) as told,
        ):
            question.write(asked)
            question.seek(0)
            # git inherits nothing but these
            process = await asyncio.create_subprocess_exec(
                require_git(),
                *arguments,
                stdin=question,
                stdout=answer,
                stderr=told,
                cwd=self.desk,
                env=self._variables(repository, objects),
                start_new_session=True,
            )
            try:
                await self._watch(process, repository, (answer, told))
            finally:
                await end(process)
            if process.returncode:
                told.seek(max(0, told.seek(0, os.SEEK_END) - TOLD_BYTES))
                raise GitFailedError(told.read(TOLD_BYTES).decode("utf-8", "replace"))
            answer.seek(0)
            yield answer

    async def _watch(self, process: asyncio.subprocess.Process, repository: Path, files: Sequence[IO[bytes]]) -> None:
        started = moved = time.monotonic()
        seen = -1
        while process.returncode is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await process.wait()
            written = sum(os.fstat(file.fileno()).st_size for file in files)
            size = written + await asyncio.to_thread(folder_bytes, repository)
            if size > self.max_bytes:
                raise GitTooMuchError
            now = time.monotonic()
            if size != seen:
                seen, moved = size, now
            if process.returncode is None and (now - moved > self.stall_seconds or now - started > LONGEST_SECONDS):
                raise GitStalledError

    @asynccontextmanager
    async def reading(self, repository: Path, objects: Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process that is asked for one object after the other."""
        process = await asyncio.create_subprocess_exec(
            require_git(),
            "cat-file",
            "--batch",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.desk,
            env=self._variables(repository, objects),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a process and those it has started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


def require_git() -> str:
    """The program.

    Raises:
        SourceLibraryMissingError: if it is not installed.
    """
    program = shutil.which("git")
    if program is None:
        raise SourceLibraryMissingError(
            "git repositories are read with the program git, 2.37 or later: install it on all servers and workers"
        )
    return program


async def require_version(program: GitProgram) -> None:
    """Raises SourceLibraryMissingError if git is too old to be held to an address."""
    said = (await program.run(program.desk, "version")).decode("ascii", "replace").split()
    numbers = tuple(int(part) for part in (said[2] if len(said) > 2 else "").split(".")[:2] if part.isdecimal())
    if numbers < NEEDS:
        raise SourceLibraryMissingError("git is too old: install git 2.37 or later on all servers and workers")

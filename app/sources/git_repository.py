"""One repository as far as it was fetched: a commit without its files, and the files that were asked for."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import IO

from app.domain.errors import (
    DomainError,
    SourceMovedError,
    SourceRefNotFoundError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from app.sources.git_cache import GitCache
from app.sources.git_command import (
    STALL_SECONDS,
    GitFailedError,
    GitProgram,
    GitStalledError,
    GitTooMuchError,
    require_version,
)
from app.sources.git_errors import MISSING, NOT_BY_ID, REDIRECTED, explain
from app.sources.git_login import find_way
from app.sources.git_redirects import find_target
from app.sources.git_urls import GitUrl

HEAD = "refs/vecloom/head"
FETCH = ("fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--force", "--progress")
TREES_ONLY = "--filter=blob:none"
SHA256 = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAccess:
    """What a repository is reached with.

    Attributes:
        cache: keeps what was fetched.
        key: under which it does so; whoever has other secrets has another one.
        spool: where a private folder may lie.
        max_bytes: most that is fetched.
        roots: the folders of this machine that repositories may lie in; everywhere without any.
        allow_private: whether addresses that are not public may be asked.
        stall_seconds: how long nothing may come.
    """

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    cache: GitCache
    key: str
    spool: Path
    max_bytes: int
    roots: Sequence[Path] = ()
    allow_private: bool = False
    stall_seconds: float = STALL_SECONDS


class GitRepository:
    """Two git folders over the same objects: ``far`` is fetched into, ``near`` is read from and fetches nothing."""

    def __init__(self, place: GitUrl, access: GitAccess) -> None:
        self._place = place
        self._access = access
        self._kept = access.cache.hold(access.key)
        self._far = self._kept.folder / "far"
        self._near = self._kept.folder / "near"
        self._opening = asyncio.Lock()
        self._desk: Path | None = None
        self._programs: tuple[GitProgram, GitProgram] | None = None

    async def aclose(self) -> None:
        """Forget the secrets, and give back what was fetched."""
        if self._desk is not None:
            await asyncio.to_thread(shutil.rmtree, self._desk, ignore_errors=True)
        await self._access.cache.give_back(self._kept)

    async def _open(self) -> tuple[GitProgram, GitProgram]:
        """Git with a way to the server, and without."""
        async with self._opening:
            if self._programs is None:
                access = self._access
                if self._desk is None:
                    await asyncio.to_thread(access.spool.mkdir, parents=True, exist_ok=True, mode=0o700)
                    self._desk = Path(await asyncio.to_thread(mkdtemp, prefix="git-", dir=access.spool))
                desk = self._desk
                near = GitProgram(desk=desk, max_bytes=access.max_bytes, stall_seconds=access.stall_seconds)
                await require_version(near)
                way = await find_way(
                    self._place, access.secrets, desk=desk, roots=access.roots, allow_private=access.allow_private
                )
                far = GitProgram(
                    desk=desk,
                    scheme=self._place.scheme,
                    settings=way.settings,
                    environment=way.environment,
                    max_bytes=access.max_bytes,
                    stall_seconds=access.stall_seconds,
                )
                self._programs = far, near
        return self._programs

    async def _ask(self, *arguments: str, asked: bytes = b"", settings: Sequence[str] = ()) -> bytes:
        """Ask the server; a ``GitFailedError`` is for the caller to explain."""
        far, _ = await self._open()
        try:
            return await far.run(self._far, *settings, *arguments, asked=asked)
        except GitTooMuchError as error:
            raise SourceTooLargeError(self._place.place, self._access.max_bytes) from error
        except GitStalledError as error:
            raise SourceUnavailableError(self._place.place) from error

    async def _explain(self, error: GitFailedError) -> DomainError:
        if REDIRECTED.search(error.told):
            target = await find_target(self._place, self._access.spool, allow_private=self._access.allow_private)
            return SourceMovedError(self._place.place, target)
        return explain(error.told, self._place)

    # --- commits --------------------------------------------------------------------------------

    async def find_ref(self, branch: str) -> tuple[str, str]:
        """A branch or else a tag of that name, or what the server calls ``HEAD``; and the id it has now.

        Raises:
            SourceRefNotFoundError: if there is none.
            DomainError: if the server does not say.
        """
        wanted = [f"refs/heads/{branch}", f"refs/tags/{branch}"] if branch else ["HEAD"]
        try:
            said = await self._ask("ls-remote", "--", self._place.place, *wanted)
        except GitFailedError as error:
            raise await self._explain(error) from error
        lines = (line.partition("\t") for line in said.decode("utf-8", "replace").splitlines())
        found = {name: value for value, _, name in lines}
        for name in wanted:
            if name in found:
                return name, found[name]
        raise SourceRefNotFoundError(self._place.place, branch)

    async def update(self, branch: str) -> str:
        """Have the newest commit of a branch here, without its files; its id. Costs one question if it is here.

        Raises:
            DomainError: why not.
        """
        ref, value = await self.find_ref(branch)
        async with self._kept.writing:
            await self._make(is_sha256=len(value) == SHA256)
            if await self._find_here(HEAD) != value:
                await self._fetch("--depth=1", TREES_ONLY, "--", self._place.place, f"+{ref}:{HEAD}")
            commit = await self._find_here(f"{HEAD}^{{commit}}")
        if commit is None:
            raise SourceRefNotFoundError(self._place.place, branch)
        return commit

    async def _make(self, *, is_sha256: bool) -> None:
        if await asyncio.to_thread((self._far / "config").exists):
            return
        # that there is one tells that there are both
        for folder in (self._near, self._far):
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            kind = f"--object-format={'sha256' if is_sha256 else 'sha1'}"
            await self._look(folder, "init", "--quiet", "--bare", "--template=", kind)

    async def _look(self, folder: Path, *arguments: str, asked: bytes = b"", objects: Path | None = None) -> str:
        """What git says of what is here.

        Raises:
            SourceUnavailableError: if that is damaged; it is fetched anew the next time.
            SourceTooLargeError: if it is more than may be here.
        """
        _, near = await self._open()
        try:
            said = await near.run(folder, *arguments, asked=asked, objects=objects)
        except GitTooMuchError as error:
            raise SourceTooLargeError(self._place.place, self._access.max_bytes) from error
        except (GitFailedError, GitStalledError) as error:
            self._kept.is_broken = True
            raise SourceUnavailableError(self._place.place) from error
        return said.decode("ascii", "replace").strip()

    async def _find_here(self, name: str) -> str | None:
        _, near = await self._open()
        try:
            said = await near.run(self._far, "rev-parse", "--verify", "--quiet", name)
        except GitFailedError:
            return None
        except GitTooMuchError as error:
            raise SourceTooLargeError(self._place.place, self._access.max_bytes) from error
        return said.decode("ascii", "replace").strip()

    async def _fetch(self, *arguments: str, asked: bytes = b"", settings: Sequence[str] = ()) -> None:
        """The caller holds ``writing``."""
        is_good = False
        try:
            await self._ask(*FETCH, *arguments, asked=asked, settings=settings)
            is_good = True
        except GitFailedError as error:
            if MISSING.search(error.told) or NOT_BY_ID.search(error.told):
                raise
            raise await self._explain(error) from error
        finally:
            if not is_good:
                # what a killed git leaves behind is in the way of the next one
                await asyncio.shield(asyncio.to_thread(_tidy, self._far))

    async def find_object(self, commit: str, path: str) -> str | None:
        """The id of what lies at a path in a commit."""
        _, near = await self._open()
        name = f"{commit}:{path}"
        try:
            said = await near.run(self._near, "rev-parse", "--verify", "--quiet", name, objects=self._objects)
        except GitFailedError:
            return None
        return said.decode("ascii", "replace").strip()

    @asynccontextmanager
    async def listing(self, tree: str) -> AsyncIterator[IO[bytes]]:
        """What ``git ls-tree -r -z`` says of a tree.

        Raises:
            SourceTooLargeError: if that is too long.
            SourceUnavailableError: if what was fetched is damaged; it is fetched anew then.
        """
        _, near = await self._open()
        try:
            async with near.answering(self._near, "ls-tree", "-r", "-z", tree, objects=self._objects) as answer:
                yield answer
        except GitTooMuchError as error:
            raise SourceTooLargeError(self._place.place, self._access.max_bytes) from error
        except (GitFailedError, GitStalledError) as error:
            self._kept.is_broken = True
            raise SourceUnavailableError(self._place.place) from error

    @property
    def _objects(self) -> Path:
        return self._far / "objects"

    # --- files ----------------------------------------------------------------------------------

    async def sizes(self, blobs: Iterable[str]) -> dict[str, int]:
        """Of those that are here."""
        asked = "".join(f"{blob}\n" for blob in blobs).encode()
        said = await self._look(self._near, "cat-file", "--batch-check", asked=asked, objects=self._objects)
        words = (line.split() for line in said.splitlines())
        return {name: int(size) for name, kind, *rest in words if kind == "blob" for size in rest}

    async def bring(self, blobs: Sequence[str], branch: str) -> dict[str, int]:
        """Have files here by their ids; the sizes of those that are, which the server may have lost.

        Raises:
            DomainError: if the server does not answer.
        """
        await self._make_for(blobs)
        here = await self.sizes(blobs)
        wanted = [blob for blob in blobs if blob not in here]
        if not wanted:
            return here
        async with self._kept.writing:
            # somebody else may have brought them meanwhile
            here |= await self.sizes(wanted)
            await self._bring([blob for blob in wanted if blob not in here], branch)
        return here | await self.sizes(wanted)

    async def _make_for(self, blobs: Sequence[str]) -> None:
        async with self._kept.writing:
            await self._make(is_sha256=len(blobs[0]) == SHA256)

    async def _bring(self, wanted: list[str], branch: str) -> None:
        while wanted:
            asked = "".join(f"{blob}\n" for blob in wanted).encode()
            settings = ("-c", "fetch.negotiationAlgorithm=noop")
            try:
                await self._fetch(TREES_ONLY, "--stdin", "--", self._place.place, asked=asked, settings=settings)
            except GitFailedError as error:
                lost = MISSING.search(error.told)
                if lost is None:
                    await self._bring_all(branch)
                    return
                if lost[1] not in wanted:
                    raise SourceUnavailableError(self._place.place) from error
                wanted.remove(lost[1])
            else:
                return

    async def _bring_all(self, branch: str) -> None:
        """From a server that sends no file by its id."""
        ref, _ = await self.find_ref(branch)
        try:
            await self._fetch("--depth=1", "--refetch", "--no-filter", "--", self._place.place, f"+{ref}:{HEAD}")
        except GitFailedError as error:
            raise SourceUnavailableError(self._place.place) from error

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process to read files with; see ``git cat-file --batch``."""
        _, near = await self._open()
        async with near.reading(self._near, self._objects) as process:
            yield process


def _tidy(folder: Path) -> None:
    for left in (*folder.glob("objects/pack/tmp_*"), *folder.glob("*.lock"), *folder.glob("refs/**/*.lock")):
        with suppress(OSError):
            left.unlink()

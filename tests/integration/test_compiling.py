"""What maps are computed with is compiled before anybody wants one."""

import asyncio
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from app.bootstrap.projections import compiling_layouts
from app.processes.pool import ProcessPool
from app.projection import compiled_folder
from app.projection.compiled_folder import compiling, is_compiled
from app.projection.steps import compile_layouts
from app.settings import Settings
from tests.harness import wait_until

MIB = 1024 * 1024
SECONDS = 600.0


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what is compiled."""
    folder = tmp_path / "compiled"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    return folder


def _list_compiled(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


async def _run(settings: Settings) -> None:
    async with compiling_layouts(settings, after_seconds=0) as task:
        await task


@pytest.mark.timeout(SECONDS)
async def test_a_worker_compiles_what_layouts_need_once(kept: Path, settings: Settings) -> None:
    """In a process of its own; after that nothing has to be compiled, and nothing is begun again."""
    wanted = settings.model_copy(update={"projection_compile": True})
    assert not is_compiled()
    await _run(wanted)
    assert is_compiled()
    before = _list_compiled(kept)
    assert before
    pool = ProcessPool(1, memory_bytes=4096 * MIB)
    try:
        assert await pool.run(_count_compiled, timeout_seconds=SECONDS) == 0
        assert await pool.run(compile_layouts, timeout_seconds=SECONDS) is None
    finally:
        await pool.aclose()
    await _run(wanted)
    assert _list_compiled(kept) == before


def _count_compiled() -> int:
    from app.projection.warm import compile_all  # noqa: PLC0415 — seconds, in a child

    return compile_all()


@pytest.mark.parametrize("changes", [{"projection_compile": False}, {"projection_folder": None, "data": Path("/none")}])
async def test_nothing_is_compiled_where_nobody_wants_maps(
    kept: Path, settings: Settings, changes: dict[str, object]
) -> None:
    """It is turned off, or there is no folder for projections."""
    await _run(settings.model_copy(update={"projection_compile": True, **changes}))
    assert not _list_compiled(kept)


async def test_two_do_not_compile_the_same(kept: Path) -> None:
    """The second one leaves it to the first."""
    pool = ProcessPool(1, memory_bytes=4096 * MIB)
    try:
        with compiling() as is_first:
            assert is_first
            assert await pool.run(compile_layouts, timeout_seconds=SECONDS) is None
    finally:
        await pool.aclose()
    assert not _list_compiled(kept)


@pytest.mark.timeout(SECONDS)
async def test_a_worker_that_stops_does_not_wait_for_the_compiler(kept: Path, settings: Settings) -> None:
    """Its process is killed, and the next one begins anew."""
    async with compiling_layouts(settings.model_copy(update={"projection_compile": True}), after_seconds=0):
        await wait_until(lambda: asyncio.to_thread((kept / "compiling.lock").exists))
    assert not is_compiled()
    with compiling() as is_first:
        assert is_first


def test_the_mark_is_of_the_code_as_it_is(kept: Path, tmp_path: Path) -> None:
    """Another version of ours, or the same one in another place, has to be compiled again."""
    kept.mkdir()
    first, second = (_copy(tmp_path / name) for name in ("first", "second"))
    first.mark_compiled()
    assert first.is_compiled()
    assert not second.is_compiled()
    source = tmp_path / "first" / "forces.py"
    source.write_text(source.read_text() + "\n")
    assert not first.is_compiled()


def test_code_for_one_kind_of_processor_is_not_taken_for_another(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in a folder of its own, and in a folder that is given it has a mark of its own."""
    kept.mkdir()
    folders, marks = set(), set()
    for level in ("generic", "x86-64-v3", "../else"):
        monkeypatch.setenv("NUMBA_CPU_NAME", level)
        compiled_folder.find_level.cache_clear()
        assert compiled_folder.find_level() == level
        assert not is_compiled()
        compiled_folder.mark_compiled()
        marks = {path.name for path in kept.iterdir()}
        with monkeypatch.context() as elsewhere:
            elsewhere.delenv("NUMBA_CACHE_DIR")
            elsewhere.setenv("XDG_CACHE_HOME", str(kept.parent / "home"))
            folders.add(compiled_folder.find_cache_folder())
    compiled_folder.find_level.cache_clear()

    assert len(folders) == len(marks) == 3
    assert {folder.parent for folder in folders} == {kept.parent / "home" / "vecloom"}


def _copy(folder: Path) -> ModuleType:
    """The module of a copy of the room; it needs nothing else of ours."""
    shutil.copytree(Path(compiled_folder.__file__).parent, folder)
    spec = importlib.util.spec_from_file_location(f"{folder.name}_copy", folder / "compiled_folder.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

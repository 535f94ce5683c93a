"""The layers of ``docs/architecture.md`` hold, and a violation would be seen."""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PLANTED = {
    "domain reads settings": ("app.domain.planted", "app.settings"),
    "layer 3 imports layer 4": ("app.db.planted", "app.operations"),
    "rooms of layer 3 know each other": ("app.stores.planted", "app.db"),
    "rooms of layer 4 know each other": ("app.pipeline.planted", "app.operations"),
    "pure scores know who measures with them": ("app.evaluation.planted", "app.pipeline"),
    "the edges know each other": ("app.api.planted", "app.jobs"),
    "an edge imports the composition root": ("app.jobs.planted", "app.bootstrap"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of ``folder/pyproject.toml`` on ``folder/app``."""
    command = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    return subprocess.run(
        [sys.executable, "-I", "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code and its contracts that a test may spoil."""
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__", "web"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_hold(copy: Path) -> None:
    """No module imports upwards or sideways."""
    checked = lint_imports(copy)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 kept, 0 broken" in checked.stdout


@pytest.mark.parametrize(("module", "imported"), PLANTED.values(), ids=PLANTED)
def test_planted_import_is_seen(copy: Path, module: str, imported: str) -> None:
    """One wrong import breaks the contract and is named."""
    path = copy.joinpath(*module.split(".")).with_suffix(".py")
    path.write_text(f"import {imported}\n")

    checked = lint_imports(copy)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f"{module} -> {imported}" in checked.stdout


def test_room_without_a_layer_is_seen(copy: Path) -> None:
    """A new room breaks the contract until it is given its layer."""
    (copy / "app" / "utils.py").write_text("")

    checked = lint_imports(copy)

    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "app.utils" in checked.stdout


def test_domain_needs_only_the_standard_library_and_numpy() -> None:
    """The nouns can be imported anywhere, without any adapter's library."""
    graph = grimp.build_graph("app", include_external_packages=True, cache_dir=None)

    imported = {
        other.partition(".")[0]
        for module in {"app.domain", *graph.find_descendants("app.domain")}
        for other in graph.find_modules_directly_imported_by(module)
    }

    assert imported <= {"app", "numpy", *sys.stdlib_module_names}

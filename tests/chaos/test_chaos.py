"""The short form of the suite: one run with a few faults."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = 25
SEED = 4
DEPLOYS = 8


async def require_no_violation(*arguments: str, faults: int) -> str:
    """Run the suite; what it told."""
    command = (sys.executable, "-m", "tests.chaos", "--faults", str(faults), "--seed", str(SEED), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    story = err.decode()[-20_000:]
    assert process.returncode == 0, story
    assert out.decode().splitlines()[-1].startswith(f"chaos: {faults} faults, seed {SEED}, "), story
    assert out.decode().splitlines()[-1].endswith(" operations, 0 violations"), story
    return story


@pytest.mark.timeout(400)
async def test_a_few_faults_violate_nothing() -> None:
    """25 faults among real processes, and every invariant holds afterwards; ``make chaos`` is the long form."""
    await require_no_violation(faults=FAULTS)


def _git(*arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        pytest.skip("the version before is taken from git, which is not here")
    done = subprocess.run([git, "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the history has no version before this one: {done.stderr.decode()}")
    return done.stdout


@pytest.fixture
def version_before(tmp_path: Path) -> Path:
    """What this code was before its newest migration."""
    newest = max((ROOT / "migrations" / "versions").glob("*.py"))
    added = (
        _git("log", "--diff-merges=first-parent", "--first-parent", "--diff-filter=A", "--format=%H", "--", str(newest))
        .decode()
        .split()
    )
    if not added:
        pytest.skip("the newest migration is not committed, so the version before it is not known")
    folder = tmp_path / "before"
    folder.mkdir()
    archive = _git("archive", f"{added[0]}~1")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


@pytest.mark.timeout(400)
async def test_the_version_before_works_beside_this_one(version_before: Path) -> None:
    """Workers of both share the line and the database of the newer one, and are replaced by each other."""
    story = await require_no_violation(
        "--only", "worker_term", "worker_kill", "--beside", str(version_before), faults=DEPLOYS
    )

    assert f"comes back from {version_before}" in story
    assert f"comes back from {ROOT}" in story

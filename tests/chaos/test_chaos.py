"""The short form of the suite: one run with a few faults."""

import asyncio
import subprocess
import sys

import pytest

FAULTS = 25
SEED = 4


@pytest.mark.timeout(400)
async def test_a_few_faults_violate_nothing() -> None:
    """25 faults among real processes, and every invariant holds afterwards; ``make chaos`` is the long form."""
    arguments = (sys.executable, "-m", "tests.chaos", "--faults", str(FAULTS), "--seed", str(SEED))

    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()

    story = err.decode()[-20_000:]
    assert process.returncode == 0, story
    assert out.decode().splitlines()[-1].startswith(f"chaos: {FAULTS} faults, seed {SEED}, "), story
    assert out.decode().splitlines()[-1].endswith(" operations, 0 violations"), story

"""What works for others goes after what answers people, and what it starts goes after it."""

import os
import subprocess
import sys

import pytest

from app.processes.child import NICENESS
from app.processes.pool import ProcessPool
from app.settings import Settings

STAND_BACK = "import os; from app.processes.niceness import stand_back; stand_back({}); print(os.nice(0))"
MOST = 19


def read_niceness() -> int:
    """Of the process that is asked."""
    return os.nice(0)


async def test_children_go_after_their_parent() -> None:
    """By as much as they say, unless there is no more."""
    pool = ProcessPool(1, memory_bytes=2**30)
    try:
        niceness = await pool.run(read_niceness, timeout_seconds=60)
    finally:
        await pool.aclose()

    assert niceness == min(os.nice(0) + NICENESS, MOST)


@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize("by", [0, Settings().worker_niceness])
def test_a_process_stands_back(by: int, own_session: bool) -> None:  # noqa: FBT001
    """Also where its session is scheduled as a group; this process and its session stay as they are."""
    before = os.nice(0)

    said = subprocess.run(
        [sys.executable, "-c", STAND_BACK.format(by)],
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=own_session,
    )

    assert int(said.stdout) == min(before + by, MOST)
    assert os.nice(0) == before

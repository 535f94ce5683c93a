"""An operation whose child processes are killed while it works."""

import os
import signal
from pathlib import Path

import pytest

from app.settings import Settings
from tests.harness import Api, wait_until
from tests.processes.observed import find_children, is_pool_child

pytestmark = pytest.mark.usefixtures("worker")

DOCUMENTS = 300
KILLS = 2
"""Fewer than what any one document or batch of texts bears."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two children, which are killed together."""
    return settings.model_copy(update={"process_slots": 2})


async def test_children_killed_from_outside_cost_no_document(api: Api, tmp_path: Path) -> None:
    """All children die several times in the middle of an INDEX, and it completes without an error."""
    root = tmp_path / "documents"
    root.mkdir()
    for number in range(DOCUMENTS):
        (root / f"{number}.txt").write_text(f"Whale {number} sings in the deep ocean. " * 40)
    killed: set[int] = set()

    async def find_fresh() -> set[int]:
        return {pid for pid in find_children(os.getpid()) if is_pool_child(pid)} - killed

    operation = await api.create("notes", root)
    for _ in range(KILLS):
        fresh = await wait_until(find_fresh)
        for pid in fresh:
            os.kill(pid, signal.SIGKILL)
        killed |= fresh
    ended = await api.wait(operation)

    assert len(killed) >= KILLS
    assert ended["state"] == "completed"
    assert ended["result"]["documents_added"] == DOCUMENTS
    assert ended["result"]["documents_failed"] == 0
    assert await api.assert_consistent("notes") == ended["result"]["chunks"]

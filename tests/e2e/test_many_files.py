"""A folder with more files than anybody would look through."""

from pathlib import Path

import pytest

from app.settings import Settings
from tests.harness import Api, WorkerProcess

FOLDERS, FILES = 1000, 100


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with a usual lease: this test is about many documents, not about short leases."""
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, "lease": 20})


async def test_a_hundred_thousand_tiny_files_are_indexed(
    api: Api, worker_process: WorkerProcess, tmp_path: Path
) -> None:
    """Every file becomes a document and a point, each is found, and a second run reads none of them."""
    root = tmp_path / "tiny"
    for folder in range(FOLDERS):
        part = root / f"{folder:04}"
        part.mkdir(parents=True)
        for file in range(FILES):
            (part / f"{file:03}.txt").write_text(f"Note {folder * FILES + file} about a comet.")
    worker_process.start()

    ended = await api.wait(await api.create("tiny", root), seconds=400)
    again = await api.wait(await api.append("tiny"), seconds=200)
    hits = await api.search("tiny", "note 73512", mode="bm25", limit=1)

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 0)
    assert ended["result"]["documents_added"] == FOLDERS * FILES
    assert ended["attempt"] == 1
    assert hits[0]["path"] == "0735/012.txt"
    assert (again["result"]["unchanged"], again["result"]["tokens"]) == (FOLDERS * FILES, 0)
    assert again["result"]["stages"]["read"]["items"] == 0
    assert await api.assert_consistent("tiny") == FOLDERS * FILES

"""Whatever happens to a collection, it holds what its sources had: no more, no less, nothing torn."""

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from app.settings import Settings
from tests.harness import Api, WorkerProcess
from tests.property.machine import Collection
from tests.property.system import System

EXAMPLES = int(os.environ.get("VECLOOM_TEST_EXAMPLES") or 0)
"""For long runs, each with other histories."""
FEW = 8
STEPS = 8
LONG_STEPS = 14


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Two child processes and small batches, so that there are many moments at which something can come between."""
    batches = {"document_removal_batch_size": 2, "vector_upload_batch_size": 2, "embedding_batch_size": 4}
    return settings.model_copy(update={**batches, "process_slots": 2, "reindex_gate_sample": 0.02})


@pytest.fixture
def system(api: Api, settings: Settings, tmp_path: Path) -> Iterator[System]:
    """The API and a started worker process."""
    worker = WorkerProcess(settings, tmp_path / "worker.log", module="tests.chaos.worker")
    worker.start()
    yield System(api, worker, tmp_path / "collections")
    worker.close()


@pytest.mark.timeout(300 + 60 * EXAMPLES)
async def test_a_collection_is_what_its_sources_were(system: System, tmp_path: Path) -> None:
    """Files change, sources come and go, operations are cancelled, paused and retried, workers are killed.

    After each step documents, chunks, points and totals are those of a simple model. After a step that was cancelled
    each document is the old or the new one, and the next APPEND makes all of them new.
    """
    numbers = itertools.count()
    chosen = hypothesis_settings(
        max_examples=EXAMPLES or FEW,
        stateful_step_count=LONG_STEPS if EXAMPLES else STEPS,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        # a history takes seconds, and its steps are told anyway
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )

    class History(Collection):
        def __init__(self) -> None:
            super().__init__(system, f"c{next(numbers)}")

    await anyio.to_thread.run_sync(partial(run_state_machine_as_test, History, settings=chosen))

    assert "job_failed" not in (tmp_path / "worker.log").read_text()

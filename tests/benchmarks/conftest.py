"""The services of the tests as a benchmark gets them."""

from pathlib import Path

import pytest

from app.bootstrap import Parts
from app.operations.collections import IdentityService
from benchmarks.bench import Bench


@pytest.fixture
async def bench(parts: Parts, tmp_path: Path) -> Bench:
    """A caller on the services of the tests."""
    identity = IdentityService(parts.database)
    caller = await identity.authenticate(await identity.issue_key("bench", name="bench"))
    return Bench(parts, caller.user_id, tmp_path)

"""One real index for the tests of this folder; each builds generations beside it."""

import logging
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.embedded.stack import EmbeddedStack
from tests.reindex.generations import CRANFIELD, Shelf, open_shelf


@pytest.fixture(scope="module")
async def shelf(services: EmbeddedStack) -> AsyncIterator[Shelf]:
    """A part of Cranfield, indexed once."""
    if not CRANFIELD.exists():
        pytest.skip("the dataset is not shipped with the project")
    # a validation makes a thousand requests
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="vecloom-tests-") as folder:
        async with open_shelf(services, Path(folder)) as opened:
            yield opened
    logging.getLogger("httpx").setLevel(logging.NOTSET)

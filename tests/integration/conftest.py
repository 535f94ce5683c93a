"""Servers that can be slow and fail, between Vecloom and what it needs."""

from collections.abc import Iterator

import pytest

from app.embedded.stack import EmbeddedStack
from tests.model_server import FakeModelServer
from tests.vector_proxy import VectorProxy


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server."""
    with FakeModelServer().running() as running:
        yield running


@pytest.fixture
def proxy(services: EmbeddedStack) -> Iterator[VectorProxy]:
    """A proxy in front of the vector server."""
    with VectorProxy(services.qdrant_url).running() as running:
        yield running

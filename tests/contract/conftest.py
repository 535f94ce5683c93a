"""A real vector store for every case: the embedded server, and a Qdrant server where there is one."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from app.stores.qdrant import QdrantStore
from tests.contract.vector_server import DIMENSION, KEY, VectorServer

QDRANT_URL = os.environ.get("VECLOOM_TEST_QDRANT_URL")
QDRANT_KEY = os.environ.get("VECLOOM_TEST_QDRANT_API_KEY")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a vector store answers."""

    url: str
    api_key: str | None

    def open_raw(self) -> httpx.AsyncClient:
        """A client that shows the answers as they are."""
        headers = {"api-key": self.api_key} if self.api_key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorServer]:
    """An embedded server for all cases that leave it alive."""
    server = VectorServer(tmp_path_factory.mktemp("vectors"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VectorServer]:
    """An embedded server of this case's own, running."""
    server = VectorServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["embedded", *(["qdrant"] if QDRANT_URL else [])])
def address(request: pytest.FixtureRequest) -> Address:
    """Each implementation in turn."""
    if request.param == "qdrant":
        assert QDRANT_URL is not None
        return Address(url=QDRANT_URL, api_key=QDRANT_KEY)
    return Address(url=request.getfixturevalue("shared_server").url, api_key=KEY)


@pytest.fixture
async def store(address: Address) -> AsyncIterator[QdrantStore]:
    """The adapter, connected."""
    store = QdrantStore(address.url, api_key=address.api_key)
    yield store
    await store.aclose()


@pytest.fixture
async def name(store: QdrantStore) -> AsyncIterator[str]:
    """A new empty collection."""
    name = f"contract-{uuid4().hex}"
    await store.create_collection(name, dimension=DIMENSION)
    yield name
    await store.drop_collection(name)

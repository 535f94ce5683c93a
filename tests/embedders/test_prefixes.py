"""Models that want to be told what is a query and what a document."""

import pytest

from app.bootstrap import EmbedderRegistry
from app.settings import EmbeddingServer, Settings
from tests.model_server import FakeModelServer

TOLD = ["query: whales", "passage: whales sing"]


@pytest.mark.parametrize("is_main", [True, False])
async def test_prefixes_reach_the_model(*, is_main: bool) -> None:
    """Of the model of new collections, and of each further one."""
    with FakeModelServer().running() as server:
        prefixes = {"query_prefix": "query: ", "document_prefix": "passage: "}
        if is_main:
            changes = {f"embedding_{name}": value for name, value in prefixes.items()}
            settings = Settings(embedding_url=server.url, embedding_model=server.model, **changes)  # type: ignore[arg-type]  # texts alone
        else:
            others = (EmbeddingServer(model=server.model, url=server.url, **prefixes),)
            settings = Settings(embedding_others=others)
        registry = EmbedderRegistry(settings, None)

        await registry.find(server.model).embed_query("whales")
        await registry.find(server.model).embed_documents(["whales sing"])
        await registry.aclose()

    assert server.texts == TOLD

"""One real index for the tests of this folder, which only read it."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.bootstrap import configured_endpoints, open_parts, running_worker
from app.embedded.stack import EmbeddedStack
from app.operations.collections import IdentityService
from tests.harness import Api, create_database, drop_database, open_client, settings_for

DOCUMENTS = {
    "a/guides/whales.md": "# Whales\n\nWhales are large mammals that live in the ocean and sing to each other.\n",
    "a/guides/deep/squid.md": "# Squid\n\nThe giant squid lives in the deep ocean and is eaten by whales.\n",
    "a/guides-old/whales.txt": "An older text about whales and the ocean.\n",
    "a/rockets.txt": "Rockets burn fuel and oxidiser to leave the atmosphere. The ocean is far below.\n",
    "a/table.csv": "animal,place\nwhale,ocean\n",
    "a/languages.txt": "🐋 Der Straßenkönig fuhr über die naïve Brücke; ein Cafe\u0301 in 東京. Whales 🐋 whales.\n",
    "b/ships.md": "# Ships\n\nShips cross the ocean and meet whales.\n",
}
COPIES = {
    **{f"notice{n}.txt": f"Notice {n}: the ferry to the island leaves the harbour at noon.\n" for n in range(6)},
    "fares.txt": "What a ticket for the ferry costs, and where to buy it.\n",
    "storm.txt": "When a storm comes, no boat goes out to the island.\n",
}
"""Of the collection ``ferries``: six that say the same, and two others."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """An indexed collection with two sources."""

    api: Api
    name: str
    sources: dict[str, str]
    copies: str = "ferries"

    async def ask(self, query: str, **options: Any) -> httpx.Response:
        """The answer to a query."""
        return await self.api.client.post(
            f"/api/v1/collections/{self.name}/search", json={"query": query, "limit": 100, **options}
        )

    async def paths(self, query: str, **options: Any) -> set[str]:
        """The documents that answer a query."""
        answer = await self.ask(query, **options)
        assert answer.status_code == 200, answer.text
        return {hit["path"] for hit in answer.json()["hits"]}

    async def issue_key(self, user: str) -> str:
        """A key of another user."""
        return await IdentityService(self.api.parts.database).issue_key(user, name="test")


@pytest.fixture(scope="module")
async def index(services: EmbeddedStack) -> AsyncIterator[Index]:
    """The documents above, indexed once."""
    database = f"t_{uuid4().hex[:12]}"
    await create_database(services, database)
    with tempfile.TemporaryDirectory(prefix="vecloom-tests-") as name:
        folder = Path(name)
        for path, text in DOCUMENTS.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (folder / "copies").mkdir()
        for path, text in COPIES.items():
            (folder / "copies" / path).write_text(text)
        settings = settings_for(services, database=database, namespace=database, data=folder / "data")
        async with (
            open_parts(settings, configured_endpoints(settings)) as parts,
            open_client(parts) as api,
            running_worker(parts),
        ):
            body = {"name": "animals", "sources": [{"url": (folder / source).as_uri()} for source in "ab"]}
            created = (await api.client.post("/api/v1/collections", json=body)).json()
            ended = await api.wait(created["operation"])
            assert ended["result"]["documents_added"] == len(DOCUMENTS)
            await api.wait(await api.create("ferries", folder / "copies"))
            sources = (await api.client.get("/api/v1/collections/animals/sources")).json()["sources"]
            yield Index(api=api, name="animals", sources={source["url"][-1]: source["id"] for source in sources})
    await drop_database(services, database)

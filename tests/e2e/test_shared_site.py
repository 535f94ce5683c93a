"""Workers share a source that is on none of their machines."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.e2e.test_lanes import DOCUMENTS, WORKERS, Fleet
from tests.harness import Api
from tests.model_server import FakeModelServer
from tests.sources.site import Site


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    """A model server that is slower than the workers, for any number of them at once."""
    with FakeModelServer().running() as running:
        running.delay_seconds = 0.1
        yield running


@pytest.fixture
def settings(settings: Settings, server: FakeModelServer) -> Settings:
    """Workers that have one small request at a time in flight, and that may read sites of this machine."""
    changes = {
        "embedding_url": server.url,
        "embedding_model": server.model,
        "embedding_batch_size": 4,
        "embedding_concurrency_per_worker": 1,
        "process_slots": 1,
        "sources_allow_private": True,
    }
    return Settings(**{**{name: getattr(settings, name) for name in settings.model_fields_set}, **changes})


@pytest.fixture
async def fleet(settings: Settings, api: Api, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Started workers."""
    opened = Fleet(settings, api, tmp_path)
    await opened.start()
    yield opened
    for worker in opened.workers:
        worker.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """Pages that a sitemap names the time of, so that a scan asks for none of them."""
    with Site().running() as running:
        entries = []
        for number in range(DOCUMENTS):
            running.put(f"/{number:04}.txt", f"Entry {number} of the list of comets.")
            place = f"<loc>{running.url}/{number:04}.txt</loc>"
            entries.append(f"<url>{place}<lastmod>2026-01-01</lastmod></url>")
        running.put("/sitemap.xml", f"<urlset>{''.join(entries)}</urlset>")
        yield running


async def test_idle_workers_share_a_site(fleet: Fleet, api: Api, site: Site) -> None:
    """Each page is fetched once, by whoever has it in hand, and the result is that of all."""
    source = {"url": f"{site.url}/sitemap.xml", "options": {"per_second": 1000}}
    created = await api.client.post("/api/v1/collections", json={"name": "comets", "sources": [source]})
    ended = await api.wait(created.json()["operation"])

    pages = [path for path in site.asked() if path.endswith(".txt") and path != "/robots.txt"]
    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", DOCUMENTS), ended
    assert ended["result"]["workers"] == WORKERS
    assert len(pages) == len(set(pages)) == DOCUMENTS
    assert await api.assert_consistent("comets") == DOCUMENTS
    assert await fleet.nothing_left()

"""Sources that are not on this machine, indexed and brought up to date."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.settings import Settings
from tests.harness import Api, open_client, wait_until
from tests.sources.site import Site


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """Parts of a server that may read sites of this machine."""
    allowed = settings.model_copy(update={"sources_allow_private": True})
    async with open_parts(allowed, configured_endpoints(allowed)) as opened:
        yield opened


@pytest.fixture
def site() -> Iterator[Site]:
    """A small site."""
    with Site().running() as running:
        running.link("/", "/whales.html", "/rockets.html", title="Start", text="A site of two pages.")
        running.link("/whales.html", title="Whales", text="Whales are large mammals that live in the ocean.")
        running.link("/rockets.html", title="Rockets", text="Rockets burn fuel to leave the atmosphere.")
        yield running


async def create(api: Api, name: str, url: str, **source: Any) -> dict[str, Any]:
    """A collection over a source; the ended operation."""
    body = {"name": name, "sources": [{"url": url, **source}]}
    response = await api.client.post("/api/v1/collections", json=body)
    assert response.status_code == httpx.codes.ACCEPTED, response.text
    return await api.wait(response.json()["operation"])


async def crawl_and_stop(api: Api, site: Site) -> tuple[dict[str, Any], threading.Event]:
    """A crawl whose last page does not answer before the event; documents are indexed by then, and it says so."""
    site.link("/rockets.html", "/slow.html", title="Rockets", text="Rockets burn fuel to leave the atmosphere.")
    site.link("/slow.html", title="Slow", text="Glaciers creep down the valley.")
    gate = site.held["/slow.html"] = threading.Event()
    body = {"name": "site", "sources": [{"url": f"{site.url}/", "options": {"per_second": 1000, "depth": 3}}]}
    operation = (await api.client.post("/api/v1/collections", json=body)).json()["operation"]

    async def has_begun() -> bool:
        progress = (await api.get(operation))["progress"] or {}
        return bool(progress.get("chunks"))

    await wait_until(has_begun)
    return operation, gate


@pytest.mark.usefixtures("worker")
async def test_a_site_is_indexed_and_found(api: Api, site: Site) -> None:
    """Each page is downloaded once, though it is looked at for links and read as a document."""
    ended = await create(api, "site", f"{site.url}/", options={"per_second": 1000})

    hits = await api.search("site", "mammals of the ocean")

    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 3)
    assert hits[0]["uri"] == f"{site.url}/whales.html"
    assert sorted(site.asked()) == ["/", "/robots.txt", "/rockets.html", "/whales.html"]
    assert await api.assert_consistent("site") == ended["result"]["chunks"]


@pytest.mark.usefixtures("worker")
async def test_pages_are_indexed_while_the_site_is_still_looked_through(api: Api, site: Site) -> None:
    """What is found can be searched although a page deeper in the site keeps the scan waiting."""
    operation, gate = await crawl_and_stop(api, site)

    async def is_found() -> bool:
        response = await api.client.post("/api/v1/collections/site/search", json={"query": "mammals of the ocean"})
        return response.status_code == httpx.codes.OK and bool(response.json()["hits"])

    await wait_until(is_found)
    running = await api.wait(operation, states=["running"])
    gate.set()
    ended = await api.wait(operation)

    assert running["state"] == "running"
    assert running["progress"]["scanning"] is True
    assert running["progress"]["eta_seconds"] is None
    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 4)
    assert ended["progress"]["scanning"] is False
    assert (await api.search("site", "glaciers"))[0]["uri"] == f"{site.url}/slow.html"
    assert await api.assert_consistent("site") == ended["result"]["chunks"]


@pytest.mark.usefixtures("worker")
async def test_a_cancel_during_the_scan_keeps_what_is_indexed(api: Api, site: Site) -> None:
    """Nothing is taken for gone because the scan has not come to it, and the next run does the rest."""
    operation, gate = await crawl_and_stop(api, site)

    cancelled = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    gate.set()
    ended = await api.wait(operation)
    again = await api.wait(await api.append("site"))

    assert cancelled.is_success
    assert ended["state"] == "cancelled"
    assert (again["state"], again["result"]["documents"]) == ("completed", 4)
    assert 0 < again["result"]["documents_added"] < 4
    assert await api.assert_consistent("site") == 4


@pytest.mark.usefixtures("worker")
async def test_a_run_without_changes_downloads_nothing(api: Api, site: Site) -> None:
    """Servers are asked whether pages have changed, and say no."""
    await create(api, "site", site.url, options={"per_second": 1000})
    site.forget_requests()

    again = await api.wait(await api.append("site"))

    assert (again["result"]["unchanged"], again["result"]["tokens"]) == (3, 0)
    assert [request.sent for request in site.requests if request.path != "/robots.txt"] == [0, 0, 0]
    assert again["result"]["stages"]["read"]["items"] == 0


@pytest.mark.usefixtures("worker")
async def test_a_page_is_read_as_what_its_server_says(api: Api, site: Site) -> None:
    """Neither its name nor its beginning says that it is a page; it is kept under its own name."""
    site.link("/", "/about?lang=en")
    site.put("/about?lang=en", "<!-- by hand --><b>Penguins</b><i>march</i>", content_type="text/html")

    await create(api, "site", site.url, options={"per_second": 1000})
    hit = (await api.search("site", "penguins"))[0]

    assert hit["path"] == "about?lang=en"
    assert "by hand" not in hit["text"]
    assert "<b>" not in hit["text"]


@pytest.mark.usefixtures("worker")
async def test_changes_of_a_site_are_followed(api: Api, site: Site) -> None:
    """New, changed and gone pages; only what changed is read."""
    await create(api, "site", site.url, options={"per_second": 1000})
    site.link("/", "/whales.html", "/bread.html", title="Start", text="A site of two other pages.")
    site.link("/bread.html", title="Bread", text="Bake the dough for an hour.")
    del site.pages["/rockets.html"]

    again = await api.wait(await api.append("site"))

    counts = {name: again["result"][f"documents_{name}"] for name in ("added", "changed", "removed", "failed")}
    assert counts == {"added": 1, "changed": 1, "removed": 1, "failed": 0}
    assert again["result"]["stages"]["read"]["items"] == 2
    assert (await api.search("site", "dough"))[0]["uri"] == f"{site.url}/bread.html"


@pytest.mark.usefixtures("worker")
async def test_a_dry_run_of_a_site_says_what_it_would_do(api: Api, site: Site) -> None:
    """The same numbers as the real operation, and nothing is stored."""
    body = {"collection": "site", "source": {"url": site.url, "options": {"per_second": 1000}}}
    planned = await api.wait((await api.client.post("/api/v1/plans", json=body)).json())

    real = await create(api, "site", site.url, options={"per_second": 1000})

    names = ("documents_added", "documents_failed", "chunks", "tokens", "skipped")
    assert planned["state"] == "completed", planned
    assert {name: planned["result"][name] for name in names} == {name: real["result"][name] for name in names}


@pytest.mark.usefixtures("worker")
async def test_a_site_that_is_down_removes_nothing(api: Api, site: Site) -> None:
    """The operation is tried again and fails; what is indexed stays searchable."""
    await create(api, "site", site.url, options={"per_second": 1000})
    site.is_gone = True

    again = await api.wait(await api.append("site"))

    assert (again["state"], again["error_code"]) == ("failed", "source_not_found")
    assert (await api.search("site", "mammals of the ocean"))[0]["uri"] == f"{site.url}/whales.html"


async def test_private_addresses_are_refused_by_default(settings: Settings, site: Site) -> None:
    """The operation fails with a code of its own, and the site is not asked."""
    async with (
        open_parts(settings, configured_endpoints(settings)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        ended = await create(api, "site", site.url)

    assert (ended["state"], ended["error_code"]) == ("failed", "address_not_allowed")
    assert site.requests == []

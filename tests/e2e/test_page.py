"""The page in a real browser, on a real server: sign in, search, judge, watch, and hostile texts and sites."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from app.api.serving import serving
from app.bootstrap import Parts, configured_endpoints, open_api, open_parts, running_worker
from app.embedded.stack import EmbeddedStack
from app.operations.collections import IdentityService
from tests.browser import running_browser
from tests.harness import Api, create_database, drop_database, open_client, settings_for

HOSTILE = """<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>"""
QUERY = "animals of the sea 🐋"


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server with one collection, and a way to ask it."""

    url: str
    api: Api
    folder: Path
    browser: Browser
    own_key: str

    async def make_address(self) -> str:
        """An address that signs in once."""
        made = await self.api.client.post("/api/v1/session/codes")
        return f"{self.url}/#code={made.json()['code']}"

    @asynccontextmanager
    async def open(self, address: str) -> AsyncIterator[Page]:
        """A new browser profile at an address; a script that fails or is refused fails the test."""
        context = await self.browser.new_context(viewport={"width": 900, "height": 900})
        page = await context.new_page()
        troubles = collect_troubles(page)
        await page.goto(address)
        yield page
        await context.close()
        assert troubles == []


def collect_troubles(page: Page) -> list[str]:
    """What goes wrong in a page, but for answers that the page itself shows."""
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))

    def note(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            troubles.append(message.text)

    page.on("console", note)
    return troubles


def write_documents(folder: Path) -> None:
    """Some documents, one of which is hostile in name, title and text."""
    folder.mkdir()
    (folder / "whales.md").write_text("# Whales 🐋🐋\n\n🐋 Whales are large animals that live in the sea.\n")
    (folder / "bread.txt").write_text("Bake the dough for an hour, until it sounds hollow.\n")
    (folder / "<img src=x onerror=alert(1)>.md").write_text(f"# {HOSTILE} pirates\n\nPirates {HOSTILE} rule the sea.\n")


@pytest.fixture(scope="module")
async def served(services: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One server and one browser for all tests here."""
    async with running_browser() as browser:
        name = f"t_{uuid4().hex[:12]}"
        await create_database(services, name)
        root = tmp_path_factory.mktemp("page")
        settings = settings_for(services, database=name, namespace=name, data=root / "data")
        folder = root / "documents"
        write_documents(folder)
        async with (
            open_parts(settings, configured_endpoints(settings)) as parts,
            running_worker(parts),
            open_client(parts) as api,
            serve(parts) as url,
        ):
            await api.wait(await api.create("notes", folder))
            key = await IdentityService(parts.database).issue_key("stranger", name="own")
            yield Served(url=url, api=api, folder=folder, browser=browser, own_key=key)
        await drop_database(services, name)


@asynccontextmanager
async def serve(parts: Parts) -> AsyncIterator[str]:
    """The application on a port."""
    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as url:
        yield url


async def search(page: Page, query: str) -> None:
    """Ask, as a person does."""
    await page.get_by_role("searchbox").fill(query)
    await page.keyboard.press("Enter")
    await expect(page.locator(".hit").first).to_be_visible()


async def test_judgments_are_kept_and_exported(served: Served) -> None:
    """Somebody opens the printed address, searches and judges; a reload shows it again, and the export has it."""
    async with served.open(await served.make_address()) as page:
        await expect(page.get_by_role("searchbox")).to_be_visible()
        assert "code" not in page.url
        cookies = await page.context.cookies()
        await search(page, QUERY)
        whales = page.get_by_role("article", name="Whales")
        await expect(whales.locator("mark").first).to_have_text("animals")
        up = whales.get_by_role("button", name="Relevant", exact=True)
        down = page.get_by_role("article", name="bread").get_by_role("button", name="Not relevant")
        await up.click()
        await expect(up).to_have_attribute("aria-pressed", "true")
        # without a mouse: down to the hits, to the one, and minus
        await page.get_by_role("searchbox").press("ArrowDown")
        await expect(page.locator(".hit").first).to_be_focused()
        await page.get_by_role("article", name="bread").focus()
        await page.keyboard.press("-")
        await expect(down).to_have_attribute("aria-pressed", "true")

        await page.reload()
        await expect(up).to_have_attribute("aria-pressed", "true")
        await expect(down).to_have_attribute("aria-pressed", "true")
        await page.get_by_role("link", name="Judged").click()
        await expect(page.get_by_text("1 judged query, 2 judgments")).to_be_visible()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Export qrels").click()
        exported = await asyncio.to_thread(Path(await (await download.value).path()).read_text)
        await page.get_by_role("button", name="Make a dataset").click()
        await expect(page.get_by_text("vecloom bench notes --dataset notes-judged")).to_be_visible()

    wanted = await served.api.client.get("/api/v1/collections/notes/judgments", params={"format": "trec"})
    assert exported == wanted.text
    assert sorted(line.split()[-1] for line in exported.splitlines()) == ["0", "1"]
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]

    async with served.open(await served.make_address()) as page:
        await search(page, QUERY)
        await up_of(page, "Whales").click()
        await expect(up_of(page, "Whales")).to_have_attribute("aria-pressed", "false")
    left = (await served.api.client.get("/api/v1/collections/notes/judgments")).json()["judgments"]
    assert [one["grade"] for one in left] == [0]


def up_of(page: Page, title: str) -> Any:
    """The thumb up of a hit."""
    return page.get_by_role("article", name=title).get_by_role("button", name="Relevant", exact=True)


async def test_an_operation_is_seen_to_end(served: Served) -> None:
    """Its row appears and changes by itself, over the WebSocket; the figures of the collection follow."""
    (served.folder / "rockets.txt").write_text("Rockets burn fuel and oxidiser.\n")
    async with served.open(await served.make_address()) as page:
        await page.get_by_role("link", name="Operations").click()
        await expect(page.locator(".operation")).to_have_count(1)
        await expect(page.locator("#live")).to_have_text("Live")
        before = await page.evaluate("performance.getEntriesByType('navigation').length")

        await served.api.wait(await served.api.append("notes"))

        await expect(page.locator(".operation")).to_have_count(2)
        newest = page.locator(".operation").first
        await expect(newest).to_contain_text("Bring up to date")
        await expect(newest).to_contain_text("completed")
        await expect(newest).to_contain_text("1 document added")
        await expect(page.locator("#facts")).to_contain_text("4 documents")
        assert await page.evaluate("performance.getEntriesByType('navigation').length") == before


async def test_an_operation_is_cancelled_and_retried(served: Served) -> None:
    """The page says why it waits; its buttons do what they say, and errors would be shown in words."""
    body = {"kind": "VERIFY", "run_after": "2100-01-01T00:00:00Z"}
    waiting = (await served.api.client.post("/api/v1/collections/notes/operations", json=body)).json()
    async with served.open(f"{await served.make_address()}&view=operations&collection=notes") as page:
        row = page.locator(".operation").first
        await expect(row).to_contain_text("Verify")
        await expect(row).to_contain_text("Waits: ")
        await row.get_by_role("button", name="Cancel").click()
        await expect(row).to_contain_text("cancelled")
        await row.get_by_role("button", name="Retry").click()
        await expect(row).not_to_contain_text("cancelled")

    ended = await served.api.wait(waiting)
    assert ended["state"] == "completed"


async def test_texts_of_documents_stay_texts(served: Served) -> None:
    """A document whose name, title and text are markup is shown as it is; nothing of it runs."""
    async with served.open(await served.make_address()) as page:
        await search(page, "pirates")
        hit = page.locator(".hit").first
        await expect(hit).to_contain_text("<img src=x onerror=alert(1)>.md")
        await expect(hit.locator(".text")).to_contain_text("<script>document.title='owned'</script>")
        await hit.get_by_role("button", name="Relevant", exact=True).click()
        await expect(hit.get_by_role("button", name="Relevant", exact=True)).to_have_attribute("aria-pressed", "true")
        await page.get_by_role("link", name="Judged").click()
        await expect(page.locator("tbody tr").first).to_contain_text("pirates")
        # what somebody else puts into a link is not better
        await page.goto(f"{served.url}/#view={HOSTILE}&collection={HOSTILE}&q={HOSTILE}")
        await expect(page.get_by_role("alert")).to_contain_text("There is no collection")

        assert "owned" not in await page.title()
        assert await page.locator("main img, main script").count() == 0


async def test_a_page_of_another_port_cannot_use_the_session(served: Served) -> None:
    """Cookies know no ports: the browser sends this one along, and the server refuses it."""
    async with serve_elsewhere() as elsewhere, served.open(await served.make_address()) as page:
        await expect(page.get_by_role("searchbox")).to_be_visible()

        told = await ask_from(page.context, elsewhere, served.url)

    notes = (await served.api.client.get("/api/v1/collections/notes")).json()
    assert told == {"read": "TypeError", "socket": [4403, "foreign_origin"]}
    assert notes["paused_at"] is None


@asynccontextmanager
async def serve_elsewhere() -> AsyncIterator[str]:
    """A site of somebody else on the same machine."""

    async def show(_: Request) -> HTMLResponse:
        return HTMLResponse("<!DOCTYPE html><title>Elsewhere</title>")

    async with serving(Starlette(routes=[Route("/", show)]), host="127.0.0.1", port=0) as url:
        yield url


ATTACK = """async (server) => {
  const api = server + "/api/v1/";
  await fetch(api + "collections/notes/pause", {method: "POST", mode: "no-cors", credentials: "include"});
  const read = await fetch(api + "collections", {credentials: "include"}).then(() => "read", (error) => error.name);
  const socket = new WebSocket(api.replace("http", "ws") + "ws/operations");
  const end = await new Promise((done) => { socket.onclose = done; });
  return {read, socket: [end.code, end.reason]};
}"""


async def ask_from(context: BrowserContext, elsewhere: str, server: str) -> Any:
    """What a page of another site gets, in the browser of somebody who is signed in."""
    page = await context.new_page()
    await page.goto(elsewhere)
    async with asyncio.timeout(30):
        return await page.evaluate(ATTACK, server)


async def test_somebody_signs_in_with_a_key_and_out(served: Served) -> None:
    """A wrong key is said to be wrong; others' collections are not shown; signing out is for all tabs."""
    async with served.open(served.url) as page:
        await page.get_by_label("API key").fill("vcl_wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
        await page.get_by_label("API key").fill(served.own_key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_text("There is no collection yet.")).to_be_visible()
        other = await page.context.new_page()
        await other.goto(served.url)
        await expect(other.get_by_text("There is no collection yet.")).to_be_visible()

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        await other.reload()
        await expect(other.get_by_label("API key")).to_be_visible()
        assert await page.context.cookies() == []

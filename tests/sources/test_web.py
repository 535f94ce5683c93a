"""Reading sites: what belongs to them, what is asked for, and what is refused."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.documents import Document, DocumentState, KnownDocument, Locator, ScannedDocument
from app.domain.errors import (
    AddressNotAllowedError,
    InvalidSourceError,
    SourceNotFoundError,
    SourceRefusesAccessError,
    SourceUnavailableError,
    SourceVanishedError,
    UnsupportedSourceError,
)
from app.processes.pool import ProcessPool
from app.sources.web import WebSource
from app.sources.web_options import WebOptions
from app.sources.web_urls import find_link, normalise, path_of
from tests.sources.site import Site, SitePage


class Known:
    """``KnownDocuments`` that remembers a scan."""

    def __init__(self, found: Sequence[ScannedDocument] = ()) -> None:
        self._found = {item.uri: item for item in found}

    async def find(self, uris: Sequence[str]) -> Mapping[str, KnownDocument]:
        """See the port."""
        return {
            uri: KnownDocument(size=item.size, modified_ns=item.modified_ns, etag=item.etag, links=item.links)
            for uri in uris
            if (item := self._found.get(uri)) is not None
        }


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    """One child process."""
    opened = ProcessPool(1, memory_bytes=2**32)
    yield opened
    await opened.aclose()


@pytest.fixture
def site() -> Iterator[Site]:
    """A site without pages."""
    with Site().running() as running:
        yield running


class Sources:
    """Opens sources of the site with the options of a test."""

    def __init__(self, spool: Path, pool: ProcessPool) -> None:
        self._spool = spool
        self._pool = pool

    def open(self, url: str, *, known: Sequence[ScannedDocument] = (), **options: Any) -> WebSource:
        """A source at a URL."""
        web = {name: options.pop(name) for name in ("depth", "max_pages", "stay_below") if name in options}
        return WebSource(
            url,
            **{
                "options": WebOptions(per_second=1000, **web),
                "spool": self._spool,
                "known": Known(known),
                "processes": self._pool,
                "max_bytes": 100_000,
                "allow_private": True,
                "retry_seconds": 0.01,
                **options,
            },
        )

    async def scan(self, url: str, **options: Any) -> "Found":
        """What a scan finds."""
        async with aclosing(self.open(url, **options)) as source:
            documents = [item async for batch in source.scan() for item in batch]
            return Found(documents, dict(source.skipped), list(source.unseen))


class Found:
    """What a scan has found."""

    def __init__(self, documents: list[ScannedDocument], skipped: dict[str, int], unseen: list[str]) -> None:
        self.documents = documents
        self.skipped = skipped
        self.unseen = unseen
        self.codes = {item.path: item.error_code for item in documents}


@pytest.fixture
def sources(tmp_path: Path, pool: ProcessPool) -> Sources:
    """Sources of this test."""
    return Sources(tmp_path / "spool", pool)


async def test_links_are_followed_inside_the_site(site: Site, sources: Sources) -> None:
    """However they are written, each page once; elsewhere, files without text and fragments are left out."""
    site.link("/", "a.html", "/a.html#part", "./b/", "http://elsewhere.invalid/", "mailto:me@x", "x.png", "y.zip")
    site.link("/a.html", "/", "b/c.html?x=1")
    site.link("/b/", "c.html", head='<base href="/d/">')
    site.link("/b/c.html?x=1")
    site.link("/d/c.html")

    found = await sources.scan(site.url)

    assert list(found.codes) == ["index.html", "a.html", "b/index.html", "b/c.html?x=1", "d/c.html"]
    assert found.skipped == {"other_site": 1, "binary": 1, "archives": 1}
    assert found.unseen == []


async def test_depth_and_number_of_pages_are_limited(site: Site, sources: Sources) -> None:
    """Beyond the depth there is nothing; beyond the number there may be documents of before."""
    site.link("/", *(f"/{number}" for number in range(9)))
    for number in range(9):
        site.link(f"/{number}", f"/{number}/deeper")
        site.link(f"/{number}/deeper")

    shallow = await sources.scan(site.url, depth=1)
    alone = await sources.scan(site.url, depth=0)
    few = await sources.scan(site.url, max_pages=4)

    assert len(shallow.documents) == 10
    assert list(alone.codes) == ["index.html"]
    assert (alone.unseen, shallow.unseen) == ([], [])
    assert list(few.codes) == ["index.html", "0", "1", "2"]
    assert few.unseen == [f"{site.url}/"]


async def test_a_source_may_be_a_folder_of_a_site(site: Site, sources: Sources) -> None:
    """``stay_below`` leaves out what lies above and beside."""
    site.link("/docs/start.html", "/", "/blog/", "more/a.html")
    site.link("/docs/more/a.html", "../start.html")

    found = await sources.scan(f"{site.url}/docs/start.html", stay_below=True)

    assert list(found.codes) == ["docs/start.html", "docs/more/a.html"]
    assert "/blog/" not in site.asked()


async def test_robots_are_honoured(site: Site, sources: Sources) -> None:
    """The file, its delay being the client's, the page's own orders, and ``rel``."""
    site.put("/robots.txt", "User-agent: *\nDisallow: /private\nAllow: /\n")
    site.link("/", "/private/a.html", "/b.html", "/c.html")
    site.link("/b.html", "/only-from-b.html", head='<meta name="robots" content="noindex">')
    site.link("/c.html", "/only-from-c.html", head='<meta name="ROBOTS" content="index, nofollow">')
    site.link("/only-from-b.html")

    found = await sources.scan(site.url)

    assert list(found.codes) == ["index.html", "c.html", "only-from-b.html"]
    assert found.skipped == {"robots": 1, "noindex": 1}
    assert not {"/private/a.html", "/only-from-c.html"} & set(site.asked())


async def test_a_site_that_forbids_its_first_page_is_not_read(site: Site, sources: Sources) -> None:
    """That is an error of the source, not a source without documents."""
    site.put("/robots.txt", "User-agent: Vecloom\nDisallow: /\n")
    site.link("/")

    with pytest.raises(SourceRefusesAccessError):
        await sources.scan(site.url)

    assert site.asked() == ["/robots.txt"]


async def test_a_site_that_does_not_say_what_robots_may_is_left_alone(site: Site, sources: Sources) -> None:
    """A ``robots.txt`` that is broken now forbids everything for now."""
    site.pages["/robots.txt"] = SitePage(status=500)
    site.link("/")

    with pytest.raises(SourceUnavailableError):
        await sources.scan(site.url)

    assert "/" not in site.asked()


async def test_unchanged_pages_are_not_sent_again(site: Site, sources: Sources) -> None:
    """The links of a page that was not sent are those of before, so that the others are found too."""
    site.link("/", "/a.html")
    site.link("/a.html", "/b.txt")
    site.put("/b.txt", "text")
    first = await sources.scan(site.url)
    site.forget_requests()

    second = await sources.scan(site.url, known=first.documents)

    assert [(item.uri, item.etag, item.size, item.links) for item in second.documents] == [
        (item.uri, item.etag, item.size, item.links) for item in first.documents
    ]
    assert [(request.path, request.status, request.sent) for request in site.requests[1:]] == [
        ("/", 304, 0),
        ("/a.html", 304, 0),
        ("/b.txt", 304, 0),
    ]


async def test_a_page_without_versions_is_known_by_its_content(site: Site, sources: Sources) -> None:
    """Servers need not name versions; then the page is sent each time, and its hash compared."""
    site.link("/", has_etag=False)

    first, second = await sources.scan(site.url), await sources.scan(site.url)

    assert first.documents[0].etag is None
    assert first.documents[0].content_hash == second.documents[0].content_hash is not None


async def test_a_moved_page_is_a_document_under_its_new_address_alone(site: Site, sources: Sources) -> None:
    """Also the first one, whose site is then where it has moved to; off the site nothing is followed."""
    site.redirect("/", "/new/")
    site.link("/new/", "/old.html", "/new.html", "/away.html")
    site.redirect("/old.html", "/new.html")
    site.redirect("/away.html", "http://169.254.169.254/latest/meta-data/")
    site.link("/new.html")

    found = await sources.scan(site.url)

    assert list(found.codes) == ["new/index.html", "new.html"]
    assert found.skipped == {"redirects": 2, "other_site": 1}


async def test_a_circle_of_redirects_ends(site: Site, sources: Sources) -> None:
    """Whether it begins at the source or at a page."""
    site.redirect("/", "/again")
    site.redirect("/again", "/")

    with pytest.raises(SourceNotFoundError):
        await sources.scan(site.url)


async def test_private_addresses_are_refused(site: Site, sources: Sources) -> None:
    """Nothing reaches the server, whatever name it is asked for by."""
    site.link("/")
    port = site.url.rpartition(":")[2]

    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"):
        with pytest.raises(AddressNotAllowedError):
            await sources.scan(f"http://{host}:{port}/", allow_private=False)

    assert site.requests == []


async def test_errors_of_pages_cost_one_document_each(site: Site, sources: Sources) -> None:
    """Forbidden, broken and too large pages are documents with a code; dead links are none."""
    site.link("/", "/forbidden", "/broken", "/large", "/dead", "/fine")
    site.pages["/forbidden"] = SitePage(status=401)
    site.pages["/broken"] = SitePage(status=500)
    site.put("/large", b"x" * 100_001)
    site.link("/fine")

    found = await sources.scan(site.url)

    assert found.codes == {
        "index.html": None,
        "forbidden": "unreadable_file",
        "broken": "fetch_failed",
        "large": "document_too_large",
        "fine": None,
    }
    assert found.skipped == {"broken_links": 1}
    assert found.unseen == [f"{site.url}/"]


async def test_a_busy_server_is_asked_again(site: Site, sources: Sources) -> None:
    """As often as it makes sense, and when it says."""
    site.link("/", "/busy")
    site.put("/busy", "text", failures=2)

    found = await sources.scan(site.url)

    assert found.codes == {"index.html": None, "busy": None}
    assert site.asked().count("/busy") == 3


async def test_a_site_that_goes_down_during_the_scan_has_no_bad_documents(site: Site, sources: Sources) -> None:
    """The whole source is tried again later."""
    site.link("/", "/a", "/b")
    async with aclosing(sources.open(site.url)) as source:
        scan = source.scan()
        first = await anext(scan)
        for path in ("/", "/a", "/b"):
            site.pages[path] = SitePage(status=503)

        with pytest.raises(SourceVanishedError):
            await anext(scan)

    assert [item.path for item in first] == ["index.html"]


@pytest.mark.parametrize(("status", "error"), [(401, SourceRefusesAccessError), (404, SourceNotFoundError)])
async def test_a_first_page_that_is_refused_is_an_error(
    site: Site, sources: Sources, status: int, error: type[Exception]
) -> None:
    """Of the source, also of a sitemap."""
    site.pages["/"] = SitePage(status=status)
    site.pages["/sitemap.xml"] = SitePage(status=status)

    for path in ("/", "/sitemap.xml"):
        with pytest.raises(error):
            await sources.scan(f"{site.url}{path}")


async def test_packed_answers_are_unpacked_within_the_limit(site: Site, sources: Sources) -> None:
    """A bomb is too large as soon as it is, and what was written of it is gone."""
    packed = {"Content-Encoding": "gzip"}
    site.link("/", "/small", "/bomb")
    site.put("/small", b"s" * 50_000, headers=packed)
    site.put("/bomb", b"b" * 50_000_000, headers=packed)

    async with aclosing(sources.open(site.url)) as source:
        found = {item.path: item async for batch in source.scan() for item in batch}
        fetched = await source.fetch([_document(found["small"])], _spool(sources) / "into")

        path = next(iter(fetched.values())).path
        assert path is not None
        assert await asyncio.to_thread(Path(path).read_bytes) == b"s" * 50_000
        kept = await asyncio.to_thread(lambda: [file.stat().st_size for file in _spool(sources).rglob("*")])

    assert found["bomb"].error_code == "document_too_large"
    assert max(kept) < 200_000


async def test_a_sitemap_says_what_there_is(site: Site, sources: Sources) -> None:
    """Lists of lists, packed ones, other sites, doubles; a page with a time is not asked for."""
    inner = f"<urlset><url><loc>{site.url}/dated</loc><lastmod>2026-01-02</lastmod></url></urlset>"
    site.put("/sitemap.xml", f"<sitemapindex><sitemap><loc>{site.url}/s1.xml.gz</loc></sitemap>"
             f"<sitemap><loc>{site.url}/s2.xml</loc></sitemap></sitemapindex>")  # fmt: skip
    site.put("/s1.xml.gz", gzip.compress(inner.encode()))
    site.put("/s2.xml", f"<urlset><url><loc><![CDATA[{site.url}/a?x=1&y=2]]></loc></url>"
             f"<url><loc>{site.url}/dated</loc></url><url><loc>{site.url}/b&amp;c</loc></url>"
             "<url><loc>http://elsewhere.invalid/d</loc></url></urlset>")  # fmt: skip
    site.put("/a?x=1&y=2", "text")
    site.put("/b&c", "text")

    found = await sources.scan(f"{site.url}/sitemap.xml")

    assert [(item.path, item.etag == "lastmod 2026-01-02") for item in found.documents] == [
        ("dated", True),
        ("a?x=1&y=2", False),
        ("b&c", False),
    ]
    assert found.skipped == {"other_site": 1}
    assert "/dated" not in site.asked()


async def test_a_damaged_sitemap_hides_its_pages(site: Site, sources: Sources) -> None:
    """Those of the others are found; nothing is called gone."""
    site.put("/sitemap.xml", f"<sitemapindex><sitemap><loc>{site.url}/gone.xml</loc></sitemap>"
             f"<sitemap><loc>{site.url}/s2.xml</loc></sitemap></sitemapindex>")  # fmt: skip
    site.put("/s2.xml", f"<urlset><url><loc>{site.url}/a</loc></url></urlset>")
    site.put("/a", "text")

    found = await sources.scan(f"{site.url}/sitemap.xml")

    assert list(found.codes) == ["a"]
    assert found.unseen == [f"{site.url}/"]


async def test_a_login_goes_to_its_own_site_alone(site: Site, sources: Sources) -> None:
    """A redirect to another site, which a port makes already, does not take it there."""
    with Site().running() as other:
        site.redirect("/", f"{other.url}/")
        other.link("/")

        await sources.scan(site.url, login={"Authorization": "Bearer s3cret"})

        assert site.requests[-1].headers["authorization"] == "Bearer s3cret"
        assert all("authorization" not in request.headers for request in other.requests)


async def test_a_page_that_has_moved_away_since_the_scan_costs_itself(site: Site, sources: Sources) -> None:
    """What it leads to is not asked for."""
    site.redirect("/a", "http://169.254.169.254/")
    scanned = ScannedDocument(
        uri=f"{site.url}/a", path="a", locator=Locator(path=f"{site.url}/a"), size=0, modified_ns=0
    )
    document = _document(scanned)

    async with aclosing(sources.open(site.url, allow_private=True)) as source:
        fetched = await source.fetch([document], _spool(sources) / "into")

    assert fetched[document.id].error_code == "redirect_outside_source"


async def test_nothing_is_left_behind(site: Site, sources: Sources) -> None:
    """Pages that were kept for reading go when the source is closed."""
    site.link("/", "/a")
    site.link("/a")

    await sources.scan(site.url)

    assert await asyncio.to_thread(lambda: list(_spool(sources).iterdir())) == []


@pytest.mark.parametrize("options", [{"depth": 21}, {"depth": "2"}, {"max_pages": 0}, {"per_second": 0}, {"wat": 1},
                                     {"stay_below": 1}, {"depth": True}])  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    """With what would be right."""
    with pytest.raises(InvalidSourceError):
        WebOptions.of(options)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("HTTP://EXAMPLE.com:80", "http://example.com/"),
        ("https://example.com:443/a b#part", "https://example.com/a%20b"),
        ("https://user:pass@example.com/%7ea%2fb?q=%e4", "https://example.com/~a%2Fb?q=%E4"),
        ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
    ],
)
def test_a_page_has_one_address(url: str, normal: str) -> None:
    """However it is written."""
    assert normalise(url) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize("url", ["ftp://example.com/", "http:///a", "http://h:port/", "file:///etc/passwd", "a/b"])
def test_what_is_no_page_is_refused(url: str) -> None:
    """As a source with an error, as a link silently."""
    with pytest.raises(UnsupportedSourceError):
        normalise(url)
    assert find_link("", url) is None


def test_a_path_is_what_people_read() -> None:
    """Folders have a name for globs, queries belong to it."""
    assert path_of("https://example.com/") == "index.html"
    assert path_of("https://example.com/a%20b/?q=1") == "a b/index.html?q=1"


def _spool(sources: Sources) -> Path:
    return sources._spool  # noqa: SLF001 — the test's own helper


def _document(item: ScannedDocument) -> Document:
    return Document(
        id=uuid4(),
        collection_id=uuid4(),
        source_id=uuid4(),
        uri=item.uri,
        path=item.path,
        locator=item.locator,
        size=item.size,
        modified_ns=item.modified_ns,
        state=DocumentState.PROCESSING,
        etag=item.etag,
    )


async def test_a_name_is_resolved_once_and_never_again(
    site: Site, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was checked, whatever the name server says a moment later."""
    # an answer that is read to its end leaves the connection open for the page
    site.put("/robots.txt", "User-agent: *\nAllow: /\n")
    site.link("/", title="Start")
    port = int(site.url.rpartition(":")[2])
    asked: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        # 203.0.113.0/24 is nobody's
        address = "127.0.0.1" if len(asked) == 1 else "203.0.113.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    found = await sources.scan(f"http://site.test:{port}/", depth=0)

    assert list(found.codes) == ["index.html"]
    assert asked == ["site.test"]
    assert site.requests[-1].headers["host"] == f"site.test:{port}"


async def test_a_name_with_one_private_address_is_refused(
    site: Site, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its addresses would be tried first."""
    port = int(site.url.rpartition(":")[2])

    def resolve(*_: object, **__: object) -> list[Any]:
        addresses = ("93.184.215.14", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(AddressNotAllowedError):
        await sources.scan(f"http://site.test:{port}/", allow_private=False)

    assert site.requests == []


async def test_very_many_links_and_entries_stay_within_the_limits(site: Site, sources: Sources) -> None:
    """As many as are allowed, and nothing is called gone."""
    site.link("/", *(f"/page-{number}" for number in range(8000)))
    entries = "".join(f"<url><loc>{site.url}/{number}</loc><lastmod>1</lastmod></url>" for number in range(60_000))
    site.put("/sitemap.xml", f"<urlset>{entries}</urlset>")

    by_links = await sources.scan(site.url, max_pages=2, max_bytes=10_000_000)
    by_sitemap = await sources.scan(f"{site.url}/sitemap.xml", max_pages=40_000)

    assert (len(by_links.documents), by_links.unseen) == (1, [f"{site.url}/"])
    assert (len(by_sitemap.documents), by_sitemap.unseen) == (40_000, [f"{site.url}/"])
    assert by_sitemap.skipped == {"page_limit": 10_000}


async def test_a_sitemap_of_a_million_entries_is_read_to_its_limit(site: Site, sources: Sources) -> None:
    """Whether it is one file or lists twenty; nothing of the rest of the site is called gone."""
    lines = "\n".join(f"{site.url}/{number}" for number in range(1_000_000))
    site.put("/sitemap.txt.gz", gzip.compress(lines.encode(), compresslevel=1))
    parts = "".join(f"<sitemap><loc>{site.url}/part-{number}.txt</loc></sitemap>" for number in range(20))
    site.put("/sitemap.xml", f"<sitemapindex>{parts}</sitemapindex>")
    for number in range(20):
        entries = (f"{site.url}/{number}-{entry}" for entry in range(50_000))
        site.put(f"/part-{number}.txt", "\n".join(entries))

    for number in range(5):
        site.put(f"/{number}", "text")
        site.put(f"/0-{number}", "text")

    whole = await sources.scan(f"{site.url}/sitemap.txt.gz", max_pages=3)
    in_parts = await sources.scan(f"{site.url}/sitemap.xml", max_pages=3)

    assert (len(whole.documents), whole.unseen) == (3, [f"{site.url}/"])
    assert (len(in_parts.documents), in_parts.unseen) == (3, [f"{site.url}/"])
    assert sum("part" in path for path in site.asked()) < 20

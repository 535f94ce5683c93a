"""Browsers: sessions, who may use them, and what the page and its headers allow."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect

from app.api.tries import TRIES_PER_ADDRESS, WINDOW_SECONDS, SignInTries
from app.api.web.page import POLICY, read_files
from app.domain.operations import OperationState
from app.domain.sessions import TooManyTriesError
from tests.api.conftest import Edge
from tests.api.doubles import KEY
from tests.api.test_http import assert_problem

HERE = {"Origin": "http://test"}
COLLECTION = {"name": "notes"}


@pytest.fixture
async def browser(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which keeps cookies."""
    transport = httpx.ASGITransport(app=edge.application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


async def sign_in(browser: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """Begin a session."""
    return await browser.post("/api/v1/session", json={"api_key": KEY}, headers={**HERE, **headers})


async def test_a_session_stands_for_its_key_until_somebody_signs_out(browser: httpx.AsyncClient, edge: Edge) -> None:
    """The cookie is enough to ask; after signing out it is worth nothing, and the browser forgets it."""
    begun = await sign_in(browser)
    told = await browser.get("/api/v1/session")
    listed = await browser.get("/api/v1/collections")
    ended = await browser.delete("/api/v1/session", headers=HERE)
    after = await browser.get("/api/v1/collections")

    assert (begun.status_code, told.status_code, listed.status_code, ended.status_code) == (201, 200, 200, 204)
    assert begun.json() == told.json()
    assert edge.sessions.sessions == {}
    assert not browser.cookies
    assert_problem(after, 401, "not_authenticated")


async def test_no_script_reads_the_cookie_and_no_other_site_sends_it(browser: httpx.AsyncClient) -> None:
    """It is http-only and strict, ends with the session, and goes over https only where the browser came over that."""
    plain = (await sign_in(browser)).headers["set-cookie"]
    secure = (await sign_in(browser, Origin="https://test")).headers["set-cookie"]

    assert re.fullmatch(
        r"vecloom_session=[\w-]+; expires=[^;]+; HttpOnly; Path=/; SameSite=strict", plain, re.IGNORECASE
    )
    assert re.search(r"; Secure$|; Secure;", secure)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://other"},
        {"Origin": "http://test:8080"},
        {"Origin": "null"},
        {"Origin": "http://test", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://test", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://[broken"},
    ],
)
async def test_no_other_site_changes_anything_by_a_session(
    browser: httpx.AsyncClient, edge: Edge, headers: dict[str, str]
) -> None:
    """A request by cookie says that this server's page asks, or it is refused; also to sign out."""
    await sign_in(browser)

    created = await browser.post("/api/v1/collections", json=COLLECTION, headers=headers)
    ended = await browser.delete("/api/v1/session", headers=headers)

    assert_problem(created, 403, "foreign_origin")
    assert_problem(ended, 403, "foreign_origin")
    assert not edge.operations.rows
    assert edge.sessions.sessions


@pytest.mark.parametrize(
    "headers",
    [
        HERE,
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://outside", "Sec-Fetch-Site": "same-origin"},  # a proxy has changed the host
    ],
)
async def test_the_page_itself_may(browser: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """What the browser says of the origin decides."""
    await sign_in(browser)

    created = await browser.post("/api/v1/collections", json=COLLECTION, headers=headers)

    assert created.status_code == 202


async def test_a_key_needs_no_origin_and_goes_before_the_cookie(browser: httpx.AsyncClient) -> None:
    """Programs stay as they are; whoever sends a wrong key is not saved by a cookie."""
    await sign_in(browser)

    right = await browser.post("/api/v1/collections", json=COLLECTION, headers={"X-API-Key": KEY})
    wrong = await browser.get("/api/v1/collections", headers={"Authorization": "Bearer wrong"})

    assert right.status_code == 202
    assert_problem(wrong, 401, "not_authenticated")


async def test_no_other_site_signs_somebody_in(browser: httpx.AsyncClient, edge: Edge) -> None:
    """Else somebody could search, and be watched, as another person."""
    refused = await sign_in(browser, Origin="http://other")

    assert_problem(refused, 403, "foreign_origin")
    assert "set-cookie" not in refused.headers
    assert edge.sessions.sessions == {}


async def test_a_code_signs_in_once(client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    """It is made with a key, never with a session, and not written where keys are written."""
    code = (await client.post("/api/v1/session/codes")).json()["code"]

    first = await browser.post("/api/v1/session", json={"code": code}, headers=HERE)
    made = await browser.post("/api/v1/session/codes", headers=HERE)
    second = await browser.post("/api/v1/session", json={"code": code}, headers=HERE)

    assert first.status_code == 201
    assert_problem(made, 401, "not_authenticated")
    assert_problem(second, 401, "sign_in_code_unknown")


async def test_signing_in_again_ends_the_session_before(browser: httpx.AsyncClient, edge: Edge) -> None:
    """A browser has one session."""
    await sign_in(browser)
    await sign_in(browser)

    assert len(edge.sessions.sessions) == 1


async def test_what_is_wrong_with_a_try_is_not_said_back(browser: httpx.AsyncClient) -> None:
    """A key in the wrong place does not come back in an answer."""
    both = await browser.post("/api/v1/session", json={"api_key": "secret-1", "code": "secret-2"}, headers=HERE)
    long = await browser.post("/api/v1/session", json={"api_key": "secret-3" * 100}, headers=HERE)

    assert (both.status_code, long.status_code) == (422, 422)
    assert "secret-" not in both.text + long.text


async def test_tries_are_limited(browser: httpx.AsyncClient) -> None:
    """After ten that failed even the right key has to wait."""
    failed = [await browser.post("/api/v1/session", json={"api_key": "wrong"}) for _ in range(TRIES_PER_ADDRESS)]
    refused = await sign_in(browser)

    assert {answer.status_code for answer in failed} == {401}
    assert_problem(refused, 429, "too_many_tries")
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_SECONDS


def test_tries_are_counted_by_address_and_forgotten_after_a_minute() -> None:
    """Who signs in is forgiven; another address is not held up; the count ends by itself."""
    now = [0.0]
    tries = SignInTries(clock=lambda: now[0])
    for _ in range(TRIES_PER_ADDRESS):
        tries.begin("a")
    with pytest.raises(TooManyTriesError):
        tries.begin("a")
    tries.begin("b")
    tries.forgive("a")
    tries.begin("a")
    for _ in range(TRIES_PER_ADDRESS - 1):
        tries.begin("a")
    now[0] = WINDOW_SECONDS

    tries.begin("a")


async def test_a_socket_opens_by_cookie_for_the_page_alone(browser: httpx.AsyncClient, edge: Edge, port: int) -> None:
    """The page of another site, which browsers let open any socket, is told that it may not."""
    await sign_in(browser)
    cookie = {"Cookie": f"vecloom_session={browser.cookies['vecloom_session']}"}
    operation = edge.add_operation(OperationState.COMPLETED)
    url = f"ws://127.0.0.1:{port}/api/v1/ws/operations/{operation.id}"

    foreign = [f"http://127.0.0.1:{port + 1}", "http://evil.example", "null"]
    ended = [await read_end(url, {**cookie, "Origin": origin}) for origin in foreign]
    without = await read_end(url, cookie)
    ours = await read_end(url, {**cookie, "Origin": f"http://127.0.0.1:{port}"})

    assert {*ended, without} == {(4403, "foreign_origin")}
    assert ours == (1000, "")


async def read_end(url: str, headers: dict[str, str]) -> tuple[int | None, str | None]:
    """Code and reason of a socket's end."""
    async with connect(url, additional_headers=headers) as connection:
        await connection.wait_closed()
        return connection.close_code, connection.close_reason


async def test_the_page_runs_its_own_scripts_and_nothing_else(browser: httpx.AsyncClient) -> None:
    """No script in the page, none from elsewhere, no frame around it, and no text that becomes HTML."""
    page = await browser.get("/")
    names = set(re.findall(r'(?:src|href)="/page/([^"]+)"', page.text))

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == POLICY
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "trusted-types 'none'"):
        assert rule in POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|<style", page.text)
    assert names <= set(read_files())
    for name in read_files():
        text = read_files()[name].content.decode()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://(?!www\.w3)", text
        ), name


async def test_files_of_the_page_are_sent_when_they_have_changed(browser: httpx.AsyncClient) -> None:
    """A browser asks each time, and is told that it has them."""
    first = await browser.get("/page/main.js")
    again = await browser.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "%2e%2e/page.py", "page.py"])
async def test_nothing_else_of_the_package_is_served(browser: httpx.AsyncClient, name: str) -> None:
    """Only the files of the page have an address."""
    assert (await browser.get(f"/page/{name}")).status_code == 404


async def test_no_answer_is_guessed_at_or_framed(client: httpx.AsyncClient) -> None:
    """Answers hold texts of strangers, and browsers open any address."""
    for path in ("/api/v1/collections", "/api/v1/nowhere", "/health/live", "/docs"):
        answer = await client.get(path)

        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"

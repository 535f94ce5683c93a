"""Browser sessions as the database keeps them."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import text

from app.bootstrap import Parts, open_api
from app.db.sessions import MOST_CODES, MOST_SESSIONS
from app.domain.errors import NotAuthenticatedError
from app.domain.sessions import SignInCodeUnknownError
from app.operations.collections import IdentityService
from app.operations.sessions import SessionService
from tests.harness import Api

NAME = "browser"


@pytest.fixture
def sessions(parts: Parts) -> SessionService:
    """Sessions of an hour."""
    return SessionService(parts.database, lifetime_seconds=3600)


@pytest.fixture
async def key(parts: Parts) -> str:
    """A valid key."""
    return await IdentityService(parts.database).issue_key("someone", name=NAME)


@pytest.fixture
async def browser(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, on the real application."""
    async with open_api(parts) as application:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers={"Origin": "http://test"}
        ) as it:
            yield it


async def run(parts: Parts, sql: str) -> list[tuple[object, ...]]:
    """Run one statement."""
    async with parts.database.begin() as connection:
        found = await connection.execute(text(sql))
        return [tuple(row) for row in found] if found.returns_rows else []


async def test_only_hashes_are_stored(parts: Parts, sessions: SessionService, key: str) -> None:
    """Whoever reads the database can neither sign in nor use a session."""
    session, token = await sessions.begin(key)
    code = (await sessions.issue_code(session.caller.key_id)).code

    rows = await run(parts, "SELECT s::text FROM browser_sessions s UNION ALL SELECT c::text FROM sign_in_codes c")

    assert len(rows) == 2
    for secret in (token, code, key):
        assert not any(secret in str(row) or secret.encode().hex() in str(row) for row in rows)
    assert secret not in repr(session)


async def test_a_session_is_its_key_s(sessions: SessionService, parts: Parts, key: str) -> None:
    """It has the same user and scopes, and ends when its time is over."""
    session, token = await sessions.begin(key)
    found = await sessions.get(token)
    await run(parts, "UPDATE browser_sessions SET expires_at = now() - interval '1 second'")

    assert found == session
    assert found.caller == await IdentityService(parts.database).authenticate(key)
    with pytest.raises(NotAuthenticatedError):
        await sessions.get(token)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE api_keys SET expires_at = now() - interval '1 second'",
        "DELETE FROM api_keys",
    ],
)
async def test_with_its_key_a_session_ends(sessions: SessionService, parts: Parts, key: str, sql: str) -> None:
    """However the key ends; a code that was made with it is worth nothing either."""
    session, token = await sessions.begin(key)
    code = (await sessions.issue_code(session.caller.key_id)).code

    await run(parts, sql)

    with pytest.raises(NotAuthenticatedError):
        await sessions.get(token)
    with pytest.raises(SignInCodeUnknownError):
        await sessions.begin_by_code(code)


async def test_a_key_that_is_valid_again_brings_no_session_back(sessions: SessionService, parts: Parts) -> None:
    """What was begun before it was revoked stays ended."""
    identity = IdentityService(parts.database)
    chosen, other = "a" * 40, "b" * 40
    await identity.accept_key("someone", chosen, name=NAME)
    session, token = await sessions.begin(chosen)
    code = (await sessions.issue_code(session.caller.key_id)).code

    await identity.accept_key("someone", other, name=NAME)
    await identity.accept_key("someone", chosen, name=NAME)

    with pytest.raises(NotAuthenticatedError):
        await sessions.get(token)
    with pytest.raises(SignInCodeUnknownError):
        await sessions.begin_by_code(code)


async def test_of_two_that_use_a_code_one_gets_in(sessions: SessionService, key: str) -> None:
    """At the same moment too."""
    session, _ = await sessions.begin(key)
    code = (await sessions.issue_code(session.caller.key_id)).code

    async def use() -> bool:
        try:
            await sessions.begin_by_code(code)
        except SignInCodeUnknownError:
            return False
        return True

    async with asyncio.TaskGroup() as group:
        uses = [group.create_task(use()) for _ in range(5)]

    assert sorted(use.result() for use in uses) == [False, False, False, False, True]


async def test_old_codes_and_sessions_make_room(sessions: SessionService, parts: Parts, key: str) -> None:
    """A key has so many of each, and those that are over are dropped."""
    _, first = await sessions.begin(key)
    for _ in range(MOST_SESSIONS):
        session, last = await sessions.begin(key)
    codes = [(await sessions.issue_code(session.caller.key_id)).code for _ in range(MOST_CODES + 1)]
    counts = await run(parts, "SELECT (SELECT count(*) FROM browser_sessions), (SELECT count(*) FROM sign_in_codes)")
    await run(parts, "UPDATE browser_sessions SET expires_at = now() - interval '1 second'")
    await sessions.begin(key)

    assert counts == [(MOST_SESSIONS, MOST_CODES)]
    assert last != first
    with pytest.raises(SignInCodeUnknownError):
        await sessions.begin_by_code(codes[0])
    assert await run(parts, "SELECT count(*) FROM browser_sessions") == [(1,)]


async def test_signing_in_and_out_is_written_down(api: Api, browser: httpx.AsyncClient, parts: Parts) -> None:
    """With the user and the key that the session is of."""
    code = (await api.client.post("/api/v1/session/codes")).json()["code"]
    begun = await browser.post("/api/v1/session", json={"code": code})
    await browser.delete("/api/v1/session")

    entries = (await api.client.get("/api/v1/audit")).json()["entries"]

    assert begun.status_code == 201
    assert [entry["action"] for entry in entries[:2]] == ["session.ended", "session.begun"]
    assert {entry["actor"]["id"] for entry in entries[:2]} == {str(api.user_id)}
    assert {entry["actor"]["kind"] for entry in entries[:2]} == {"user"}
    assert await run(parts, "SELECT count(*) FROM browser_sessions") == [(0,)]

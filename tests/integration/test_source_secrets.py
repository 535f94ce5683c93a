"""Secrets of sources: stored encrypted, used, never shown."""

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.domain.errors import SecretKeyMissingError, SecretKeyWrongError
from app.secrets_box import SecretBox, new_key
from app.settings import InvalidSettingError, Settings, read_settings
from tests.harness import Api, open_client
from tests.sources.site import Site

PASSWORD = "c0rrect horse"


@asynccontextmanager
async def serving(settings: Settings, *keys: str) -> AsyncIterator[Api]:
    """API and worker with these keys."""
    changed = settings.model_copy(
        update={"sources_allow_private": True, "secret_keys": tuple(SecretStr(key) for key in keys)}
    )
    async with (
        open_parts(changed, configured_endpoints(changed)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        yield api


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of one page."""
    with Site().running() as running:
        running.link("/", title="Whales", text="Whales are large mammals that live in the ocean.")
        yield running


async def stored(parts: Parts) -> list[Any]:
    """Everything that Postgres has of sources and operations."""
    async with parts.database.begin() as connection:
        rows = await connection.execute(text("SELECT row_to_json(s)::text AS whole FROM sources s"))
        more = await connection.execute(text("SELECT row_to_json(o)::text AS whole FROM operations o"))
        return [row.whole for row in (*rows, *more)]


def source_body(site: Site, **secrets: str) -> dict[str, Any]:
    """A source with a login."""
    return {"url": f"{site.url}/", "options": {"per_second": 1000}, "secrets": secrets}


async def test_a_login_is_used_and_never_shown(settings: Settings, site: Site) -> None:
    """In its URL or beside it: not in answers, rows, results or events, only in what the site gets."""
    url = site.url.replace("://", f"://reader:{PASSWORD.replace(' ', '%20')}@")
    async with serving(settings, new_key()) as api:
        body = {"name": "site", "sources": [{"url": url, "options": {"per_second": 1000}}]}
        created = await api.client.post("/api/v1/collections", json=body)
        ended = await api.wait(created.json()["operation"])
        listed = await api.client.get("/api/v1/collections/site/sources")
        events = await api.client.get(f"/api/v1/operations/{ended['operation_id']}/events")
        planned = await api.client.post("/api/v1/plans", json={"collection": "other", "source": {"url": url}})
        plan = await api.wait(planned.json())
        rows = await stored(api.parts)

    assert (ended["state"], plan["state"]) == ("completed", "completed"), (ended, plan)
    source = listed.json()["sources"][0]
    assert (source["url"], source["has_secrets"]) == (site.url, True)
    everything = "".join([created.text, str(ended), listed.text, events.text, planned.text, str(plan), *rows])
    assert "horse" not in everything
    assert "reader" not in everything
    sent = {request.headers.get("authorization") for request in site.requests}
    assert sent == {"Basic " + base64.b64encode(f"reader:{PASSWORD}".encode()).decode()}


async def test_secrets_are_changed_and_removed(settings: Settings, site: Site) -> None:
    """What is said of secrets replaces all of them; other changes leave them."""
    async with serving(settings, new_key()) as api:
        await api.client.post("/api/v1/collections", json={"name": "site"})
        added = await api.client.post("/api/v1/collections/site/sources", json=source_body(site, token="one"))
        place = f"/api/v1/collections/site/sources/{added.json()['id']}"
        globs = await api.client.patch(place, json={"exclude": ["drafts/"]})
        used = await api.client.post("/api/v1/collections/site/sources/test", json={"source_id": added.json()["id"]})
        removed = await api.client.patch(place, json={"secrets": {}})
        wrong = await api.client.patch(place, json={"secrets": {"pin": "1234"}})
        unknown = await api.client.patch(f"{place[:-12]}000000000000", json={"exclude": []})

    assert (globs.json()["has_secrets"], globs.json()["exclude"]) == (True, ["drafts/"])
    assert globs.json()["options"] == {"per_second": 1000}
    assert used.json()["documents"] == 1
    assert {request.headers.get("authorization") for request in site.requests} == {"Bearer one"}
    assert removed.json()["has_secrets"] is False
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_source")
    assert "1234" not in wrong.text
    assert (unknown.status_code, unknown.json()["code"]) == (404, "source_unknown")


async def test_keys_are_rotated(settings: Settings, site: Site) -> None:
    """All at once by request, or each when it is used; then the old key is not needed any more."""
    old, new = new_key(), new_key()
    async with serving(settings, old) as api:
        for name in ("used", "asked"):
            body = {"name": name, "sources": [source_body(site, token=name)]}
            await api.wait((await api.client.post("/api/v1/collections", json=body)).json()["operation"])
    async with serving(settings, new, old) as api:
        await api.wait(await api.append("used"))
        rotated = await api.client.post("/api/v1/sources/rotate-secrets")
        again = await api.client.post("/api/v1/sources/rotate-secrets")
    async with serving(settings, new) as api:
        site.forget_requests()
        ended = [await api.wait(await api.append(name)) for name in ("used", "asked")]

    assert (rotated.json(), again.json()) == ({"rotated": 1}, {"rotated": 0})
    assert [operation["state"] for operation in ended] == ["completed", "completed"]
    assert {request.headers.get("authorization") for request in site.requests} == {"Bearer used", "Bearer asked"}


async def test_a_missing_and_a_wrong_key_are_said(settings: Settings, site: Site) -> None:
    """Without a key nothing secret is stored; with another one nothing is read, and nothing is removed."""
    async with serving(settings) as api:
        body = {"name": "site", "sources": [source_body(site, token="one")]}
        refused = await api.client.post("/api/v1/collections", json=body)
    async with serving(settings, new_key()) as api:
        first = await api.wait((await api.client.post("/api/v1/collections", json=body)).json()["operation"])
    async with serving(settings, new_key()) as api:
        other = await api.wait(await api.append("site"))
        hits = await api.search("site", "mammals")
        rotated = await api.client.post("/api/v1/sources/rotate-secrets")

    assert (refused.status_code, refused.json()["code"]) == (500, "secret_key_missing")
    assert first["state"] == "completed"
    assert (other["state"], other["error_code"]) == ("failed", "secret_key_wrong")
    assert len(hits) == 1
    assert rotated.json()["code"] == "secret_key_wrong"


async def test_a_test_says_what_would_be_found_and_stores_nothing(settings: Settings, site: Site) -> None:
    """Names, errors, what is left out; or why it cannot be read at all."""
    site.link("/", "/a", "/broken", "/x.png")
    site.put("/a", "text")
    site.put("/broken", b"", status=403)
    async with serving(settings) as api:
        await api.client.post("/api/v1/collections", json={"name": "site"})
        place = "/api/v1/collections/site/sources/test"
        found = await api.client.post(place, json={"source": {"url": site.url, "options": {"per_second": 1000}}})
        missing = await api.client.post(place, json={"source": {"url": f"{site.url}/nothing"}})
        neither = await api.client.post(place, json={})
        listed = await api.client.get("/api/v1/collections/site/sources")
        documents = await api.documents("site")

    body = found.json()
    assert (body["kind"], body["is_complete"], body["documents"]) == ("web", True, 3)
    assert body["names"] == ["index.html", "a"]
    assert [(error["path"], error["error_code"]) for error in body["errors"]] == [("broken", "unreadable_file")]
    assert (body["failed_by_code"], body["skipped"]) == ({"unreadable_file": 1}, {"binary": 1})
    assert missing.json()["code"] == "source_not_found"
    assert neither.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert (listed.json()["sources"], documents) == ([], {})


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"url": "gopher://h/"}, "unsupported_source"),
        ({"url": "https://h/", "options": {"depth": 99}}, "invalid_source"),
        ({"url": "https://h/", "options": {"wat": 1}}, "invalid_source"),
        ({"url": "/srv/docs", "options": {"depth": 1}}, "invalid_source"),
        ({"url": "https://"}, "unsupported_source"),
        ({"url": "https://h/", "secrets": {"bad name": "x"}}, "invalid_request"),
    ],
)
async def test_a_source_that_cannot_be_is_refused_at_once(api: Api, source: dict[str, Any], code: str) -> None:
    """With a new collection and alone; the collection is not created then."""
    created = await api.client.post("/api/v1/collections", json={"name": "site", "sources": [source]})
    await api.client.post("/api/v1/collections", json={"name": "other"})
    added = await api.client.post("/api/v1/collections/other/sources", json=source)

    assert {created.json()["code"], added.json()["code"]} == {code}
    assert (await api.client.get("/api/v1/collections/site")).status_code == httpx.codes.NOT_FOUND


def test_a_box_needs_its_key() -> None:
    """Nothing is sealed without one; nothing is opened by another; the newest seals."""
    old, new = new_key(), new_key()
    sealed = SecretBox([old]).seal({"token": "s3cret"})

    assert sealed is not None
    assert b"s3cret" not in sealed
    assert SecretBox([new, old]).open(sealed) == {"token": "s3cret"}
    assert (SecretBox().seal({}), SecretBox().open(None), SecretBox([old]).renew(sealed)) == (None, {}, None)
    renewed = SecretBox([new, old]).renew(sealed)
    assert SecretBox([new]).open(renewed) == {"token": "s3cret"}
    with pytest.raises(SecretKeyMissingError):
        SecretBox().open(sealed)
    with pytest.raises(SecretKeyWrongError):
        SecretBox([new]).open(sealed)


def test_keys_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas between them; what is no key is refused without being shown."""
    keys = [new_key(), new_key()]
    monkeypatch.setenv("VECLOOM_SECRET_KEYS", ", ".join(keys))

    assert [key.get_secret_value() for key in Settings().secret_keys] == keys

    monkeypatch.setenv("VECLOOM_SECRET_KEYS", "my-password")
    with pytest.raises(InvalidSettingError) as refused:
        read_settings()
    assert "VECLOOM_SECRET_KEYS" in refused.value.message
    assert "my-password" not in refused.value.message

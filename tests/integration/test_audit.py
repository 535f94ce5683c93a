"""Every change is written down with who made it, in the transaction that makes it."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.bootstrap import Parts, configured_endpoints, open_api, open_parts
from app.db.audit import clean, record, trim_audit_log
from app.domain.audit import SCHEDULE, Subject, acting_as
from app.operations.collections import IdentityService
from app.settings import Settings
from tests.harness import Api


async def read(api: Api, **query: Any) -> list[dict[str, Any]]:
    """Entries, newest first."""
    answer = await api.client.get("/api/v1/audit", params=query)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def count(parts: Parts) -> int:
    """How many entries there are, whoever's they are."""
    async with parts.database.begin() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM audit_log")) or 0)


async def test_what_a_user_does_is_written_down(api: Api, folder: Path) -> None:
    """Creating, holding, cancelling and retrying leave one entry each, with user, key, address and request."""
    operation = await api.create("notes", folder, source={"include": ["**/*.md"]})
    await api.client.post("/api/v1/collections/notes/sources", json={"url": (folder / "guides").as_uri()})
    for path in ("collections/notes/pause", "collections/notes/resume"):
        await api.client.post(f"/api/v1/{path}")
    for action in ("pause", "resume", "cancel", "retry"):
        answer = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/{action}")
        assert answer.status_code == 202
    request = await api.client.post("/api/v1/collections/notes/pause", headers={"X-Request-Id": "asked-here"})

    entries = await read(api, collection="notes")

    assert [entry["action"] for entry in reversed(entries)] == [
        "collection.created",
        "source.added",
        "operation.created",
        "source.added",
        "collection.paused",
        "collection.resumed",
        "operation.paused",
        "operation.resumed",
        "operation.finished",
        "operation.cancelled",
        "operation.retried",
        "collection.paused",
    ]
    assert request.headers["x-request-id"] == entries[0]["actor"]["request_id"] == "asked-here"
    assert {entry["actor"]["kind"] for entry in entries} == {"user"}
    assert {UUID(entry["actor"]["id"]) for entry in entries} == {api.user_id}
    assert entries[0]["actor"]["name"]
    assert entries[0]["actor"]["key_name"]
    assert entries[0]["actor"]["key_id"]
    assert entries[0]["actor"]["address"] == "127.0.0.1"
    assert {entry["collection"] for entry in entries} == {"notes"}
    created = next(entry for entry in entries if entry["action"] == "collection.created")
    assert created["after"]["model"] == "wordllama"
    source = [entry for entry in entries if entry["action"] == "source.added"][-1]
    assert source["subject"]["kind"] == "source"
    assert source["after"]["include"] == ["**/*.md"]


async def test_keys_are_written_down_without_the_key(api: Api, parts: Parts) -> None:
    """Issuing a key again revokes the one before; accepting the same key twice changes nothing."""
    identity = IdentityService(parts.database)
    key = await identity.issue_key("other", name="phone")
    await identity.issue_key("other", name="phone")
    chosen = "a-key-that-the-operator-has-chosen-by-hand"
    await identity.accept_key("other", chosen, name="configured")
    await identity.accept_key("other", chosen, name="configured")

    async with parts.database.begin() as connection:
        rows = (
            await connection.execute(
                text(
                    "SELECT l.* FROM audit_log l JOIN users u ON u.id = l.owner_id WHERE u.name = 'other' ORDER BY l.id"
                )
            )
        ).mappings()
        entries = [dict(row) for row in rows]

    assert [(entry["action"], entry["subject_name"]) for entry in entries] == [
        ("key.issued", "phone"),
        ("key.revoked", "phone"),
        ("key.issued", "phone"),
        ("key.issued", "configured"),
    ]
    assert entries[0]["subject_id"] == entries[1]["subject_id"] != entries[2]["subject_id"]
    assert {entry["actor_kind"] for entry in entries} == {"system"}
    assert key not in str(entries)
    assert chosen not in str(entries)


async def test_a_change_that_is_rolled_back_leaves_no_entry(api: Api, parts: Parts, folder: Path) -> None:
    """A collection whose second source is refused is not there, nor is anything about it."""
    before = await count(parts)
    body = {"name": "twice", "sources": [{"url": folder.as_uri()}] * 2}

    refused = await api.client.post("/api/v1/collections", json=body)

    assert (refused.status_code, refused.json()["code"]) == (409, "source_exists")
    assert await count(parts) == before
    assert await read(api, collection="twice") == []


async def test_a_change_that_cannot_be_written_down_is_not_made(api: Api, parts: Parts, folder: Path) -> None:
    """Without its entry there is no collection, and no operation ends."""
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_log ADD CHECK (action LIKE 'key.%') NOT VALID"))

    created = await api.client.post("/api/v1/collections", json={"name": "more"})
    cancelled = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")

    assert (created.status_code, cancelled.status_code) == (500, 500)
    assert (await api.client.get("/api/v1/collections/more")).status_code == 404
    assert (await api.get(operation))["state"] == "pending"
    with pytest.raises(DBAPIError):
        async with parts.database.begin() as connection:
            await connection.execute(text("UPDATE operations SET state = 'completed'"))


async def test_the_same_request_again_is_one_entry(api: Api, folder: Path) -> None:
    """What an idempotency key gives back was created once."""
    await api.create("notes", folder)
    sources = (await api.client.get("/api/v1/collections/notes/sources")).json()["sources"]
    body = {"kind": "APPEND", "config": {"source_id": sources[0]["id"]}}
    for _ in range(2):
        await api.client.post("/api/v1/collections/notes/operations", json=body, headers={"Idempotency-Key": "once"})

    entries = await read(api, action="operation.created")

    assert [entry["operation_kind"] for entry in entries] == ["APPEND", "INDEX"]
    assert entries[0]["after"]["source_id"] == sources[0]["id"]


async def test_entries_outlive_what_they_tell_of(api: Api, parts: Parts, folder: Path) -> None:
    """Of a collection that is gone everything can still be read, by its name and by its id."""
    operation = await api.create("notes", folder)
    async with parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM operations"))
        await connection.execute(text("DELETE FROM collections"))

    by_name = await read(api, collection="notes")
    by_id = await read(api, collection=operation["collection_id"])
    of_operation = await read(api, operation=operation["operation_id"])

    assert [entry["action"] for entry in by_name] == ["operation.created", "source.added", "collection.created"]
    assert by_id == by_name
    assert [entry["action"] for entry in of_operation] == ["operation.created"]
    assert (await api.client.get("/api/v1/collections/notes")).status_code == 404


async def test_entries_come_in_pages_and_by_time(api: Api, folder: Path) -> None:
    """All pages together are the whole, newest first; a wrong cursor is refused."""
    for name in ("a", "b", "c"):
        await api.create(name, folder)
    whole = await read(api)

    pages: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 4}
    while True:
        answer = (await api.client.get("/api/v1/audit", params=query)).json()
        pages += answer["entries"]
        if answer["next"] is None:
            break
        query["after"] = answer["next"]
    middle = next(entry["at"] for entry in whole if entry["collection"] == "b")
    wrong = await api.client.get("/api/v1/audit", params={"after": "x"})
    unknown = await api.client.get("/api/v1/audit", params={"colection": "a"})

    assert pages == whole
    assert {entry["collection"] for entry in await read(api, since=middle) if entry["collection"]} == {"b", "c"}
    assert {entry["collection"] for entry in await read(api, until=middle) if entry["collection"]} == {"a"}
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input")
    assert unknown.status_code == 422


async def test_nobody_reads_what_is_somebody_elses(api: Api, parts: Parts, folder: Path) -> None:
    """Another user sees their own key and nothing of this one's."""
    operation = await api.create("notes", folder)
    key = await IdentityService(parts.database).issue_key("other", name="test")

    answer = await api.client.get("/api/v1/audit", headers={"Authorization": f"Bearer {key}"})
    asked = await api.client.get(
        "/api/v1/audit",
        params={"operation": operation["operation_id"]},
        headers={"Authorization": f"Bearer {key}"},
    )

    assert [entry["action"] for entry in answer.json()["entries"]] == ["key.issued"]
    assert asked.json()["entries"] == []


async def test_a_worker_ends_what_it_ran(api: Api, folder: Path, worker: None) -> None:
    """The end of an operation names the worker and the state it ended in."""
    operation = await api.create("notes", folder)
    ended = await api.wait(operation)

    [finished] = await read(api, action="operation.finished")

    assert ended["state"] == "completed"
    assert (finished["actor"]["kind"], finished["actor"]["name"]) == ("worker", ended["worker"])
    assert finished["before"] == {"state": "running"}
    assert finished["after"] == {"state": "completed", "documents_failed": 0}
    assert finished["operation_id"] == operation["operation_id"]


async def test_what_the_schedule_does_is_no_persons(parts: Parts) -> None:
    """The actor is that of the block around the change, and the one before after it."""
    owner, subject = uuid4(), Subject(kind="collection", id=uuid4(), name="c")
    async with parts.database.begin() as connection:
        with acting_as(SCHEDULE):
            await record(connection, "sync.started", subject, owner_id=owner)
        await record(connection, "sync.started", subject, owner_id=owner)
        kinds = (await connection.execute(text("SELECT actor_kind FROM audit_log ORDER BY id"))).scalars().all()

    assert kinds[-2:] == ["schedule", "system"]


def test_secrets_and_people_are_taken_out_of_settings() -> None:
    """Fields with names of secrets are replaced, texts are sanitised, lists and texts are bounded."""
    given = {
        "password": "geheim",
        "nested": {"api_key": "k", "url": "https://bob:geheim@host/x?token=geheim", "size": 3},
        "path": "/home/bob/notes",
        "many": ["x"] * 1000,
    }

    cleaned = clean(given)

    assert "geheim" not in str(cleaned)
    assert "bob" not in str(cleaned)
    assert cleaned["nested"]["size"] == 3
    assert len(cleaned["many"]) < 100


async def test_old_entries_are_dropped_where_that_is_wanted(api: Api, parts: Parts, folder: Path) -> None:
    """0 days keep everything; else only what is younger is left."""
    await api.create("old", folder)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE audit_log SET at = now() - interval '40 days'"))
    await api.create("new", folder)

    kept = await trim_audit_log(parts.database, keep_days=0)
    dropped = await trim_audit_log(parts.database, keep_days=30)

    assert kept == 0
    assert dropped >= 3
    assert {entry["collection"] for entry in await read(api)} == {"new"}


async def test_a_trusted_proxy_says_where_a_request_comes_from(settings: Settings, folder: Path) -> None:
    """Its header counts where its address is a setting."""
    changed = settings.model_copy(update={"trusted_proxies": ("127.0.0.0/8",)})
    async with open_parts(changed, configured_endpoints(changed)) as parts, open_api(parts) as application:
        key = await IdentityService(parts.database).issue_key("local", name="test")
        headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            await client.post("/api/v1/collections", json={"name": "far"})
            entries = (await client.get("/api/v1/audit", params={"collection": "far"})).json()["entries"]

    assert {entry["actor"]["address"] for entry in entries} == {"192.0.2.7"}

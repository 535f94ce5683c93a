"""Webhooks from their creation to the receiver, over real sockets."""

import signal
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from app.bootstrap import Parts, configured_endpoints, open_parts, running_worker
from app.db.deliveries import trim_deliveries
from app.operations.collections import IdentityService
from app.operations.deliveries import MOST_OF_ONE, retry_delay
from app.settings import Settings
from tests.harness import Api, WorkerProcess, open_client, wait_until
from tests.receiver import Answer, FakeReceiver


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with receivers on this machine and short waits."""
    changes = {
        "webhook_private_addresses": "allow",
        "webhook_retry_delay": 0.05,
        "webhook_timeout": 3,
        "webhook_max_attempts": 5,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
async def receiver() -> AsyncIterator[FakeReceiver]:
    """A receiver that takes everything."""
    async with FakeReceiver().running() as running:
        yield running


async def add(api: Api, url: str, **options: Any) -> tuple[str, str]:
    """A webhook's id and secret."""
    answer = await api.client.post("/api/v1/webhooks", json={"url": url, **options})
    assert answer.status_code == 201, answer.text
    return answer.json()["webhook"]["id"], answer.json()["secret"]


async def deliveries(api: Api, webhook_id: str) -> list[dict[str, Any]]:
    """Of a webhook, newest first."""
    answer = await api.client.get(f"/api/v1/webhooks/{webhook_id}/deliveries")
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def read(api: Api, webhook_id: str) -> dict[str, Any]:
    """A webhook as it is now."""
    webhook: dict[str, Any] = (await api.client.get(f"/api/v1/webhooks/{webhook_id}")).json()
    return webhook


async def wait_for(api: Api, webhook_id: str, state: str, *, count: int = 1) -> list[dict[str, Any]]:
    """The deliveries, when so many of them are in a state."""

    async def reached() -> list[dict[str, Any]] | None:
        found = await deliveries(api, webhook_id)
        return found if sum(delivery["state"] == state for delivery in found) >= count else None

    reached_deliveries: list[dict[str, Any]] = await wait_until(reached)
    return reached_deliveries


async def cancel_one(api: Api, folder: Path, name: str) -> dict[str, Any]:
    """An operation that ends at once, without any worker."""
    operation = await api.create(name, folder, run_after="2100-01-01T00:00:00Z")
    answer = await api.client.post(f"/api/v1/operations/{operation['operation_id']}/cancel")
    assert answer.json()["state"] == "cancelled"
    return operation


async def test_the_end_of_an_operation_is_told_and_signed(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """One message with the final state, signed under the secret that was shown once, and a log of it."""
    webhook_id, secret = await add(api, receiver.url)
    operation = await api.create("notes", folder)
    ended = await api.wait(operation)

    [delivery] = await wait_for(api, webhook_id, "delivered")

    [received] = receiver.received
    message = orjson.loads(received.body)
    assert received.is_signed_with(secret)
    assert received.headers["webhook-id"] == delivery["id"]
    assert received.headers["content-type"] == "application/json"
    assert message == delivery["payload"]
    assert message["type"] == "operation.completed"
    assert message["data"]["operation_id"] == operation["operation_id"]
    assert message["data"]["collection"] == "notes"
    assert message["data"]["result"] == ended["result"]
    assert datetime.fromisoformat(message["data"]["finished_at"]) == datetime.fromisoformat(message["timestamp"])
    assert [(attempt["status"], attempt["error_code"]) for attempt in delivery["attempts"]] == [(204, None)]


async def test_a_failing_receiver_is_tried_again_with_the_same_id(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """After errors, a broken connection and a redirect it has got the message, and each attempt is in the log."""
    metadata = "http://169.254.169.254/latest/meta-data/"
    receiver.answers.extend(
        [
            Answer(status=500),
            Answer(closes=True),
            Answer(status=302, headers={"Location": metadata}),
            Answer(status=429),
        ]
    )
    webhook_id, secret = await add(api, receiver.url)
    await cancel_one(api, folder, "notes")

    [delivery] = await wait_for(api, webhook_id, "delivered")

    assert [(attempt["status"], attempt["error_code"]) for attempt in delivery["attempts"]] == [
        (500, "webhook_rejected"),
        (None, "webhook_unreachable"),
        (302, "webhook_redirected"),
        (429, "webhook_rejected"),
        (204, None),
    ]
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2, 3, 4, 5]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert len({received.body for received in receiver.received}) == 1
    assert all(received.is_signed_with(secret) for received in receiver.received)
    assert (await read(api, webhook_id))["failing_since"] is None


async def test_after_the_last_attempt_it_is_left_to_its_owner(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """Sent again by hand it has the same id and gets all its attempts again."""
    receiver.answers.extend([Answer(status=500)] * 6)
    webhook_id, _ = await add(api, receiver.url)
    await cancel_one(api, folder, "notes")
    [failed] = await wait_for(api, webhook_id, "failed")
    failing = (await read(api, webhook_id))["failing_since"]

    path = f"/api/v1/webhooks/{webhook_id}/deliveries/{failed['id']}"
    again = await api.client.post(f"{path}/redeliver")
    [delivered] = await wait_for(api, webhook_id, "delivered")

    assert len(failed["attempts"]) == 5
    assert failing is not None
    assert again.status_code == 202
    assert [attempt["status"] for attempt in delivered["attempts"]] == [500] * 6 + [204]
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert (await api.client.get(path)).json() == delivered


async def test_410_disables_a_webhook_until_it_is_enabled(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """It is told nothing more, the audit log says why, and nothing can be sent to it."""
    receiver.answers.append(Answer(status=410))
    webhook_id, _ = await add(api, receiver.url)
    await cancel_one(api, folder, "first")
    await wait_for(api, webhook_id, "failed")
    await cancel_one(api, folder, "second")

    disabled = await read(api, webhook_id)
    refused = await api.client.post(f"/api/v1/webhooks/{webhook_id}/test")
    entries = (await api.client.get("/api/v1/audit", params={"action": "webhook.disabled"})).json()["entries"]
    told = len(await deliveries(api, webhook_id))
    enabled = await api.client.patch(f"/api/v1/webhooks/{webhook_id}", json={"enabled": True})
    await cancel_one(api, folder, "third")
    [delivered, _] = await wait_for(api, webhook_id, "delivered")

    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "webhook_gone")
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_disabled")
    assert [(entry["actor"]["kind"], entry["after"]) for entry in entries] == [("worker", {"reason": "webhook_gone"})]
    assert told == 1
    assert enabled.json()["webhook"]["enabled"] is True
    assert delivered["payload"]["data"]["collection"] == "third"


async def test_a_webhook_that_fails_for_days_is_disabled(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """With a reason, and what was still to be told is given up; one that fails since today is not."""
    receiver.answers.extend([Answer(status=500)] * 100)
    webhook_id, _ = await add(api, receiver.url)
    await cancel_one(api, folder, "first")
    await wait_for(api, webhook_id, "failed")
    before = await read(api, webhook_id)
    async with api.parts.database.begin() as connection:
        await connection.execute(text("UPDATE webhooks SET failing_since = now() - interval '6 days'"))
    await cancel_one(api, folder, "second")

    found = await wait_for(api, webhook_id, "failed", count=2)

    after = await read(api, webhook_id)
    assert before["enabled"] is True
    assert (after["enabled"], after["disabled_reason"]) == (False, "webhook_failing")
    assert [len(delivery["attempts"]) for delivery in found] == [1, 5]


async def test_a_slow_receiver_holds_up_nobody_else(
    api: Api, folder: Path, receiver: FakeReceiver, worker: None
) -> None:
    """While one has not answered any of many messages, all of another's arrive; it is not sent more at once."""
    async with FakeReceiver().running() as slow:
        slow.free.clear()
        slow_id, _ = await add(api, slow.url)
        quick_id, _ = await add(api, receiver.url)
        names = [f"c{number}" for number in range(MOST_OF_ONE * 2)]
        for name in names:
            await cancel_one(api, folder, name)

        await wait_for(api, quick_id, "delivered", count=len(names))
        open_at_once = slow.open
        slow.free.set()
        await wait_for(api, slow_id, "delivered", count=len(names))

    assert 0 < open_at_once <= MOST_OF_ONE


async def test_a_receiver_that_is_too_slow_has_not_got_it(
    settings: Settings, folder: Path, receiver: FakeReceiver
) -> None:
    """An answer after the timeout is none: it is sent again."""
    hasty = settings.model_copy(update={"webhook_timeout": 0.2})
    async with open_parts(hasty, configured_endpoints(hasty)) as parts, open_client(parts) as api:
        receiver.free.clear()
        webhook_id, _ = await add(api, receiver.url)
        await cancel_one(api, folder, "notes")
        async with running_worker(parts):

            async def has_failed() -> bool:
                return len((await deliveries(api, webhook_id))[0]["attempts"]) > 0

            await wait_until(has_failed)
            receiver.free.set()
            [delivery] = await wait_for(api, webhook_id, "delivered")

    assert delivery["attempts"][0]["error_code"] == "webhook_timeout"
    assert delivery["attempts"][-1]["status"] == 204


async def test_what_ended_before_any_worker_lived_is_told_by_the_next_one(
    api: Api, parts: Parts, folder: Path, receiver: FakeReceiver
) -> None:
    """The end is committed, whoever committed it is gone, and nobody was told to send."""
    webhook_id, _ = await add(api, receiver.url)
    operation = await cancel_one(api, folder, "notes")
    [pending] = await deliveries(api, webhook_id)

    async with running_worker(parts):
        await wait_for(api, webhook_id, "delivered")

    assert pending["state"] == "pending"
    assert [orjson.loads(received.body)["data"]["operation_id"] for received in receiver.received] == [
        operation["operation_id"]
    ]


async def test_what_a_killed_worker_was_sending_is_sent_by_another(
    api: Api, parts: Parts, folder: Path, receiver: FakeReceiver, worker_process: WorkerProcess
) -> None:
    """``kill -9`` in the middle of a delivery: its claim ends, and the message comes again with the same id."""
    receiver.free.clear()
    webhook_id, _ = await add(api, receiver.url)
    await cancel_one(api, folder, "notes")
    worker_process.start()

    async def is_sending() -> bool:
        return receiver.open == 1

    await wait_until(is_sending)
    worker_process.end(signal.SIGKILL)
    receiver.free.set()
    [claimed] = await deliveries(api, webhook_id)
    async with running_worker(parts):
        [delivered] = await wait_for(api, webhook_id, "delivered")

    assert claimed["state"] == "pending"
    assert len(receiver.received) == 2
    assert len({received.headers["webhook-id"] for received in receiver.received}) == 1
    assert [attempt["number"] for attempt in delivered["attempts"]] == [2]


async def test_what_a_stopping_worker_was_sending_is_given_back_at_once(
    api: Api, parts: Parts, folder: Path, receiver: FakeReceiver
) -> None:
    """The next worker need not wait for the claim to end."""
    receiver.free.clear()
    webhook_id, _ = await add(api, receiver.url)
    await cancel_one(api, folder, "notes")

    async def is_sending() -> bool:
        return receiver.open == 1

    async with running_worker(parts):
        await wait_until(is_sending)
    async with parts.database.begin() as connection:
        row = (await connection.execute(text("SELECT state, claim, due_at <= now() FROM webhook_deliveries"))).one()
    receiver.free.set()
    async with running_worker(parts):
        await wait_for(api, webhook_id, "delivered")

    assert tuple(row) == ("pending", None, True)


async def test_a_test_message_is_tried_once_and_says_nothing_about_the_webhook(
    api: Api, receiver: FakeReceiver, worker: None
) -> None:
    """A failed test is a failed delivery, no failing webhook."""
    receiver.answers.append(Answer(status=500))
    webhook_id, secret = await add(api, receiver.url)

    for state in ("failed", "delivered"):
        sent = await api.client.post(f"/api/v1/webhooks/{webhook_id}/test")
        await wait_for(api, webhook_id, state)
        assert sent.status_code == 202

    assert [received.type for received in receiver.received] == ["webhook.test"] * 2
    assert receiver.received[0].is_signed_with(secret)
    assert (await read(api, webhook_id))["failing_since"] is None


async def test_a_new_secret_signs_beside_the_old_one_for_a_day(
    api: Api, parts: Parts, receiver: FakeReceiver, worker: None
) -> None:
    """Who verifies may be changed at leisure; neither secret stands in the database."""
    webhook_id, old = await add(api, receiver.url)
    rotated = await api.client.patch(f"/api/v1/webhooks/{webhook_id}", json={"rotate_secret": True})
    new = rotated.json()["secret"]

    await api.client.post(f"/api/v1/webhooks/{webhook_id}/test")
    await wait_for(api, webhook_id, "delivered")
    async with parts.database.begin() as connection:
        kept = str((await connection.execute(text("SELECT * FROM webhooks, audit_log"))).all())
        await connection.execute(text("UPDATE webhooks SET previous_until = now()"))
    await api.client.post(f"/api/v1/webhooks/{webhook_id}/test")
    await wait_for(api, webhook_id, "delivered", count=2)

    first, second = receiver.received
    assert first.is_signed_with(old)
    assert first.is_signed_with(new)
    assert second.is_signed_with(new)
    assert not second.is_signed_with(old)
    assert old.removeprefix("whsec_") not in kept
    assert new.removeprefix("whsec_") not in kept
    assert "secret" not in (await read(api, webhook_id))


async def test_webhooks_are_changed_and_removed_and_each_change_is_written_down(
    api: Api, folder: Path, receiver: FakeReceiver
) -> None:
    """The audit log names the host alone, for a path may be a secret."""
    await api.create("notes", folder)
    webhook_id, _ = await add(api, f"{receiver.url}/geheim", events=["failed", "failed"], collection="notes")
    path = f"/api/v1/webhooks/{webhook_id}"

    created = await read(api, webhook_id)
    changed = await api.client.patch(path, json={"events": ["completed"], "collection": None})
    disabled = await api.client.patch(path, json={"enabled": False})
    nothing = await api.client.patch(path, json={})
    listed = (await api.client.get("/api/v1/webhooks")).json()["webhooks"]
    removed = await api.client.delete(path)
    gone = await api.client.get(path)
    entries = (await api.client.get("/api/v1/audit")).json()["entries"]

    assert (created["events"], created["collection"]) == (["failed"], "notes")
    assert (changed.json()["webhook"]["events"], changed.json()["webhook"]["collection"]) == (["completed"], None)
    assert changed.json()["secret"] is None
    assert disabled.json()["webhook"]["disabled_reason"] == "by_owner"
    assert (nothing.status_code, nothing.json()["code"]) == (422, "invalid_request")
    assert [webhook["id"] for webhook in listed] == [webhook_id]
    assert removed.status_code == 204
    assert (gone.status_code, gone.json()["code"]) == (404, "webhook_not_found")
    told = [entry for entry in entries if entry["subject"]["kind"] == "webhook"]
    actions = ["webhook.deleted", "webhook.changed", "webhook.changed", "webhook.created"]
    assert [entry["action"] for entry in told] == actions
    assert told[2]["before"]["collection"] == "notes"
    assert told[2]["after"]["collection"] is None
    assert "geheim" not in str(told)


async def test_nobody_sees_or_uses_somebody_elses_webhook(
    api: Api, parts: Parts, folder: Path, receiver: FakeReceiver
) -> None:
    """For another user neither it nor its deliveries exist, nor can they name a collection of others."""
    await api.create("notes", folder)
    webhook_id, _ = await add(api, receiver.url)
    key = await IdentityService(parts.database).issue_key("other", name="test")
    headers = {"Authorization": f"Bearer {key}"}
    path = f"/api/v1/webhooks/{webhook_id}"

    answers = [
        await api.client.get(path, headers=headers),
        await api.client.patch(path, json={"enabled": False}, headers=headers),
        await api.client.delete(path, headers=headers),
        await api.client.post(f"{path}/test", headers=headers),
        await api.client.get(f"{path}/deliveries", headers=headers),
    ]
    body = {"url": receiver.url, "collection": "notes"}
    foreign = await api.client.post("/api/v1/webhooks", json=body, headers=headers)
    listed = await api.client.get("/api/v1/webhooks", headers=headers)

    assert {answer.json()["code"] for answer in answers} == {"webhook_not_found"}
    assert foreign.json()["code"] == "collection_not_found"
    assert listed.json()["webhooks"] == []
    assert (await read(api, webhook_id))["enabled"] is True


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://169.254.169.254/", "http://localhost/"])
async def test_a_server_refuses_private_addresses_unless_it_is_set(settings: Settings, url: str) -> None:
    """By default, where the databases are configured, nothing inside is reached."""
    closed = settings.model_copy(update={"webhook_private_addresses": "auto"})
    async with open_parts(closed, configured_endpoints(closed)) as parts, open_client(parts) as api:
        refused = await api.client.post("/api/v1/webhooks", json={"url": url})

    assert (refused.status_code, refused.json()["code"]) == (422, "webhook_address_refused")


async def test_without_keys_no_webhook_can_be_made(settings: Settings) -> None:
    """The answer says what to set; a worker with other keys says so in the log of the delivery."""
    without = settings.model_copy(update={"secret_keys": ()})
    async with open_parts(without, configured_endpoints(without)) as parts, open_client(parts) as api:
        refused = await api.client.post("/api/v1/webhooks", json={"url": "http://127.0.0.1:9/"})

    assert (refused.status_code, refused.json()["code"]) == (500, "secret_key_missing")
    assert "VECLOOM_SECRET_KEYS" in refused.json()["detail"]


async def test_a_user_has_so_many_webhooks_at_most(api: Api, parts: Parts, receiver: FakeReceiver) -> None:
    """Each end would be a row and a request for each."""
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO webhooks (id, user_id, url, events, secret)
                   SELECT gen_random_uuid(), :user, 'http://a.invalid', '{failed}', '' FROM generate_series(1, 50)"""
            ),
            {"user": api.user_id},
        )

    refused = await api.client.post("/api/v1/webhooks", json={"url": receiver.url})

    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


async def test_deliveries_come_in_pages_and_are_kept_for_a_time(
    api: Api, parts: Parts, folder: Path, receiver: FakeReceiver
) -> None:
    """Newest first; what is older than that is dropped."""
    webhook_id, _ = await add(api, receiver.url)
    for name in ("a", "b", "c"):
        await cancel_one(api, folder, name)
    path = f"/api/v1/webhooks/{webhook_id}/deliveries"
    first = (await api.client.get(path, params={"limit": 2})).json()
    second = (await api.client.get(path, params={"limit": 2, "after": first["next"]})).json()
    async with parts.database.begin() as connection:
        oldest = second["deliveries"][0]["id"]
        await connection.execute(
            text("UPDATE webhook_deliveries SET created_at = now() - interval '30 days' WHERE id = :id"), {"id": oldest}
        )

    dropped = await trim_deliveries(parts.database, keep_days=14)

    pages = [*first["deliveries"], *second["deliveries"]]
    assert [delivery["payload"]["data"]["collection"] for delivery in pages] == ["c", "b", "a"]
    assert dropped == 1
    assert (await api.client.get(f"{path}/{oldest}")).json()["code"] == "delivery_not_found"
    assert len(await deliveries(api, webhook_id)) == 2


def test_waits_grow_and_what_the_receiver_asks_for_counts() -> None:
    """Four times as long each time, spread, and never longer than six hours."""
    waits = [retry_delay(10, tries=tries, asked_seconds=None) for tries in range(1, 12)]

    assert all(8 <= wait / 4**place <= 12 for place, wait in enumerate(waits[:5]))
    assert max(waits) <= 6 * 3600
    assert retry_delay(10, tries=1, asked_seconds=600) == 600
    assert retry_delay(10, tries=1, asked_seconds=1e9) == 6 * 3600
    assert len({retry_delay(10, tries=3, asked_seconds=None) for _ in range(10)}) > 1

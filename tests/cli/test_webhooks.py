"""``vecloom webhooks``."""

from pathlib import Path

import orjson

from tests.harness import run_cli
from tests.receiver import Answer, FakeReceiver


async def test_a_webhook_is_added_tested_and_removed(tmp_path: Path, folder: Path) -> None:
    """With the embedded stack alone: the secret is shown once, a test says what came back, an index is told."""
    data = tmp_path / "data"
    async with FakeReceiver().running() as receiver:
        code, out, _ = await run_cli("webhooks", "add", receiver.url, "--event", "completed", "--json", data=data)
        added = orjson.loads(out.splitlines()[-1])
        identity = added["webhook"]["id"]
        tested = await run_cli("webhooks", "test", identity, data=data)
        receiver.answers.append(Answer(status=500))
        refused = await run_cli("webhooks", "test", identity, "--json", data=data)
        indexed = await run_cli("index", str(folder), "--collection", "notes", data=data)
        listed = await run_cli("webhooks", "deliveries", identity, data=data)
        # what the index has told may have been left to the next worker
        delivery = orjson.loads((await run_cli("webhooks", "deliveries", identity, "--json", data=data))[1])
        newest = delivery["deliveries"][0]["id"]
        again = await run_cli("webhooks", "redeliver", identity, newest, data=data)
        removed = await run_cli("webhooks", "remove", identity, data=data)
        left = await run_cli("webhooks", data=data)

    assert (code, tested[0], refused[0], indexed[0], listed[0], again[0], removed[0]) == (0, 0, 1, 0, 0, 0, 0)
    assert added["secret"].startswith("whsec_")
    assert added["webhook"]["events"] == ["completed"]
    assert "webhook.test  delivered, 1 attempt: 204" in tested[1]
    assert orjson.loads(refused[1])["attempts"][0]["error_code"] == "webhook_rejected"
    assert "operation.completed" in listed[1]
    assert "no webhooks" in left[1]
    assert {received.type for received in receiver.received} == {"webhook.test", "operation.completed"}
    assert all(received.is_signed_with(added["secret"]) for received in receiver.received)


async def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """Without an id or a URL nothing is started."""
    for action, word in (("add", "URL"), ("test", "ID"), ("redeliver", "ID")):
        code, out, _ = await run_cli("webhooks", action, "--json", data=tmp_path / "data")
        error = orjson.loads(out)["error"]
        assert (code, error["code"]) == (1, "missing_argument")
        assert word in error["detail"]
    assert not (tmp_path / "data").exists()

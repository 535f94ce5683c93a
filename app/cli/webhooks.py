"""``vecloom webhooks``: whom to tell when operations end."""

import asyncio
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from rich.console import Console

from app.cli.client import Client, CliError
from app.cli.progress import printable
from app.cli.session import open_client
from app.settings import Settings

POLL_SECONDS = 0.2
SHOWN_DELIVERIES = 20


class Action(StrEnum):
    """What to do with webhooks."""

    LIST = "list"
    ADD = "add"
    REMOVE = "remove"
    TEST = "test"
    DELIVERIES = "deliveries"
    REDELIVER = "redeliver"
    ENABLE = "enable"
    DISABLE = "disable"
    ROTATE = "rotate"


SENDS = frozenset({Action.TEST, Action.REDELIVER})
PATCHES: dict[Action, dict[str, bool]] = {
    Action.ENABLE: {"enabled": True},
    Action.DISABLE: {"enabled": False},
    Action.ROTATE: {"rotate_secret": True},
}


async def perform(
    settings: Settings, action: Action, subject: str | None, delivery: str | None, options: dict[str, Any]
) -> Any:  # noqa: ANN401 — JSON
    """Do it; what is sent is waited for until its next attempt has an outcome."""
    if subject is None and action is not Action.LIST:
        what = "URL" if action is Action.ADD else "ID"
        raise CliError("missing_argument", f"say which: vecloom webhooks {action.value} {what}")
    if delivery is None and action is Action.REDELIVER:
        raise CliError("missing_argument", "say which delivery: vecloom webhooks redeliver ID DELIVERY")
    async with open_client(settings, worker=action in SENDS) as client:
        if action is Action.LIST:
            return await client.call("GET", "/webhooks")
        if action is Action.ADD:
            body = {"url": subject, **{key: value for key, value in options.items() if value}}
            return await client.call("POST", "/webhooks", json=body)
        return await _perform_on(client, action, webhook_path(subject or ""), delivery or "")


async def _perform_on(client: Client, action: Action, path: str, delivery: str) -> Any:  # noqa: ANN401 — JSON
    if action in PATCHES:
        return await client.call("PATCH", path, json=PATCHES[action])
    if action is Action.REMOVE:
        removed = await client.call("GET", path)
        await client.call("DELETE", path)
        return removed
    if action is Action.DELIVERIES:
        return await client.call("GET", f"{path}/deliveries", params={"limit": SHOWN_DELIVERIES})
    if action is Action.TEST:
        return await _wait(client, path, await client.call("POST", f"{path}/test"), tried=0)
    delivery_path = f"{path}/deliveries/{quote(delivery, safe='')}"
    before = await client.call("GET", delivery_path)
    sent = await client.call("POST", f"{delivery_path}/redeliver")
    return await _wait(client, path, sent, tried=len(before["attempts"]))


async def _wait(client: Client, path: str, delivery: Any, *, tried: int) -> Any:  # noqa: ANN401 — JSON
    """The delivery after its next attempt."""
    while len(delivery["attempts"]) <= tried and delivery["state"] == "pending":
        await asyncio.sleep(POLL_SECONDS)
        delivery = await client.call("GET", f"{path}/deliveries/{delivery['id']}")
    return delivery


def webhook_path(webhook_id: str) -> str:
    """Path of a webhook; any text is safe in it."""
    return f"/webhooks/{quote(webhook_id, safe='')}"


def exit_code_of(action: Action, answer: dict[str, Any]) -> int:
    """0, unless something was sent and not taken."""
    if action not in SENDS:
        return 0
    attempts = answer["attempts"]
    return 0 if attempts and attempts[-1]["error_code"] is None else 1


def show(action: Action, answer: dict[str, Any], console: Console) -> None:
    """What there is or was done, for a person."""
    for line in _lines_of(action, answer):
        console.print(printable(line), highlight=False, soft_wrap=True)


def _lines_of(action: Action, answer: dict[str, Any]) -> list[str]:
    if action is Action.LIST:
        lines = [_line_of(webhook) for webhook in answer["webhooks"]]
        return lines or ["no webhooks; add one with: vecloom webhooks add URL"]
    if action is Action.DELIVERIES:
        return [_outcome_of(delivery) for delivery in answer["deliveries"]]
    if action in SENDS:
        return [_outcome_of(answer)]
    if action is Action.REMOVE:
        return [f"removed {_line_of(answer)}"]
    secret = [] if answer["secret"] is None else [f"secret, shown only now: {answer['secret']}"]
    return [_line_of(answer["webhook"]), *secret]


def _line_of(webhook: dict[str, Any]) -> str:
    where = webhook["collection"] or "all collections"
    state = "enabled" if webhook["enabled"] else f"disabled ({webhook['disabled_reason']})"
    if webhook["enabled"] and webhook["failing_since"]:
        state = f"failing since {webhook['failing_since'][:19].replace('T', ' ')}"
    return f"{webhook['id']}  {webhook['url']}  {','.join(webhook['events'])}  {where}  {state}"


def _outcome_of(delivery: dict[str, Any]) -> str:
    attempts = delivery["attempts"]
    came = "not tried yet"
    if attempts:
        last = attempts[-1]
        came = f"{last['status'] or 'no answer'} in {last['duration_ms']} ms"
        came += f" ({last['error_code']})" if last["error_code"] else ""
    when = delivery["created_at"][:19].replace("T", " ")
    tries = f"{len(attempts)} attempts" if len(attempts) != 1 else "1 attempt"
    return f"{delivery['id']}  {when}  {delivery['event']}  {delivery['state']}, {tries}: {came}"

"""Mailboxes, indexed and brought up to date."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from app.bootstrap import Parts, configured_endpoints, open_parts
from app.secrets_box import new_key
from app.settings import Settings
from tests.harness import Api
from tests.integration.test_sources import create
from tests.sources.mailbox import PASSWORD, USER, Mailboxes, write_mail

LOGIN = {"user": USER, "password": PASSWORD}


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """Parts of a server that may read mailboxes of this machine."""
    allowed = settings.model_copy(update={"sources_allow_private": True, "secret_keys": (SecretStr(new_key()),)})
    async with open_parts(allowed, configured_endpoints(allowed)) as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[Mailboxes]:
    """A mailbox with two messages, one of which has an attachment."""
    async with Mailboxes().running() as running:
        table = b"animal,home\nwhales are large mammals,they live in the ocean\n"
        running.add("INBOX", write_mail("Animals", "The list is attached.", attachments={"animals.csv": table}))
        running.add("INBOX", write_mail("Launch", "Rockets burn fuel to leave the atmosphere."))
        yield running


async def index(api: Api, server: Mailboxes, **options: Any) -> dict[str, Any]:
    """A collection over the inbox; the ended operation."""
    return await create(api, "mail", f"{server.url}/INBOX", options={"plain": True} | options, secrets=LOGIN)


def counts_of(ended: dict[str, Any]) -> Sequence[int]:
    """Added, changed, removed and failed documents, and those that are as they were."""
    result = ended["result"]
    return [*(result[f"documents_{name}"] for name in ("added", "changed", "removed", "failed")), result["unchanged"]]


@pytest.mark.usefixtures("worker")
async def test_a_mailbox_is_indexed_and_found(api: Api, server: Mailboxes) -> None:
    """A hit names the attachment; a message's title is its subject."""
    ended = await index(api, server)

    attached = (await api.search("mail", "mammals of the ocean"))[0]
    message = (await api.search("mail", "rockets leave the atmosphere"))[0]

    assert (ended["state"], counts_of(ended)[:4]) == ("completed", [3, 0, 0, 0]), ended
    assert attached["path"] == "1 Animals/animals.csv"
    assert attached["uri"] == f"{server.url}/INBOX;UIDVALIDITY=1/;UID=1/;SECTION=2"
    assert (message["path"], message["title"]) == ("2 Launch.eml", "Launch")
    assert await api.assert_consistent("mail") == ended["result"]["chunks"]


@pytest.mark.usefixtures("worker")
async def test_a_run_without_changes_asks_for_no_message(api: Api, server: Mailboxes) -> None:
    """Only for the numbers of those that there are."""
    await index(api, server)
    server.commands.clear()
    server.sent = 0

    again = await api.wait(await api.append("mail"))

    assert counts_of(again) == [0, 0, 0, 0, 3]
    assert (server.asked("UID FETCH"), server.sent) == ([], 0)


@pytest.mark.usefixtures("worker")
async def test_changes_of_a_mailbox_are_followed(api: Api, server: Mailboxes) -> None:
    """What comes is read, what goes is removed with what was attached to it, and nothing else is downloaded."""
    await index(api, server)
    server.add("INBOX", write_mail("Recipe", "Bake the dough for an hour."))
    del server.folders["INBOX"].messages[1]
    server.commands.clear()

    again = await api.wait(await api.append("mail"))

    assert counts_of(again) == [1, 0, 2, 0, 1]
    assert {command.split()[2] for command in server.asked("UID FETCH")} == {"3"}
    assert (await api.search("mail", "dough"))[0]["path"] == "3 Recipe.eml"
    assert not [hit for hit in await api.search("mail", "mammals of the ocean") if "Animals" in hit["path"]]
    await api.assert_consistent("mail")


@pytest.mark.usefixtures("worker")
async def test_another_validity_replaces_all_messages(api: Api, server: Mailboxes) -> None:
    """Their numbers mean nothing any more; the texts are the same, so the model is not asked again."""
    await index(api, server)
    server.folders["INBOX"].validity = 2

    again = await api.wait(await api.append("mail"))

    assert counts_of(again) == [3, 0, 3, 0, 0]
    assert (await api.search("mail", "rockets"))[0]["uri"] == f"{server.url}/INBOX;UIDVALIDITY=2/;UID=2"


@pytest.mark.usefixtures("worker")
async def test_a_login_that_is_refused_fails_at_once(api: Api, server: Mailboxes) -> None:
    """With a code of its own; what is indexed stays, and the password is shown to nobody."""
    await index(api, server)
    server.instead["AUTHENTICATE"] = b"{tag} NO [AUTHENTICATIONFAILED] no\r\n"

    again = await api.wait(await api.append("mail"))

    assert (again["state"], again["error_code"]) == ("failed", "source_refuses_access")
    assert PASSWORD not in str(again)
    assert (await api.search("mail", "rockets"))[0]["path"] == "2 Launch.eml"


@pytest.mark.usefixtures("worker")
async def test_a_look_at_a_mailbox_says_what_is_there(api: Api, server: Mailboxes) -> None:
    """Nothing is downloaded or stored."""
    await index(api, server)
    server.sent = 0
    source = {"url": server.url, "options": {"plain": True, "attachments": False}, "secrets": LOGIN}

    answer = await api.client.post("/api/v1/collections/mail/sources/test", json={"source": source})

    seen = answer.json()
    assert (seen["kind"], seen["documents"], seen["is_complete"]) == ("imap", 2, True), seen
    assert seen["names"] == ["INBOX/2 Launch.eml", "INBOX/1 Animals.eml"]
    assert server.sent == 0

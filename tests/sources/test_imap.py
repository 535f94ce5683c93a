"""Mailboxes as a source, over a real socket."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from app.domain.documents import Fetched, KnownDocument, ScannedDocument, SourceKind
from app.domain.errors import InvalidSourceError, SourceNotFoundError, SourceRefusesAccessError, UnsupportedSourceError
from app.sources.imap import ImapSource
from app.sources.imap_names import MailboxUrl
from app.sources.imap_options import ImapOptions
from app.sources.imap_pool import ImapPool
from app.sources.imap_scan import stream_uids
from app.sources.imap_wire import Patience
from app.sources.kinds import check_source, kind_of, split_login
from tests.sources.contract.places import NothingKnown
from tests.sources.contract.test_document_sources import to_documents
from tests.sources.mailbox import PASSWORD, USER, Mailboxes, StoredFolder, write_mail

LOGIN = {"user": USER, "password": PASSWORD}


class Scanned:
    """``KnownDocuments`` after a scan."""

    def __init__(self, documents: Sequence[ScannedDocument]) -> None:
        self._known = {
            item.uri: KnownDocument(size=item.size, modified_ns=0, etag=item.etag, links=item.links)
            for item in documents
        }

    async def find(self, uris: Sequence[str]) -> Mapping[str, KnownDocument]:
        """See the port."""
        return {uri: self._known[uri] for uri in uris if uri in self._known}


def open_source(
    server: Mailboxes, folder: str = "", *, options: dict[str, Any] | None = None, **said: Any
) -> ImapSource:
    """A source over a server without encryption."""
    told: dict[str, Any] = {
        "known": NothingKnown(),
        "secrets": LOGIN,
        "max_bytes": 100_000,
        "allow_private": True,
    } | said
    return ImapSource(f"{server.url}/{folder}", options=ImapOptions.of({"plain": True} | (options or {})), **told)


async def scan(source: ImapSource) -> list[ScannedDocument]:
    """All that a scan finds."""
    return [document async for batch in source.scan() for document in batch]


async def fetch(source: ImapSource, found: Sequence[ScannedDocument], into: Path) -> dict[str, Fetched]:
    """What fetching gives, by path."""
    documents = to_documents(found)
    fetched = await source.fetch(documents, into)
    return {document.path: fetched[document.id] for document in documents}


def content_of(fetched: Fetched) -> bytes:
    """What was fetched."""
    return Path(str(fetched.path)).read_bytes()


def paths_of(found: Sequence[ScannedDocument]) -> list[str]:
    """The paths of documents."""
    return [item.path for item in found]


@pytest.fixture
async def server() -> AsyncIterator[Mailboxes]:
    """An inbox with a message and its attachments, and one that is older."""
    async with Mailboxes().running() as running:
        running.add("INBOX", write_mail("Old", "Long ago."), date=datetime(2020, 1, 31, tzinfo=UTC))
        attachments = {"table.csv": b"a,b\n1,2\n", "photo.png": b"\x89PNG", "all.zip": b"PK"}
        running.add("INBOX", write_mail("Minutes", "We met.", attachments=attachments))
        yield running


async def test_messages_and_attachments_are_documents(server: Mailboxes) -> None:
    """The newest first; what holds no text is left out, and counted."""
    async with aclosing(open_source(server)) as source:
        found = await scan(source)

        assert paths_of(found) == ["INBOX/2 Minutes.eml", "INBOX/2 Minutes/table.csv", "INBOX/1 Old.eml"]
        assert found[1].uri == f"{server.url}/INBOX;UIDVALIDITY=1/;UID=2/;SECTION=2"
        assert dict(source.skipped) == {"binary": 1, "archives": 1}


async def test_nothing_is_changed(server: Mailboxes, tmp_path: Path) -> None:
    """Folders are opened to be read, and nothing is marked as seen."""
    async with aclosing(open_source(server)) as source:
        await fetch(source, await scan(source), tmp_path / "into")

    assert server.asked("UID FETCH")
    assert {command.split()[0] for command in server.commands} <= {
        "CAPABILITY", "AUTHENTICATE", "LIST", "EXAMINE", "UID", "LOGOUT",
    }  # fmt: skip
    assert not [command for command in server.asked("UID") if "BODY[" in command or "STORE" in command]


async def test_a_known_message_is_not_asked_for_again(server: Mailboxes) -> None:
    """What is found is the same; of a new message alone the server is asked what it is."""
    async with aclosing(open_source(server)) as source:
        before = await scan(source)
    server.add("INBOX", write_mail("New", "Just now."))
    server.commands.clear()

    async with aclosing(open_source(server, known=Scanned(before))) as source:
        after = await scan(source)

    assert after[1:] == before
    assert [command.split()[2] for command in server.asked("UID FETCH")] == ["3"]


async def test_a_message_that_is_marked_as_deleted_is_gone(server: Mailboxes) -> None:
    """Programs for mail do not show it either."""
    server.folders["INBOX"].messages[2].flags.add("\\Deleted")

    async with aclosing(open_source(server)) as source:
        assert paths_of(await scan(source)) == ["INBOX/1 Old.eml"]


async def test_another_validity_makes_everything_new(server: Mailboxes, tmp_path: Path) -> None:
    """The same numbers are other messages then, so those of before are not there."""
    async with aclosing(open_source(server)) as source:
        before = await scan(source)
        server.folders["INBOX"].validity = 2

        async with aclosing(open_source(server, known=Scanned(before))) as other:
            after = await scan(other)
            fetched = await fetch(other, before, tmp_path / "into")

    assert not {item.uri for item in before} & {item.uri for item in after}
    assert {item.error_code for item in fetched.values()} == {"file_vanished"}


@pytest.mark.parametrize(
    ("folder", "options", "paths"),
    [
        ("INBOX", {"attachments": False}, ["2 Minutes.eml", "1 Old.eml"]),
        ("inbox", {"since": "2020-02-01"}, ["2 Minutes.eml", "2 Minutes/table.csv"]),
        ("INBOX", {"since": 36_500}, ["2 Minutes.eml", "2 Minutes/table.csv", "1 Old.eml"]),
        ("INBOX", {"since": 1}, []),
        ("INBOX", {"max_messages": 1}, ["2 Minutes.eml", "2 Minutes/table.csv"]),
    ],
)
async def test_options_choose_messages(
    server: Mailboxes, folder: str, options: dict[str, Any], paths: list[str]
) -> None:
    """By time, number and kind."""
    async with aclosing(open_source(server, folder, options=options)) as source:
        assert paths_of(await scan(source)) == paths


async def test_what_is_beyond_the_limit_is_not_gone(server: Mailboxes) -> None:
    """It was found before, and nobody has looked now."""
    async with aclosing(open_source(server, options={"max_messages": 1})) as source:
        await scan(source)

        assert list(source.unseen) == [f"{server.url}/INBOX;"]
        assert source.skipped["message_limit"] == 1


@pytest.mark.parametrize("delimiter", ["/", "."])
async def test_folders_below_belong_to_the_source(delimiter: str) -> None:
    """Whatever stands between their names; those for rubbish only if they are named."""
    async with Mailboxes(delimiter=delimiter).running() as server:
        name = delimiter.join(["Archive", "Entwürfe & Co"])
        server.add(name, write_mail("Draft", "Not yet."))
        server.add(delimiter.join(["Archive", "Spam"]), write_mail("Win", "Click."))
        server.folders[delimiter.join(["Archive", "Spam"])].attributes = "\\Junk"
        server.folders["Archive"] = StoredFolder(attributes="\\Noselect")
        server.add("Archives", write_mail("Other", "Not below."))

        async with aclosing(open_source(server, "Archive")) as source:
            assert paths_of(await scan(source)) == ["Entwürfe & Co/1 Draft.eml"]
            assert dict(source.skipped) == {"special_folders": 1}
        async with aclosing(open_source(server, "Archive/Spam")) as source:
            assert paths_of(await scan(source)) == ["1 Win.eml"]
        async with aclosing(open_source(server, "Archive", options={"subfolders": False})) as source:
            assert paths_of(await scan(source)) == []


@pytest.mark.parametrize("gone", [[1], [9], [10], [3, 4], [5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8]])
@pytest.mark.parametrize("after", [1, 2, 3])
async def test_messages_that_go_meanwhile_hide_no_others(gone: list[int], after: int) -> None:
    """Those that follow move to other numbers, between any two windows; each is found once."""
    async with Mailboxes().running() as server:
        for number in range(10):
            server.add("INBOX", f"Subject: {number}\r\n\r\nx".encode())
        pool = ImapPool(MailboxUrl.of(server.url), secrets=LOGIN, plain=True, allow_private=True, patience=Patience())

        found: list[int] = []
        async with aclosing(pool), pool.use() as session:
            windows = stream_uids(session, await session.examine("INBOX"), "UNDELETED", window=2)
            async with aclosing(windows):
                async for number, uids in enumerate_windows(windows):
                    found += uids
                    for uid in gone if number == after else ():
                        del server.folders["INBOX"].messages[uid]

    assert found == sorted(set(found), reverse=True)
    assert set(range(1, 11)) - set(gone) <= set(found)


async def enumerate_windows(windows: AsyncIterator[list[int]]) -> AsyncIterator[tuple[int, list[int]]]:
    """Each with its number, from 1 on."""
    number = 0
    async for uids in windows:
        number += 1
        yield number, uids


@pytest.mark.parametrize("content", [b"first\r\n", b"\x00\xff" * 30_000, b""], ids=["short", "binary", "empty"])
async def test_an_attachment_is_fetched_as_it_was(tmp_path: Path, content: bytes) -> None:
    """Without its message, and not encoded."""
    async with Mailboxes().running() as server, aclosing(open_source(server, "INBOX")) as source:
        server.add("INBOX", write_mail("With", "Attached.", attachments={"data.txt": content}))

        fetched = await fetch(source, (await scan(source))[1:], tmp_path / "into")

    assert content_of(fetched["1 With/data.txt"]) == content
    assert [item.name for item in (tmp_path / "into").iterdir()] == [Path(str(fetched["1 With/data.txt"].path)).name]


@pytest.mark.parametrize(
    ("encoding", "sent", "content"),
    [
        ("quoted-printable", b"caf=C3=A9 =\r\nau lait=20", "café au lait ".encode()),
        ("BASE64", b"Y2Fm\r\n !w6k=\r\n\r\nfooter", "café".encode()),
        ("8bit", "café".encode(), "café".encode()),
        ("x-unknown", b"as it is", b"as it is"),
    ],
)
async def test_every_encoding_is_undone(tmp_path: Path, encoding: str, sent: bytes, content: bytes) -> None:
    """Also where it is not written quite as it should be."""
    mail = b"\r\n".join(
        [
            b"Subject: Alone",
            b'Content-Type: application/json; name="a.json"',
            f"Content-Transfer-Encoding: {encoding}".encode(),
            b"",
            sent,
        ]
    )
    async with Mailboxes().running() as server, aclosing(open_source(server, "INBOX")) as source:
        server.add("INBOX", mail)

        fetched = await fetch(source, await scan(source), tmp_path / "into")

    assert content_of(fetched["1 Alone/a.json"]) == content


async def test_a_message_is_read_without_its_attachments(tmp_path: Path) -> None:
    """Of alternatives only one is its text; its headers say who wrote it."""
    async with Mailboxes().running() as server, aclosing(open_source(server, "INBOX")) as source:
        mail = write_mail("Grüße", "Hello there.", html="<p>Hello there.</p>", attachments={"big.txt": b"x" * 50_000})
        server.add("INBOX", mail)

        found = await scan(source)
        fetched = await fetch(source, found[:1], tmp_path / "into")

    read = message_from_bytes(content_of(fetched["1 Grüße.eml"]))
    assert (read["From"], str(read.get_payload()).strip()) == ("Ada <ada@example.com>", "Hello there.")
    assert server.sent < 1000


async def test_what_is_too_large_is_not_downloaded(tmp_path: Path) -> None:
    """Its message is read all the same."""
    async with Mailboxes().running() as server, aclosing(open_source(server, "INBOX", max_bytes=1000)) as source:
        server.add("INBOX", write_mail("Large", "See below.", attachments={"big.txt": b"x" * 50_000}))
        server.add("INBOX", write_mail("Long", "word " * 1000))

        codes = {item.path: item.error_code for item in await scan(source)}

    assert codes == {
        "2 Long.eml": "document_too_large",
        "1 Large.eml": None,
        "1 Large/big.txt": "document_too_large",
    }
    assert server.sent == 0


async def test_a_message_that_is_gone_costs_itself(server: Mailboxes, tmp_path: Path) -> None:
    """With what was attached to it."""
    async with aclosing(open_source(server)) as source:
        found = await scan(source)
        del server.folders["INBOX"].messages[2]

        fetched = await fetch(source, found, tmp_path / "into")

    assert [fetched[item.path].error_code for item in found] == ["file_vanished", "file_vanished", None]


async def test_a_connection_that_was_closed_is_made_again(server: Mailboxes, tmp_path: Path) -> None:
    """Servers close those that nobody uses."""
    async with aclosing(open_source(server)) as source:
        found = await scan(source)
        server.drop()

        fetched = await fetch(source, found, tmp_path / "into")

    assert {item.error_code for item in fetched.values()} == {None}


async def test_a_folder_that_is_not_there_is_an_error(server: Mailboxes) -> None:
    """It may be written in another way."""
    async with aclosing(open_source(server, "Inbocks")) as source:
        with pytest.raises(SourceNotFoundError):
            await scan(source)


async def test_a_folder_of_somebody_else_is_an_error(server: Mailboxes) -> None:
    """The server shows it, and does not open it."""
    server.folders["INBOX"].refuses = "NO [NOPERM] not yours"

    async with aclosing(open_source(server, "INBOX")) as source:
        with pytest.raises(SourceRefusesAccessError):
            await scan(source)


async def test_globs_keep_folders_closed(server: Mailboxes) -> None:
    """The server is not even asked for them."""
    server.add("Private", write_mail("Secret", "Not for search."))

    async with aclosing(open_source(server, exclude=["Private/"], include=["**/*.eml"])) as source:
        found = await scan(source)

    assert paths_of(found) == ["INBOX/2 Minutes.eml", "INBOX/1 Old.eml"]
    assert server.asked("EXAMINE") == ['EXAMINE "INBOX"']


def test_mailboxes_are_told_by_their_url() -> None:
    """A login in it becomes a secret."""
    url, secrets = split_login("imaps://jo%40example.com:let%20me%20in@mail.example.com/INBOX")

    assert (kind_of(url), url, secrets) == (SourceKind.IMAP, "imaps://mail.example.com/INBOX", LOGIN)
    check_source(SourceKind.IMAP, url, options={"since": "2024-01-01"}, secrets=secrets)


@pytest.mark.parametrize(
    ("options", "secrets"),
    [
        ({"folders": "a"}, {}),
        ({"since": "yesterday"}, {}),
        ({"since": 0}, {}),
        ({"since": True}, {}),
        ({"plain": "yes"}, {}),
        ({"max_messages": 0}, {}),
        ({"max_messages": 10**9}, {}),
        ({}, {"key": "x"}),
        ({}, {"user": "x", "password": "y\r\nz DELETE INBOX"}),
        ({}, {"user": "x\0y"}),
        ({}, {"user": "x", "password": "y", "token": "z"}),
    ],
)
def test_what_a_mailbox_does_not_take_is_refused(options: dict[str, Any], secrets: dict[str, str]) -> None:
    """Before anything is stored."""
    with pytest.raises(InvalidSourceError):
        check_source(SourceKind.IMAP, "imaps://mail.example.com/INBOX", options=options, secrets=secrets)


@pytest.mark.parametrize(
    "url",
    [
        "imaps://",
        "imaps:///INBOX",
        "imaps://host:port/",
        "imaps://host/a%0D%0Ab",
        "imaps://host/a;UID=1",
        "imap://h/?x",
    ],
)
def test_what_is_no_mailbox_is_refused(url: str) -> None:
    """Also characters that would end a command."""
    with pytest.raises(UnsupportedSourceError):
        check_source(SourceKind.IMAP, url, options={}, secrets={})


async def test_without_a_login_the_server_is_not_asked(server: Mailboxes) -> None:
    """The error says how to give it."""
    async with aclosing(open_source(server, secrets={}, patience=Patience())) as source:
        with pytest.raises(SourceRefusesAccessError, match="sources change"):
            await scan(source)

    assert server.connections == 0

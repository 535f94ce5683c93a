"""Mail servers that stall, lie and are somebody else."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.domain.errors import (
    AddressNotAllowedError,
    SourceGarbageError,
    SourceNotEncryptedError,
    SourceRefusesAccessError,
    SourceUnavailableError,
    SourceVanishedError,
)
from app.domain.failures import CertificateError
from app.sources.imap import ImapSource
from app.sources.imap_fetch import fetch_document
from app.sources.imap_folders import MOST_FOLDERS
from app.sources.imap_names import MailboxUrl, MessagePlace
from app.sources.imap_options import ImapOptions
from app.sources.imap_pool import ImapPool
from app.sources.imap_wire import COMMAND_RESPONSES, Patience
from tests.harness import wait_until
from tests.sources.contract.places import NothingKnown
from tests.sources.mailbox import PASSWORD, TOKEN, USER, Mailboxes, write_mail
from tests.sources.test_imap import LOGIN, content_of, fetch, open_source, paths_of, scan

SHORT = Patience(connect_seconds=1.0, read_seconds=0.2, command_seconds=1.0)
DESCRIBED = "UID FETCH 1 (UID BODYSTRUCTURE"


@pytest.fixture
async def server() -> AsyncIterator[Mailboxes]:
    """An inbox with a message that has an attachment."""
    async with Mailboxes().running() as running:
        running.add("INBOX", write_mail("Minutes", "We met.", attachments={"table.csv": b"a,b\n1,2\n"}))
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for ``localhost``, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What the server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def open_encrypted(server: Mailboxes, certificate: Path | None, *, scheme: str, host: str = "localhost") -> ImapSource:
    """A source that trusts this certificate, or those that everybody does."""
    return ImapSource(
        f"{scheme}://{host}:{server.port}/INBOX",
        options=ImapOptions(),
        secrets=LOGIN,
        known=NothingKnown(),
        max_bytes=100_000,
        allow_private=True,
        patience=Patience(connect_seconds=5.0),
        trust=None if certificate is None else ssl.create_default_context(cafile=str(certificate)),
    )


# --- who it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["imap", "imaps"])
async def test_mail_is_read_encrypted(tls: ssl.SSLContext, certificate: Path, tmp_path: Path, scheme: str) -> None:
    """From the first byte on, or before the login."""
    async with (
        Mailboxes(tls=tls).running(is_tls=scheme == "imaps") as server,
        aclosing(open_encrypted(server, certificate, scheme=scheme)) as source,
    ):
        server.add("INBOX", write_mail("Minutes", "We met."))

        fetched = await fetch(source, await scan(source), tmp_path / "into")

    assert [item.error_code for item in fetched.values()] == [None]
    commands = ["CAPABILITY", "STARTTLS", "CAPABILITY"] if scheme == "imap" else ["CAPABILITY"]
    assert server.commands[: len(commands) + 1] == [*commands, "AUTHENTICATE"]


@pytest.mark.parametrize("scheme", ["imap", "imaps"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_that_is_not_trusted_gets_no_login(
    tls: ssl.SSLContext, certificate: Path, scheme: str, host: str
) -> None:
    """Nobody has signed for it, or it is of another name."""
    trusted = certificate if host == "127.0.0.1" else None
    async with (
        Mailboxes(tls=tls).running(is_tls=scheme == "imaps") as server,
        aclosing(open_encrypted(server, trusted, scheme=scheme, host=host)) as source,
    ):
        with pytest.raises(CertificateError):
            await scan(source)

    assert not {"LOGIN", "AUTHENTICATE"} & set(server.commands)


@pytest.mark.parametrize("greeting", [b"* OK ready\r\n", b"* PREAUTH welcome\r\n"])
async def test_a_server_without_encryption_gets_no_login(server: Mailboxes, greeting: bytes) -> None:
    """Also one that says it need not be told, which anybody in between can say."""
    server.greeting = greeting

    async with aclosing(open_source(server, options={"plain": False})) as source:
        with pytest.raises(SourceNotEncryptedError, match="plain=true"):
            await scan(source)

    assert server.commands == ["CAPABILITY"]


async def test_what_is_said_before_the_encryption_is_not_believed(tls: ssl.SSLContext, certificate: Path) -> None:
    """Somebody in between has answered the next command already."""
    injected = b"{tag} OK go on\r\n* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nv3 OK done\r\n"
    async with (
        Mailboxes(tls=tls).running() as server,
        aclosing(open_encrypted(server, certificate, scheme="imap")) as source,
    ):
        server.instead["STARTTLS"] = injected
        server.add("INBOX", write_mail("Minutes", "We met."))

        assert paths_of(await scan(source)) == ["1 Minutes.eml"]


async def test_an_address_of_this_network_is_not_asked(server: Mailboxes) -> None:
    """Unless that is allowed."""
    assert ip_address("127.0.0.1").is_private
    async with aclosing(open_source(server, allow_private=False)) as source:
        with pytest.raises(AddressNotAllowedError):
            await scan(source)

    assert server.connections == 0


@pytest.mark.parametrize(
    ("capabilities", "secrets"),
    [
        ("AUTH=PLAIN", LOGIN),
        ("", LOGIN),
        ("AUTH=XOAUTH2", {"user": USER, "token": TOKEN}),
        ("AUTH=XOAUTH2 AUTH=OAUTHBEARER", {"user": USER, "token": TOKEN}),
    ],
)
async def test_every_way_to_log_in(server: Mailboxes, capabilities: str, secrets: dict[str, str]) -> None:
    """What is refused is an error that does not say what was sent."""
    server.capabilities = f"IMAP4rev1 {capabilities}"
    wrong = {name: f"wrong {value}" if name != "user" else value for name, value in secrets.items()}

    async with aclosing(open_source(server, secrets=secrets)) as source:
        assert await scan(source)
    async with aclosing(open_source(server, secrets=wrong)) as source:
        with pytest.raises(SourceRefusesAccessError, match="refuses the login") as refused:
            await scan(source)

    assert not any(value in str(refused.value) for value in (PASSWORD, TOKEN, USER))


async def test_a_server_that_is_busy_is_tried_again(server: Mailboxes) -> None:
    """It does not refuse the login for good."""
    server.instead["AUTHENTICATE"] = b"{tag} NO [UNAVAILABLE] later\r\n"

    async with aclosing(open_source(server)) as source:
        with pytest.raises(SourceUnavailableError):
            await scan(source)


# --- how long -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "CAPABILITY", "AUTHENTICATE", "LIST", "EXAMINE", "UID SEARCH", "UID FETCH"])
@pytest.mark.parametrize("said", [b"", b"* 1 FETCH (UID 1 BODY[1] {100}\r\nhalf"], ids=["nothing", "half"])
async def test_a_server_that_stalls_ends_the_scan(server: Mailboxes, command: str, said: bytes) -> None:
    """Wherever it does, also in the middle of an answer."""
    if command:
        server.instead[command] = said
    else:
        server.greeting = said[:10]

    async with aclosing(open_source(server, patience=SHORT)) as source:
        with pytest.raises(SourceUnavailableError):
            await scan(source)


@pytest.mark.parametrize("command", ["CAPABILITY", "EXAMINE", "UID FETCH"])
async def test_a_server_that_says_something_now_and_then_ends_the_scan(server: Mailboxes, command: str) -> None:
    """Each line comes in time, and the answer never does."""
    server.drips = command

    async with aclosing(open_source(server, patience=SHORT)) as source:
        with pytest.raises(SourceUnavailableError):
            await scan(source)


async def test_a_scan_of_a_server_that_stalls_can_be_cancelled(server: Mailboxes) -> None:
    """At once, and the connection is closed."""
    server.instead["UID SEARCH"] = b""

    async def is_stuck() -> bool:
        return bool(server.asked("UID SEARCH"))

    async def is_left() -> bool:
        return not server.open_connections

    async with aclosing(open_source(server)) as source:
        task = asyncio.create_task(scan(source))
        await wait_until(is_stuck)

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await wait_until(is_left)


async def test_a_message_that_stalls_costs_itself(server: Mailboxes, tmp_path: Path) -> None:
    """The others are read, over another connection."""
    server.add("INBOX", write_mail("Stuck", "Never comes."))
    server.instead["UID FETCH 2 (UID BODY.PEEK[HEADER"] = b"* 2 FETCH (UID 2 BODY[HEADER]<0> {50}\r\nhalf"

    async with aclosing(open_source(server, "INBOX", patience=SHORT)) as source:
        found = await scan(source)
        fetched = await fetch(source, found, tmp_path / "into")
        await source.require_present()

    assert {path: item.error_code for path, item in fetched.items()} == {
        "2 Stuck.eml": "fetch_failed",
        "1 Minutes.eml": None,
        "1 Minutes/table.csv": None,
    }


async def test_a_server_that_stalls_has_vanished(server: Mailboxes) -> None:
    """Who could not read a document can ask."""
    async with aclosing(open_source(server, patience=SHORT)) as source:
        await scan(source)
        server.instead["LIST"] = b""

        with pytest.raises(SourceVanishedError):
            await source.require_present()


# --- how much -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("LIST", b'* LIST () "/" {10000000000}\r\n'),
        ("EXAMINE", b"* OK {99999999999999999999}\r\n"),
        (DESCRIBED, b"* 1 FETCH (UID 1 BODYSTRUCTURE {10000000000}\r\n"),
        ("EXAMINE", b"* OK again\r\n" * (COMMAND_RESPONSES + 10)),
        ("AUTHENTICATE", b"+ \r\n" * 100),
        ("LIST", b"* OK " + b"x" * 40_000_000),
        ("UID SEARCH", b"* SEARCH" + b" 1234567" * 100_000 + b"\r\n{tag} OK done\r\n"),
        ("UID SEARCH", b"* SEARCH (((\r\n{tag} OK done\r\n"),
        ("CAPABILITY", b"HTTP/1.1 400 Bad Request\r\n"),
        ("EXAMINE", b"{tag} OK without its validity\r\n"),
    ],
    ids=["literal", "huge", "structure", "endless", "questions", "line", "uids", "nested", "http", "bare"],
)
async def test_more_than_was_asked_for_is_refused(server: Mailboxes, command: str, said: bytes) -> None:
    """It is neither kept nor waited for."""
    server.instead[command] = said

    async with aclosing(open_source(server)) as source:
        with pytest.raises(SourceGarbageError):
            await scan(source)


async def test_a_mailbox_of_millions_is_asked_for_in_windows(server: Mailboxes) -> None:
    """No answer holds more than one of them."""
    server.folders["INBOX"].claims = 10_000_000
    server.instead["UID SEARCH"] = b"* SEARCH 1 2\r\n{tag} OK done\r\n"

    async with aclosing(open_source(server, "INBOX", options={"max_messages": 1})) as source:
        await scan(source)

    assert server.asked("UID SEARCH")[0] == "UID SEARCH 9998001:10000000 UNDELETED"


async def test_folders_beyond_the_limit_are_not_gone(server: Mailboxes) -> None:
    """Nobody knows what they hold."""
    names = b"".join(b'* LIST () "/" "f%d"\r\n' % number for number in range(MOST_FOLDERS + 1))
    server.instead['LIST "" "*"'] = names + b"{tag} OK done\r\n"

    async with aclosing(open_source(server)) as source:
        await scan(source)

        assert list(source.unseen) == [f"{server.url}/"]


@pytest.mark.parametrize(
    "structure",
    [
        b"(" * 150 + b")" * 150,
        b"(" * 60 + b'"text" "plain" NIL NIL NIL "7bit" 1 1' + b")" * 60,
        b"(" + b'("text" "plain" ("name" "a.txt") NIL NIL "7bit" 1 1)' * 20_000 + b' "mixed")',
        b"NIL",
        b'("text" "plain" NIL NIL NIL "7bit" "many" 1)',
        b'("text")',
        b'(NIL "mixed")',
        b"{3}\r\nabc",
    ],
    ids=["deep", "nested", "parts", "nil", "size", "short", "empty", "literal"],
)
async def test_an_absurd_message_costs_itself(server: Mailboxes, structure: bytes) -> None:
    """Strangers write messages, and the next one is found all the same."""
    server.add("INBOX", write_mail("Good", "Read me."))
    absurd = b"* 1 FETCH (UID 1 BODYSTRUCTURE " + structure + b")\r\n"
    good = b'* 2 FETCH (BODYSTRUCTURE ("text" "plain" NIL NIL NIL "7bit" 8 1) UID 2 BODY[HEADER] "Subject: Good")\r\n'
    server.instead["UID FETCH 2,1"] = absurd + good + b"{tag} OK done\r\n"

    async with aclosing(open_source(server, "INBOX")) as source:
        found = await scan(source)

    assert {item.path: item.error_code for item in found} == {"2 Good.eml": None, "1.eml": "unreadable_file"}


async def test_a_message_that_cannot_be_told_costs_itself(server: Mailboxes) -> None:
    """Some servers refuse to tell the others with it."""
    for number in range(4):
        server.add("INBOX", write_mail(f"Good {number}", "Read me."))
    for asked in ("5,4,3,2,1", "3,2,1", "2,1", "1"):
        server.instead[f"UID FETCH {asked} "] = b"{tag} NO some messages could not be told\r\n"

    async with aclosing(open_source(server, "INBOX")) as source:
        found = await scan(source)

    assert {item.path: item.error_code for item in found} == {
        **{f"{uid} Good {uid - 2}.eml": None for uid in (5, 4, 3, 2)},
        "1.eml": "unreadable_file",
    }


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
async def test_a_full_disk_is_not_the_servers_fault(server: Mailboxes, tmp_path: Path) -> None:
    """The error is that of the disk."""
    uid = server.add("INBOX", write_mail("Large", "See below.", attachments={"big.txt": b"x" * 100_000}))
    place = MessagePlace(folder="INBOX", validity=1, uid=uid, section="2")
    (tmp_path / "big.raw").symlink_to("/dev/full")
    pool = ImapPool(
        MailboxUrl.of(server.url), secrets=LOGIN, plain=True, allow_private=True, patience=Patience(connect_seconds=5.0)
    )

    async with aclosing(pool), pool.use() as session:
        with pytest.raises(OSError, match="No space"):
            await fetch_document(session, place, tmp_path / "big", max_bytes=1_000_000)


async def test_more_of_a_message_than_was_asked_for_costs_itself(server: Mailboxes, tmp_path: Path) -> None:
    """Nothing of it is kept."""
    server.instead["UID FETCH 1 (UID BODY.PEEK[2]"] = b"* 1 FETCH (UID 1 BODY[2]<0> {10000000000}\r\n"

    async with aclosing(open_source(server, "INBOX")) as source:
        fetched = await fetch(source, await scan(source), tmp_path / "into")

    assert {path: item.error_code for path, item in fetched.items()} == {
        "1 Minutes.eml": None,
        "1 Minutes/table.csv": "fetch_failed",
    }
    assert len(list((tmp_path / "into").iterdir())) == 1


@pytest.mark.parametrize("body", [b"NIL", b'"a,b"'])
async def test_a_short_part_may_come_as_a_word(server: Mailboxes, tmp_path: Path, body: bytes) -> None:
    """Or as nothing at all."""
    server.folders["INBOX"].messages[1].content = b'Subject: X\r\nContent-Type: text/csv; name="a.csv"\r\n\r\na,b'
    server.instead["UID FETCH 1 (UID BODY.PEEK[1]"] = b"* 1 FETCH (UID 1 BODY[1]<0> " + body + b")\r\n{tag} OK done\r\n"

    async with aclosing(open_source(server, "INBOX", options={"attachments": True})) as source:
        fetched = await fetch(source, await scan(source), tmp_path / "into")

    assert content_of(fetched["1 X/a.csv"]) == body.strip(b'"').replace(b"NIL", b"")

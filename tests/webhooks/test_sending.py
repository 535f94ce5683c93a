"""One attempt at a delivery: what is signed, and where it may go."""

from ipaddress import ip_address

import pytest

from app.domain.addresses import is_allowed
from app.domain.webhooks import WebhookAddressError, WebhookUrlError
from app.webhooks.sender import WebhookSender
from app.webhooks.signing import make_secret, sign
from app.webhooks.urls import check_url
from tests.receiver import Answer, FakeReceiver

LOCAL = ("127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1")
NEVER = (
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
)


def test_signature_is_that_of_the_specification() -> None:
    """The example that libraries of Standard Webhooks are tested with."""
    headers = sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("address", LOCAL)
def test_private_addresses_are_a_matter_of_the_setting(address: str) -> None:
    """Refused unless allowed, also where an IPv6 address hides one."""
    assert not is_allowed(ip_address(address), allow_private=False)
    assert is_allowed(ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_allowed(address: str) -> None:
    """Above all those at which cloud providers hand out credentials."""
    assert not is_allowed(ip_address(address), allow_private=False)
    assert not is_allowed(ip_address(address), allow_private=True)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    """With or without private ones."""
    assert is_allowed(ip_address(address), allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org/hook",
        "https://",
        "https://bob:geheim@example.org/",
        "https://example.org/#part",
        "https://example.org:port/",
        "https://exa mple.org/",
        "https://" + "a" * 64 + ".org/",
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """With a reason, and without what may be a password."""
    with pytest.raises(WebhookUrlError) as refused:
        check_url(url, allow_private=True)

    assert "geheim" not in refused.value.message


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/", "http://a.localhost/", "http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/"],
)
def test_a_host_that_is_seen_to_be_private_is_refused_at_once(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(WebhookAddressError):
        check_url(url, allow_private=False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001"])
async def test_a_name_that_leads_to_this_machine_is_refused_at_the_attempt(host: str) -> None:
    """However it is written: what it resolves to counts, and nothing is connected to."""
    sender = WebhookSender(timeout_seconds=5, allow_private=False)
    async with FakeReceiver().running() as receiver:
        receipt = await sender.send(f"http://{host}:{receiver.port}/", headers={}, body=b"{}")
    await sender.aclose()

    assert (receipt.status, receipt.error_code) == (None, "webhook_address_refused")
    assert receiver.received == []


async def test_the_receiver_gets_what_was_signed_under_its_own_name() -> None:
    """The name it was given stands in ``Host``, although an address is connected to."""
    sender, secret = WebhookSender(timeout_seconds=5, allow_private=True), make_secret()
    body = b'{"type": "webhook.test"}'
    async with FakeReceiver().running() as receiver:
        url = f"http://localhost:{receiver.port}/hook?a=b"
        receipt = await sender.send(url, headers=sign("id", 1, body, [secret]), body=body)
    await sender.aclose()

    [received] = receiver.received
    assert (receipt.status, receipt.error_code) == (204, None)
    assert received.headers["host"] == f"localhost:{receiver.port}"
    assert received.path == "/hook?a=b"
    assert received.is_signed_with(secret)
    assert not received.is_signed_with(make_secret())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=200), (200, None)),
        (Answer(status=299), (299, None)),
        (Answer(status=500), (500, "webhook_rejected")),
        (Answer(status=404), (404, "webhook_rejected")),
        (Answer(status=410), (410, "webhook_gone")),
        (Answer(status=304), (304, "webhook_redirected")),
        (Answer(closes=True), (None, "webhook_unreachable")),
    ],
)
async def test_every_answer_has_its_code(answer: Answer, expected: tuple[int | None, str | None]) -> None:
    """Only 2xx is a success."""
    sender = WebhookSender(timeout_seconds=5, allow_private=True)
    async with FakeReceiver().running() as receiver:
        receiver.answers.append(answer)
        receipt = await sender.send(receiver.url, headers={}, body=b"{}")
    await sender.aclose()

    assert (receipt.status, receipt.error_code) == expected


async def test_a_redirect_is_not_followed() -> None:
    """Nor to where it would be allowed: one request is made."""
    sender = WebhookSender(timeout_seconds=5, allow_private=True)
    async with FakeReceiver().running() as elsewhere, FakeReceiver().running() as receiver:
        for location in ("http://169.254.169.254/latest/meta-data/", elsewhere.url):
            receiver.answers.append(Answer(status=302, headers={"Location": location}))
        receipts = [await sender.send(receiver.url, headers={}, body=b"{}") for _ in range(2)]
    await sender.aclose()

    assert {receipt.error_code for receipt in receipts} == {"webhook_redirected"}
    assert len(receiver.received) == 2
    assert elsewhere.received == []


async def test_a_receiver_that_does_not_answer_is_left() -> None:
    """After the timeout, with its code; also one that nobody listens at, or whose name there is not."""
    sender = WebhookSender(timeout_seconds=0.2, allow_private=True)
    async with FakeReceiver().running() as receiver:
        receiver.free.clear()
        silent = await sender.send(receiver.url, headers={}, body=b"{}")
    closed = await sender.send(receiver.url, headers={}, body=b"{}")
    patient = WebhookSender(timeout_seconds=20, allow_private=True)
    unknown = await patient.send("http://nobody.invalid/", headers={}, body=b"{}")
    await sender.aclose()
    await patient.aclose()

    assert silent.error_code == "webhook_timeout"
    assert closed.error_code == "webhook_unreachable"
    assert unknown.error_code == "webhook_unreachable"


async def test_a_retry_after_is_handed_on() -> None:
    """As seconds."""
    sender = WebhookSender(timeout_seconds=5, allow_private=True)
    async with FakeReceiver().running() as receiver:
        receiver.answers.append(Answer(status=503, headers={"Retry-After": "120"}))
        receipt = await sender.send(receiver.url, headers={}, body=b"{}")
    await sender.aclose()

    assert receipt.retry_after_seconds == 120

"""Nothing secret or personal stays in a text that is stored, published or logged."""

import pytest

from app.domain.sanitising import LONGEST_INPUT, LONGEST_MESSAGE, is_secret_name, sanitise

KEY_BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://bob:hunter2@db:5432/x refused", "postgresql://<secret>@db:5432/x refused"),
        ("postgresql://bob:hun@ter/2@db/x refused", "postgresql://<secret>@db/x refused"),
        ("redis://:hunter2@cache:6379/0", "redis://<secret>@cache:6379/0"),
        ("cannot clone https://ghtoken@git.example/x.git", "cannot clone https://<secret>@git.example/x.git"),
        ("GET https://h/v1?a=1&api_key=k1&b=2", "GET https://h/v1?a=1&api_key=<secret>&b=2"),
        ("GET https://h/v1?key=k1", "GET https://h/v1?key=<secret>"),
        (
            "https://b.s3/x?X-Amz-Credential=AK&X-Amz-Date=1",
            "https://b.s3/x?X-Amz-Credential=<secret>&X-Amz-Date=<secret>",
        ),
        ("https://x.blob/y?sv=1&sig=abc%3D", "https://x.blob/y?sv=1&sig=<secret>"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: <secret>"),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "{'authorization': '<secret>'}"),
        ("sent bearer abc.def-ghi, refused", "sent bearer <secret>, refused"),
        ("host=db password=hunter2 user=bob", "host=db password=<secret> user=bob"),
        ('{"password": "hunter 2", "n": 1}', '{"password": <secret>, "n": 1}'),
        (r"{\"client_secret\": \"hunter 2\"}", r"{\"client_secret\": <secret>}"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY=<secret>"),
        ("signed with wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY today", "signed with <secret> today"),
        ("the id AKIAIOSFODNN7EXAMPLE is unknown", "the id <secret> is unknown"),
        ("key vcl_0123456789abcdefghijABCDEF", "key <secret>"),
        ("token ghp_0123456789abcdefghijABCDEF refused", "token <secret> refused"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0x.abc", "jwt <secret>"),
        (f"cannot load {KEY_BLOCK} from disk", "cannot load <secret> from disk"),
        (f"cannot load {KEY_BLOCK[:40]}", "cannot load <secret>"),
        ("written by bob.smith+x@mail.example.org.", "written by <email>."),
        ("cannot read /home/bob/a/b.md", "cannot read ~/a/b.md"),
        ("nothing at file:///home/bob/docs", "nothing at file://~/docs"),
        ("cannot read /Users/bob/a.md", "cannot read ~/a.md"),
        ("cannot read /root/a.md", "cannot read ~/a.md"),
        (r"cannot read C:\Users\Bob Smith\a.md", r"cannot read ~\a.md"),
        (r"cannot read c:\\Users\\bob\\a.md", r"cannot read ~\\a.md"),
        ("cannot write /tmp/x1/a", "cannot write <tmp>/x1/a"),
        ("cannot write /var/folders/zz/abc123/T/a", "cannot write <tmp>/a"),
        (r"cannot write C:\Users\bob\AppData\Local\Temp\a", r"cannot write <tmp>\a"),
    ],
)
def test_a_secret_goes_and_the_rest_stays(text: str, expected: str) -> None:
    """What may not be seen is replaced, so that the message still says what happened."""
    assert sanitise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the model server refuses with 422: tokens: 512, at most 256",
        "password authentication failed for the user",
        "https://example.org:8080/path?page=2",
        "sha1 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 differs",
        "operation 2f0c4b0e-6a86-4f5e-9d8a-3a3f6f1f0c11 does not exist",
        "nothing readable at /srv/home/handbook; check /tmpfs",
        "Grüße, 世界: 3 of 7 documents\n\tare gone",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """A message that holds nothing secret is not changed."""
    assert sanitise(text) == text


def test_control_characters_go() -> None:
    """What Postgres refuses or a terminal obeys is replaced; lines stay lines."""
    assert sanitise("a\x00b\x1b[31mc\u202ed\ud800e\r\nf") == "a\ufffdb\ufffd[31mc\ufffdd\ufffde\nf"


def test_a_message_has_an_end() -> None:
    """A long text is cut and says so, and cutting never uncovers half a secret."""
    head = ("password=" + "x" * 900 + " ") * 17
    url = "postgresql://bob:hunter2"
    head += "y" * (LONGEST_INPUT - len(head) - len(url) - 1) + " "

    plain = sanitise("word " * 10_000)
    hidden = sanitise(f"{head}{url}@db")

    assert (len(plain), plain[-1]) == (LONGEST_MESSAGE, "…")
    assert hidden.endswith("yyy")


@pytest.mark.parametrize("name", ["password", "api_key", "VECLOOM_API_KEY", "lease_token", "Authorization", "cookie"])
def test_a_field_is_secret_by_its_name(name: str) -> None:
    """Fields of a log line are left out by their names too."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokens", "key_count", "operation_id", "route", "passed"])
def test_other_fields_are_not(name: str) -> None:
    """Counting tokens is no secret."""
    assert not is_secret_name(name)

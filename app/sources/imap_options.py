"""What may be said of a mailbox, and how its server is told who we are."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from app.domain.errors import InvalidSourceError

KNOWN = ("since", "attachments", "subfolders", "max_messages", "plain")
SECRETS = ("user", "password", "token")
MOST_MESSAGES = 1_000_000
MOST_DAYS = 36_500
LONGEST_SECRET = 16_384
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapOptions:
    """What a caller may say of a mailbox.

    Attributes:
        since: a date, or how many days back: older messages are no documents.
        attachments: whether attachments are documents of their own.
        subfolders: whether the folders below the first one belong to the source.
        max_messages: most messages of a scan, the newest of each folder first.
        plain: whether ``imap://`` may go on without encryption where the server offers none.
    """

    since: date | int | None = None
    attachments: bool = True
    subfolders: bool = True
    max_messages: int = 100_000
    plain: bool = False

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "ImapOptions":
        """Options as they are stored.

        Raises:
            InvalidSourceError: if one is unknown, or has a value that it cannot have.
        """
        read: dict[str, Any] = {}
        for name, value in said.items():
            if name not in KNOWN:
                raise InvalidSourceError(f"a mailbox has no option {name!r}; it has {', '.join(KNOWN)}")
            if name == "since":
                read[name] = _read_since(value)
            elif name == "max_messages":
                read[name] = _read_number(name, value, MOST_MESSAGES)
            elif isinstance(value, bool):
                read[name] = value
            else:
                raise InvalidSourceError(f"{name} is true or false")
        return cls(**read)

    @property
    def criteria(self) -> str:
        """How the server is asked for the messages that are documents."""
        if self.since is None:
            return "UNDELETED"
        since = self.since
        first = since if isinstance(since, date) else datetime.now(UTC).date() - timedelta(days=since)
        return f"UNDELETED SINCE {first.day}-{MONTHS[first.month - 1]}-{first.year:04}"


def _read_number(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise InvalidSourceError(f"{name} is a number from 1 to {most}")
    return value


def _read_since(value: object) -> date | int:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise InvalidSourceError("since is a date, as 2024-01-31, or a number of days") from None
    return _read_number("since", value, MOST_DAYS)


def check_imap_secrets(secrets: Mapping[str, str]) -> None:
    """Raises InvalidSourceError if they are not a user with a password or a token."""
    for name, value in secrets.items():
        if name not in SECRETS:
            raise InvalidSourceError(f"a mailbox has no secret {name!r}; it has {', '.join(SECRETS)}")
        if not value.isprintable() or len(value) > LONGEST_SECRET:
            raise InvalidSourceError(f"the secret {name!r} has characters that no login has, or too many")
    if "token" in secrets and "password" in secrets:
        raise InvalidSourceError("a mailbox takes a password or a token, not both")


def login_lines(secrets: Mapping[str, str], capabilities: frozenset[str], *, host: str, port: int) -> list[bytes]:
    """A command and what follows when the server asks for more; nothing if it knows no way that we do."""
    user = secrets["user"]
    if (token := secrets.get("token")) is not None:
        if "AUTH=OAUTHBEARER" in capabilities:
            name = user.replace("=", "=3D").replace(",", "=2C")
            said = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01"
            return [b"AUTHENTICATE OAUTHBEARER", b64encode(said.encode())]
        # a server that does not say so may know it all the same, and would refuse it otherwise
        return [b"AUTHENTICATE XOAUTH2", b64encode(f"user={user}\x01auth=Bearer {token}\x01\x01".encode())]
    password = secrets["password"]
    if "AUTH=PLAIN" in capabilities:
        return [b"AUTHENTICATE PLAIN", b64encode(f"\0{user}\0{password}".encode())]
    if "LOGINDISABLED" in capabilities:
        return []
    encoded, word = user.encode(), password.encode()
    return [f"LOGIN {{{len(encoded)}}}".encode(), encoded + f" {{{len(word)}}}".encode(), word]

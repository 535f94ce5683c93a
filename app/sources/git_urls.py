"""URLs of git repositories, and what may be said of one. Nothing in them can become an option of a program."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.domain.errors import InvalidSourceError, UnsupportedSourceError

PREFIX = "git+"
GIT_SCHEMES = ("http", "https", "ssh", "file")
PORTS = {"http": 80, "https": 443, "ssh": 22}
LONGEST = 2000
URL = re.compile(
    r"(?i:git\+)?(?i:(?P<scheme>https?|ssh|file))://(?P<authority>[^/?#]*)(?P<path>/[^\x00-\x20\x7f?#\\]+)"
)
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
UNUSABLE = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[-/.]|[/.]$|^@$")
"""What git takes in no name of a branch, and what would be an option."""
OPTIONS = ("branch", "folder")
SECRETS = {"ssh": ("ssh_key", "known_hosts"), "file": (), "http": ("user", "password", "token")}
LONGEST_SECRET = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GitUrl:
    """Where a repository is.

    Attributes:
        host: a name, or an address without brackets; empty for one of this machine.
        port: None where the URL has none.
        path: from the first ``/`` on, as the URL has it.
    """

    scheme: str
    host: str
    port: int | None
    user: str
    path: str

    @classmethod
    def of(cls, url: str) -> "GitUrl":
        """Raises UnsupportedSourceError if it is none, without quoting it: it may hold a password."""
        found = URL.fullmatch(url) if len(url) <= LONGEST else None
        if found is None:
            raise UnsupportedSourceError(
                "a git repository is named as git+https://host/path.git, git+ssh://user@host/path.git or"
                " git+file:///path, without spaces, ? and #"
            )
        scheme = found["scheme"].lower()
        user, host, port = _split(found["authority"])
        if scheme == "file" and found["authority"].lower() not in {"", "localhost"}:
            raise UnsupportedSourceError("git+file:// names a folder of this machine, as in git+file:///srv/repository")
        if scheme != "file" and not HOST.fullmatch(host):
            raise UnsupportedSourceError("the URL of a git repository needs the name of a host, in ASCII")
        if user and (scheme != "ssh" or not USER.fullmatch(user)):
            raise UnsupportedSourceError("the URL of a git repository may name a user for ssh alone, and no password")
        return cls(scheme=scheme, host=host.strip("[]").lower(), port=port, user=user, path=found["path"])

    @property
    def place(self) -> str:
        """What git is told; has no secrets."""
        if self.scheme == "file":
            return f"file://{self.path}"
        login = f"{self.user or 'git'}@" if self.scheme == "ssh" else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{login}{host}{'' if self.port is None else f':{self.port}'}{self.path}"

    @property
    def dialled(self) -> int:
        """The port that is connected to."""
        return self.port or PORTS[self.scheme]


def _split(authority: str) -> tuple[str, str, int | None]:
    user, _, place = authority.rpartition("@")
    try:
        port = urlsplit(f"//{place}").port
    except ValueError as error:
        raise UnsupportedSourceError("the port in the URL of the repository is none") from error
    host = place if place.endswith("]") or ":" not in place else place.rpartition(":")[0]
    return user, host, port or None


def is_git(url: str) -> bool:
    """Whether a URL is read as a repository: ``git+…://`` always, ``http(s)://`` if its path ends with ``.git``."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return False
    if scheme.lower().startswith(PREFIX):
        return scheme.lower().removeprefix(PREFIX) in GIT_SCHEMES
    path = rest.partition("/")[2]
    return scheme.lower() in {"http", "https"} and path.endswith(".git") and "?" not in path and "#" not in path


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOptions:
    """Which part of a repository is read; an empty ``branch`` is the one that the server calls ``HEAD``."""

    branch: str = ""
    folder: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "GitOptions":
        """Raises InvalidSourceError."""
        for name, value in options.items():
            if name not in OPTIONS:
                raise InvalidSourceError(f"a git repository has no option {name!r}; it has {', '.join(OPTIONS)}")
            if not isinstance(value, str) or not value or len(value) > LONGEST:
                raise InvalidSourceError(f"the option {name!r} is a text")
        branch, folder = str(options.get("branch", "")), str(options.get("folder", "")).strip("/")
        if UNUSABLE.search(branch):
            raise InvalidSourceError("the option 'branch' is the name of a branch or a tag, as git has them")
        if "\0" in folder or any(part in {"", ".", ".."} for part in folder.split("/") if folder):
            raise InvalidSourceError("the option 'folder' is a path below the root of the repository, as docs/guides")
        return cls(branch=branch, folder=folder)


def check_git(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Refuse what no repository could be read with.

    Raises:
        UnsupportedSourceError, InvalidSourceError: saying what could be.
    """
    scheme = GitUrl.of(url).scheme
    GitOptions.of(options)
    known = SECRETS["http" if scheme == "https" else scheme]
    for name, value in secrets.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise InvalidSourceError(f"git over {scheme} has no secret {name!r}; {has}")
        if not value or len(value) > LONGEST_SECRET or "\0" in value:
            raise InvalidSourceError(f"the secret {name!r} is empty, too long, or no text")
    if "token" in secrets and "password" in secrets:
        raise InvalidSourceError("give a token or a password, not both")

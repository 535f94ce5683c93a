"""File systems elsewhere: which there are, what may be said of each, and how they are opened. Runs in threads."""

import importlib
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from app.domain.errors import (
    AddressNotAllowedError,
    InvalidSourceError,
    SourceLibraryMissingError,
    SourceNotFoundError,
    UnsupportedSourceError,
)
from app.sources.addresses import is_public
from app.sources.directory import resolve_source_path
from app.sources.gitignore import OPTION, is_honoured
from app.sources.web_login import make_login

CHAIN = "::"
ACCOUNT = re.compile(r"[a-z0-9-]{1,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What may be said of a file system, and what its library is always told.

    Attributes:
        library: the module that has to be installed, and the package that brings it.
        options: their names, as the library has them.
        secrets: the library's names, by ours.
        always: what the library is told in any case.
        anonymous: what it is told without secrets, so that it does not use those of this server's environment.
        has_host: whether its URL names a host, which is resolved here, once.
        holds: whether it reads a file of the file system that follows after ``::``.
    """

    library: tuple[str, str] | None = None
    options: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    anonymous: Mapping[str, Any] = field(default_factory=dict)
    has_host: bool = False
    holds: bool = False


_LOGIN = {"user": "username", "password": "password"}
_SFTP = Protocol(
    library=("paramiko", "paramiko"), secrets=_LOGIN, always={"allow_agent": False, "look_for_keys": False},
    has_host=True,
)  # fmt: skip
_S3 = Protocol(
    library=("s3fs", "s3fs"), options=frozenset({"endpoint_url", "requester_pays"}),
    secrets={"key": "key", "secret": "secret", "token": "token"}, anonymous={"anon": True},
)  # fmt: skip
_GCS = Protocol(
    library=("gcsfs", "gcsfs"), options=frozenset({"project", "requester_pays"}), secrets={"token": "token"},
    anonymous={"token": "anon"},
)  # fmt: skip
_AZURE = Protocol(
    library=("adlfs", "adlfs"), options=frozenset({"account_name", "tenant_id", "client_id"}),
    secrets={"account_key": "account_key", "sas_token": "sas_token", "client_secret": "client_secret"},
    anonymous={"anon": True},
)  # fmt: skip
_HTTP = Protocol(secrets={"user": "user", "password": "password", "token": "token"})
PROTOCOLS: dict[str, Protocol] = {
    "memory": Protocol(),
    "zip": Protocol(holds=True),
    "tar": Protocol(holds=True),
    "http": _HTTP,
    "https": _HTTP,
    "ftp": Protocol(secrets=_LOGIN, has_host=True),
    "sftp": _SFTP,
    "ssh": _SFTP,
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
    "az": _AZURE,
    "abfs": _AZURE,
    "github": Protocol(library=("requests", "requests"), secrets={"user": "username", "token": "token"}),
    "hf": Protocol(
        library=("huggingface_hub", "huggingface_hub"), secrets={"token": "token"}, anonymous={"token": False}
    ),
}  # fmt: skip


def split_chain(url: str) -> list[str]:
    """``zip://docs`` and ``https://host/a.zip`` of ``zip://docs::https://host/a.zip``.

    Raises:
        UnsupportedSourceError: if a part cannot be read, or not there.
    """
    parts = url.split(CHAIN)
    for place, part in enumerate(parts):
        scheme, separator, _ = part.partition("://")
        protocol = PROTOCOLS.get(scheme)
        is_last = place == len(parts) - 1
        if is_last and place and (not separator or scheme == "file"):
            continue
        if protocol is None:
            known = ", ".join(sorted(PROTOCOLS))
            raise UnsupportedSourceError(f"a source cannot be read from {scheme!r}; there are {known}")
        if protocol.holds is is_last:
            advice = f"{scheme}://FOLDER::URL-OF-THE-ARCHIVE" if protocol.holds else "only zip and tar hold others"
            raise UnsupportedSourceError(f"{scheme}:// cannot stand there; write {advice}")
    return parts


def _protocol_of(part: str) -> Protocol | None:
    """None of a path of this machine."""
    return PROTOCOLS.get(part.partition("://")[0]) if "://" in part else None


def check_filesystem(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Refuse what no file system could be opened with.

    Raises:
        UnsupportedSourceError, InvalidSourceError: saying what could be.
    """
    last = split_chain(url)[-1]
    protocol = _protocol_of(last) or Protocol()
    scheme = last.partition("://")[0]
    is_honoured(options)
    known_options = protocol.options | {OPTION}
    for what, said, known in (("option", options, known_options), ("secret", secrets, protocol.secrets)):
        for name in said:
            if name not in known:
                has = f"it has {', '.join(sorted(known))}" if known else "it has none"
                raise InvalidSourceError(f"{scheme}:// has no {what} {name!r}; {has}")
    if scheme in {"gs", "gcs"} and "token" in secrets:
        _read_json(secrets["token"])
    if not ACCOUNT.fullmatch(str(options.get("account_name", "x"))):
        raise InvalidSourceError("account_name has small letters, digits and hyphens alone")


def _read_json(token: str) -> dict[str, Any]:
    """A service account's key; the library would take other texts for paths of this machine."""
    try:
        read = orjson.loads(token)
    except orjson.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        raise InvalidSourceError("the secret 'token' is the JSON of a service account's key, not the path to it")
    return read


class Guard:
    """Lets connections through to allowed addresses, and remembers what it did."""

    def __init__(self, *, allow_private: bool) -> None:
        self.refused: str | None = None
        self.sessions: list[Any] = []
        self._allow_private = allow_private

    def require(self, host: str, port: int = 0) -> str:
        """An address of a host that may be connected to.

        Raises:
            AddressNotAllowedError: if any of its addresses is not public.
            SourceNotFoundError: if it has none.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise SourceNotFoundError(host) from error
        addresses = [str(address[0]) for *_, address in found]
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise AddressNotAllowedError(host)
        return addresses[0]

    def make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket to connect to this very address with; see ``aiohttp.TCPConnector``."""
        family, kind, number, _, place = address
        if not self._allow_private and not is_public(str(place[0])):
            self.refused = str(place[0])
            raise PermissionError("the address is not public")
        opened = socket.socket(family=family, type=kind, proto=number)
        opened.settimeout(0)
        return opened

    def client_maker(self, secrets: Mapping[str, str]) -> Callable[..., Any]:
        """What makes the HTTP client of a file system, in its own event loop."""

        async def make_client(**options: Any) -> Any:  # noqa: ANN401 — another library's
            import aiohttp  # noqa: PLC0415 — most workers never need it here

            connector = aiohttp.TCPConnector(socket_factory=self.make_socket)
            session = aiohttp.ClientSession(connector=connector, headers=make_login(secrets), **options)
            self.sessions.append(session)
            return session

        return make_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file system and the path in it that a source begins at."""

    filesystem: Any
    root: str

    def place_of(self, relative: str) -> str:
        """The library's path of what lies below the root."""
        if not relative:
            return self.root
        return f"{self.root.rstrip('/')}/{relative}" if self.root else relative


def open_filesystem(
    url: str, *, options: Mapping[str, Any], secrets: Mapping[str, str], roots: Sequence[Path], guard: Guard
) -> Opened:
    """Open what a chain of URLs leads to.

    Raises:
        AddressNotAllowedError, SourceNotAllowedError: if it leads where this server may not go.
        SourceLibraryMissingError: if it needs a library that is not installed.
        Exception: whatever the library raises.
    """
    import fsspec  # noqa: PLC0415 — most workers never need it

    check_filesystem(url, options, secrets)
    parts = split_chain(url)
    told: dict[str, dict[str, Any]] = {}
    for place, part in enumerate(parts):
        protocol = _protocol_of(part)
        if protocol is None:
            parts[place] = resolve_source_path(part, roots).as_uri()
            continue
        _require_library(part, protocol)
        is_last = place == len(parts) - 1
        scheme = part.partition("://")[0]
        told[scheme] = {"skip_instance_cache": True, **protocol.always}
        if protocol.has_host:
            parts[place] = _pin(part, guard)
        if is_last:
            told[scheme] |= _tell(scheme, protocol, options, secrets, guard)
    filesystem, root = fsspec.url_to_fs(CHAIN.join(parts), **told)
    return Opened(filesystem=filesystem, root=str(root))


def _require_library(part: str, protocol: Protocol) -> None:
    if protocol.library is None:
        return
    module, package = protocol.library
    try:
        importlib.import_module(module)
    except ImportError as error:
        scheme = part.partition("://")[0]
        raise SourceLibraryMissingError(
            f"sources of {scheme}:// need a library: pip install '{package}' on all servers and workers"
        ) from error


def _tell(
    scheme: str, protocol: Protocol, options: Mapping[str, Any], secrets: Mapping[str, str], guard: Guard
) -> dict[str, Any]:
    if protocol is _HTTP:
        return {"get_client": guard.client_maker(secrets)}
    for value in options.values():
        if isinstance(value, str) and "://" in value:
            guard.require(urlsplit(value).hostname or "")
    login: dict[str, Any] = {protocol.secrets[name]: value for name, value in secrets.items()}
    if scheme in {"gs", "gcs"} and login:
        login["token"] = _read_json(login["token"])
    return {**options, **(login or protocol.anonymous)}


def _pin(part: str, guard: Guard) -> str:
    """The same URL with an address that was checked in place of the host, so that it is not asked for again."""
    parts = urlsplit(part)
    address = guard.require(parts.hostname or "", parts.port or 0)
    shown = f"[{address}]" if ":" in address else address
    place = shown if parts.port is None else f"{shown}:{parts.port}"
    return urlunsplit((parts.scheme, place, parts.path, parts.query, ""))

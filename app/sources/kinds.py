"""Which adapter reads a source, by its URL alone, and what may be said of one."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from app.domain.documents import SourceKind
from app.domain.errors import InvalidSourceError, UnsupportedSourceError
from app.domain.uploads import URL as UPLOADS
from app.sources.git_urls import GIT_SCHEMES, PREFIX, check_git, is_git
from app.sources.gitignore import OPTION, is_honoured
from app.sources.imap_names import MailboxUrl
from app.sources.imap_options import ImapOptions, check_imap_secrets
from app.sources.protocols import PROTOCOLS, check_filesystem
from app.sources.web_login import check_web_secrets
from app.sources.web_options import WebOptions
from app.sources.web_urls import normalise

KINDS_BY_SCHEME: dict[str, SourceKind] = {
    "file": SourceKind.DIRECTORY,
    "http": SourceKind.WEB,
    "https": SourceKind.WEB,
    "imap": SourceKind.IMAP,
    "imaps": SourceKind.IMAP,
    "upload": SourceKind.UPLOAD,
    **{f"{PREFIX}{scheme}": SourceKind.GIT for scheme in GIT_SCHEMES},
    **{scheme: SourceKind.FILESYSTEM for scheme in PROTOCOLS if scheme not in {"http", "https"}},
}
"""In small letters, without ``://``."""
LOGIN = re.compile(r"(?<=://)([^/?#]*)@")


def kind_of(url: str) -> SourceKind:
    """The kind of a URL or path; what has no ``://`` is a path, whatever characters it has.

    Raises:
        UnsupportedSourceError: if no adapter reads URLs of its scheme.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        return SourceKind.DIRECTORY
    if is_git(url):
        return SourceKind.GIT
    kind = KINDS_BY_SCHEME.get(scheme.lower())
    if kind is None:
        known = ", ".join(f"{name}://" for name in sorted(KINDS_BY_SCHEME))
        raise UnsupportedSourceError(f"sources of kind {scheme!r} are not supported; give a folder, or one of {known}")
    return kind


def split_login(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its login, and that as secrets ``user`` and ``password``. A path stays as it is."""
    # a repository of github:// is written as owner:name@branch; the user of git over SSH belongs to the place
    may_have = "://" in url and not url.lower().startswith(("file:", "github:", "git+ssh:", "git+file:"))
    found = LOGIN.search(url) if may_have else None
    if found is None:
        return url, {}
    user, _, password = found.group(1).partition(":")
    said = {"user": unquote(user), "password": unquote(password)}
    return LOGIN.sub("", url), {name: value for name, value in said.items() if value}


def _check_directory(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:  # noqa: ARG001 — one of several checks
    if secrets:
        raise InvalidSourceError("a folder has no secrets")
    for name in options:
        if name != OPTION:
            raise InvalidSourceError(f"a folder has no option {name!r}; it has {OPTION}")
    is_honoured(options)


def _check_web(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    normalise(url)
    WebOptions.of(options)
    check_web_secrets(secrets)


def _check_imap(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    MailboxUrl.of(url)
    ImapOptions.of(options)
    check_imap_secrets(secrets)


def _check_upload(url: str, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    if url != UPLOADS:
        raise UnsupportedSourceError(f"a collection has one place for uploads, {UPLOADS}")
    if options or secrets:
        raise InvalidSourceError("uploads have no options and no secrets")


CHECKS: dict[SourceKind, Callable[[str, Mapping[str, Any], Mapping[str, str]], None]] = {
    SourceKind.DIRECTORY: _check_directory,
    SourceKind.WEB: _check_web,
    SourceKind.FILESYSTEM: check_filesystem,
    SourceKind.IMAP: _check_imap,
    SourceKind.UPLOAD: _check_upload,
    SourceKind.GIT: check_git,
}


def check_source(kind: SourceKind, url: str, *, options: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Refuse what no adapter could be opened with.

    Raises:
        InvalidSourceError: if an option or a secret is unknown or has a value that it cannot have.
        UnsupportedSourceError: if the URL is none of this kind.
    """
    check = CHECKS.get(kind)
    if check is not None:
        check(url, options, secrets)

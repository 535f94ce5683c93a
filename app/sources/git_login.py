"""How git is led to the very address that was checked, and told who we are, without a word on a command line."""

import os
import shlex
import shutil
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.errors import SourceLibraryMissingError, SourceNotAllowedError, SourceRefusesAccessError
from app.sources.addresses import resolve_allowed
from app.sources.directory import resolve_source_path
from app.sources.git_command import LOCAL
from app.sources.git_urls import PORTS, GitUrl

TOKEN_USER = "oauth2"  # noqa: S105 — a name, not a token
"""GitLab wants this one beside a token, GitHub and the others any."""
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
NOTHING = "/dev/null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How git gets there: its settings, which may be secret, and its variables."""

    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)


async def find_way(
    place: GitUrl, secrets: Mapping[str, str], *, desk: Path, roots: Sequence[Path], allow_private: bool
) -> Way:
    """Resolve the host once, and write to the private folder ``desk`` what git and ssh are to read.

    Raises:
        AddressNotAllowedError, SourceNotAllowedError: if it leads where this server may not go.
        SourceRefusesAccessError: if it cannot be asked without a login.
        SourceLibraryMissingError: if ssh is not installed.
    """
    if place.scheme == "file":
        require_inside(place, roots)
        _write(desk / "gitconfig", LOCAL)
        return Way()
    _write(desk / "gitconfig", "")
    addresses = await resolve_allowed(place.host, place.dialled, allow_private=allow_private)
    if place.scheme == "ssh":
        return _over_ssh(place, secrets, addresses[0], desk)
    return _over_http(place, secrets, addresses)


def _over_http(place: GitUrl, secrets: Mapping[str, str], addresses: Sequence[str]) -> Way:
    listed = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
    settings = {}
    if place.host not in addresses:
        settings["http.curloptResolve"] = f"{place.host}:{place.dialled}:{listed}"
    if secrets:
        password = secrets.get("token", secrets.get("password", ""))
        pair = f"{secrets.get('user', TOKEN_USER if 'token' in secrets else '')}:{password}"
        settings["http.extraHeader"] = f"Authorization: Basic {b64encode(pair.encode()).decode()}"
    authority = os.environ.get("SSL_CERT_FILE")
    return Way(settings=settings, environment={"GIT_SSL_CAINFO": authority} if authority else {})


def _over_ssh(place: GitUrl, secrets: Mapping[str, str], address: str, desk: Path) -> Way:
    ssh = shutil.which("ssh")
    if ssh is None:
        raise SourceLibraryMissingError("git over SSH needs the program ssh: install it on all servers and workers")
    if "ssh_key" not in secrets:
        raise SourceRefusesAccessError("git over SSH needs the secret ssh_key, a private key without a passphrase")
    _write(desk / "key", f"{secrets['ssh_key'].replace(chr(13), '').strip()}\n")
    knows = "known_hosts" in secrets
    if knows:
        _write(desk / "known_hosts", f"{secrets['known_hosts'].replace(chr(13), '')}\n")
    lines = {
        "HostName": address,
        "HostKeyAlias": place.host if place.dialled == PORTS["ssh"] else f"[{place.host}]:{place.dialled}",
        "CheckHostIP": "no",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": _quoted(desk / "known_hosts") if knows else NOTHING,
        "GlobalKnownHostsFile": NOTHING if knows else SYSTEM_KNOWN_HOSTS,
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "IdentityFile": _quoted(desk / "key"),
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
        "ControlPath": "none",
        "ConnectTimeout": "15",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
    }
    text = "\n".join(["Host *", *(f"  {name} {value}" for name, value in lines.items()), ""])
    _write(desk / "ssh_config", text)
    command = f"{shlex.quote(ssh)} -F {shlex.quote(str(desk / 'ssh_config'))}"
    return Way(environment={"GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "ssh"})


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


def _write(file: Path, text: str) -> None:
    """A file that nobody else can read, not even for a moment."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as opened:
        opened.write(text)


def require_inside(place: GitUrl, roots: Sequence[Path]) -> None:
    """Refuse a repository of this machine that lies outside of ``roots``, or that borrows from outside of them.

    Raises:
        SourceNotAllowedError: if it does.
    """
    root = resolve_source_path(place.place, roots)
    if not roots:
        return
    for folder in (root, root / ".git", root.with_name(f"{root.name}.git")):
        if folder.name.endswith(".git") and folder.is_file():
            raise SourceNotAllowedError("that is a worktree of another repository; give that one")
        for inner in (folder, folder / "objects", folder / "refs"):
            if inner.exists():
                resolve_source_path(str(inner), roots)
        if any((folder / lent).exists() for lent in ("objects/info/alternates", "commondir")):
            raise SourceNotAllowedError("the repository borrows from another one, which may lie elsewhere")

"""What Vecloom is built on: permissive licences, and a lock that names every file by its hash."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
COPYLEFT = re.compile(
    r"\b[AL]?GPL|\bMPL|\bEPL|\bSSPL|General Public|Mozilla Public|Business Source|Elastic", re.IGNORECASE
)
EXCEPTIONS = {"orjson"}
"""Reasons stand in ``docs/decisions/0003-wcmatch-not-pathspec.md``."""


def name_of(requirement: str) -> str:
    """``uvloop>=0.21; sys_platform != 'win32'`` → ``uvloop``."""
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]


SHIPPED = sorted(
    name_of(requirement)
    for requirements in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    )
    for requirement in requirements
)
DEVELOPMENT = sorted(name_of(requirement) for requirement in PROJECT["dependency-groups"]["dev"])


def licence_of(package: str) -> str:
    """What a package says about its own licence, as short as it says it."""
    about = metadata.metadata(package)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    return about["License-Expression"] or ", ".join(classifiers) or (about["License"] or "").strip().split("\n")[0]


@pytest.mark.parametrize("package", SHIPPED)
def test_licence_is_permissive(package: str) -> None:
    """A dependency of the running service says which licence it has, and that is no copyleft."""
    licence = licence_of(package)

    assert licence
    assert package in EXCEPTIONS or not COPYLEFT.search(licence), licence


def test_exceptions_are_still_needed() -> None:
    """An exception whose reason is gone is removed."""
    needed = {package for package in EXCEPTIONS if COPYLEFT.search(licence_of(package))}

    assert needed == EXCEPTIONS


@pytest.mark.parametrize("package", SHIPPED + DEVELOPMENT)
def test_lock_has_a_hash_for_every_dependency(package: str) -> None:
    """The lock pins every dependency of every extra and of the development tools."""
    pinned = re.search(rf"^{re.escape(package)}==[^\\\n]+\\\n    --hash=sha256:[0-9a-f]{{64}}", LOCK, re.MULTILINE)

    assert pinned


def test_lock_names_no_place() -> None:
    """The lock says what to install, never where from."""
    lines = LOCK.splitlines()

    assert not [line for line in lines if "://" in line or line.startswith("-") or " @ " in line]

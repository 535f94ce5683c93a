"""``docs/errors.md`` has every code there is, with its kind."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from app.domain.errors import (
    ConflictError,
    DomainError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    PermanentError,
    PermissionDeniedError,
    TransientError,
)
from app.domain.failures import UnexpectedError

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "errors.md").read_text()
KINDS = (
    (UnexpectedError, "unknown"),
    (TransientError, "transient"),
    (PermanentError, "permanent"),
    (InvalidInputError, "invalid input"),
    (NotAuthenticatedError, "not authenticated"),
    (PermissionDeniedError, "permission denied"),
    (NotFoundError, "not found"),
    (ConflictError, "conflict"),
    (DomainError, "internal"),
)
WITHOUT_CLASS = {
    "dependency_unavailable": "transient",
    "interrupted_too_often": "permanent",
    "invalid_usage": "invalid input",
    "not_confirmed": "invalid input",
    "system_error": "invalid input",
}
"""Written by SQL, the command line or the edge, where no class stands for them."""

WITH_CODE = {"ExtractionError", "MemberError"}
"""Errors that are raised with the code of a document."""

STARTS_A_SERVER = "app.main"


def read_rows(*, columns: int) -> dict[str, str]:
    """The second column of all rows of so many columns, by code."""
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1] for row in rows if len(row) == columns}


OF_CLASSES = {**read_rows(columns=4), **{code: kind for code, kind in read_rows(columns=3).items() if " " not in kind}}
OF_DOCUMENTS = {code: text for code, text in read_rows(columns=3).items() if code not in OF_CLASSES}


def list_subclasses(above: type[DomainError]) -> Iterator[type[DomainError]]:
    """A class and everything below it."""
    yield above
    for below in above.__subclasses__():
        yield from list_subclasses(below)


def read_classes() -> dict[str, str]:
    """Kind of every error class of ``app`` by its code."""
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name != STARTS_A_SERVER:
            importlib.import_module(module.name)
    ours = [error for error in list_subclasses(DomainError) if error.__module__.startswith("app.")]
    return {error.code: next(kind for above, kind in KINDS if issubclass(error, above)) for error in ours}


def read_document_codes() -> set[str]:
    """Every code that reading a source or a document can give a document."""
    rooms = ((ROOT / "app" / room).rglob("*.py") for room in ("pipeline", "sources"))
    nodes = [node for room in rooms for path in room for node in ast.walk(ast.parse(path.read_text()))]
    values: list[ast.expr] = []
    for node in nodes:
        if isinstance(node, ast.Call):
            values += [keyword.value for keyword in node.keywords if keyword.arg == "error_code"]
            values += node.args[:1] if isinstance(node.func, ast.Name) and node.func.id in WITH_CODE else []
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).strip("()").startswith("code"):
            values += node.value.elts[:1] if isinstance(node.value, ast.Tuple) else [node.value]
    constants = [inner for value in values for inner in ast.walk(value) if isinstance(inner, ast.Constant)]
    return {str(constant.value) for constant in constants if re.fullmatch("[a-z_]+", str(constant.value))}


def test_every_error_is_documented_with_its_kind() -> None:
    """The tables name exactly the classes there are; a new class needs a row in ``docs/errors.md``."""
    assert read_classes() | WITHOUT_CLASS == OF_CLASSES


def test_every_code_of_a_document_is_documented() -> None:
    """The table of documents has exactly the codes that the code gives them."""
    assert set(OF_DOCUMENTS) == read_document_codes()


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if line.startswith("| `")])
def test_every_row_says_something(line: str) -> None:
    """No cell is empty."""
    assert all(cell.strip() for cell in line.strip("|").split("|"))


def test_settings_that_are_named_exist() -> None:
    """Every setting the page tells to change is a setting."""
    names = set(re.findall(r"`([A-Z_]{8,})`", PAGE)) - {"REINDEX"}

    documented = (ROOT / "docs" / "settings.md").read_text()

    assert names
    assert all(f"| `{name}` |" in documented for name in names)

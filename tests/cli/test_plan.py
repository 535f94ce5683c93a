"""``vecloom index --dry-run`` as a person and a script use it."""

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from app.cli.plan import estimate_line, plan_exit_code, show_plan
from tests.cli.test_commands import processes_on, started
from tests.harness import run_cli

pytestmark = pytest.mark.timeout(240)

RESULT: dict[str, Any] = {
    "model": "m",
    "files": 12_345,
    "skipped": 2,
    "documents_added": 10_000,
    "documents_changed": 5,
    "documents_removed": 1,
    "unchanged": 7,
    "documents_failed": 3,
    "failed_by_code": {"corrupt_document": 2, "empty_document": 1},
    "needs_ocr": 4,
    "chunks": 70_000,
    "tokens": 1_234_567,
    "reused_chunks": 9,
    "reuse": {"in_place": 4, "copies": 5, "same_run": 0, "cache": 0},
    "would_fail": None,
    "estimate": {"seconds": [12.2, 18.4], "measured_by": "collection", "error_code": None},
    "cost": {"amount": 0.0309, "currency": "$"},
}


async def test_a_dry_run_from_nothing(folder: Path, tmp_path: Path) -> None:
    """One JSON object; then a table with the estimate; the real command's figures are the same, errors exit with 3."""
    data = tmp_path / "data"
    (folder / "empty.txt").touch()
    arguments = ("index", str(folder), "-c", "notes")
    priced = {"VECLOOM_EMBEDDING_PRICE_PER_MILLION_TOKENS": "1000", "VECLOOM_EMBEDDING_PRICE_CURRENCY": "EUR"}

    code, out, err = await run_cli(*arguments, "--dry-run", "--json", data=data)
    shown_code, shown, _ = await run_cli(*arguments, "--dry-run", data=data, **priced)
    missing_code, missing, _ = await run_cli("search", "notes", "whales", "--json", data=data)
    real_code, real, _ = await run_cli(*arguments, "--json", data=data)
    other_code, other, _ = await run_cli(*arguments, "--dry-run", "--chunk-size", "99", "--json", data=data)

    said, done = orjson.loads(out), orjson.loads(real)
    assert (code, shown_code, missing_code, real_code, other_code) == (3, 3, 1, 3, 1), err
    assert set(said) == {"operation_id", "collection_id", "state", "result"}
    assert (said["collection_id"], said["state"]) == (None, "completed")
    assert "empty_document" in err
    same = said["result"].keys() & done["result"].keys() - {"seconds"}
    assert {key: said["result"][key] for key in same} == {key: done["result"][key] for key in same}
    assert f"{said['result']['tokens']} tokens, {said['result']['tokens'] / 1000:.2f} EUR" in shown
    assert orjson.loads(missing)["error"]["code"] == "collection_not_found"
    assert orjson.loads(other)["error"]["code"] == "option_conflict"


async def test_ctrl_c_cancels_it(tmp_path: Path) -> None:
    """Nobody waits for it any more, so it does not go on with the next command."""
    root, data = tmp_path / "large", tmp_path / "data"
    root.mkdir()
    for number in range(2000):
        (root / f"{number}.txt").write_text(f"Entry {number} tells of a whale that sings. " * 300)

    async with started("index", str(root), "-c", "notes", "--dry-run", "--json", data=data) as command:
        await command.wait_for("planning")
        command.interrupt()
        code, out, said = await command.end()
    left = processes_on(data)
    _, listed, _ = await run_cli("ops", "list", "--json", data=data)

    (operation,) = orjson.loads(listed)["operations"]
    assert code == 1
    assert "Traceback" not in said
    assert orjson.loads(out)["error"] == {
        "code": "interrupted",
        "detail": "the dry run was cancelled; nothing was changed",
    }
    assert (operation["kind"], operation["state"], left) == ("PLAN", "cancelled", [])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "about 12-18 s, 1.2 M tokens, $0.03 (by the collection's last operations)"),
        ({"cost": None}, "about 12-18 s, 1.2 M tokens (by the collection's last operations)"),
        (
            {"cost": {"amount": 0.000041, "currency": "EUR"}, "tokens": 950},
            "about 12-18 s, 950 tokens, 0.000041 EUR (by the collection's last operations)",
        ),
        (
            {"estimate": {"seconds": [5400.0, 10800.0], "measured_by": "calibration", "error_code": None}},
            "about 90-180 min, 1.2 M tokens, $0.03 (by embedding one batch with m)",
        ),
        (
            {"estimate": {"seconds": None, "measured_by": None, "error_code": "embedder_unavailable"}},
            "time unknown, 1.2 M tokens, $0.03 (the model does not answer: embedder_unavailable)",
        ),
    ],
)
def test_the_estimate_is_one_line(changes: dict[str, Any], expected: str) -> None:
    """Time, tokens and money, and what the time was measured by."""
    assert estimate_line({**RESULT, **changes}) == expected


def test_what_would_fail_is_said_and_has_its_exit_code() -> None:
    """The figures are shown all the same."""
    failure = {"code": "mass_deletion_guard", "detail": "200 of 210 documents of this source are gone"}
    ended = {"state": "completed", "result": {**RESULT, "would_fail": failure}}
    console = Console(file=io.StringIO(), width=200)

    show_plan(ended, console)

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "12 345  files (2 skipped)" in shown
    assert "5    copies of documents it has" in shown
    assert "would fail mass_deletion_guard: 200 of 210" in shown
    assert (plan_exit_code(ended), plan_exit_code({"state": "completed", "result": RESULT})) == (1, 3)

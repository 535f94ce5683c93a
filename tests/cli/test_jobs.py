"""``vecloom jobs`` on a data folder of its own: the local user may do everything."""

import json
from pathlib import Path

import pytest

from tests.harness import run_cli


async def test_jobs_are_listed_and_done(tmp_path: Path) -> None:
    """JSON is one line and nothing else; a dry run says so; a name that does not exist is an error with status 1."""
    data = tmp_path / "data"
    status, out, _ = await run_cli("jobs", "--json", data=data)
    ran, done, _ = await run_cli("jobs", "run", "cleanup_generations", "--dry-run", "--json", data=data)
    wrong, told, err = await run_cli("jobs", "run", "cleanup_everything", "--json", data=data)

    assert status == 0
    assert "cleanup_generations" in {job["name"] for job in json.loads(out)["jobs"]}
    ended = json.loads(done)
    assert (ran, ended["state"], ended["dry_run"], ended["job"]) == (0, "completed", True, "cleanup_generations")
    assert (wrong, json.loads(told)["error"]["code"]) == (1, "periodic_job_not_found")
    assert "cleanup_generations" in err


async def test_a_person_gets_a_table_and_a_summary(tmp_path: Path) -> None:
    """What a round did is named, one figure a line."""
    data = tmp_path / "data"
    ran, done, _ = await run_cli("jobs", "run", "cleanup_orphans", data=data)
    status, out, _ = await run_cli("jobs", data=data, COLUMNS="200")

    assert (ran, status) == (0, 0)
    assert "cleanup_orphans has done this" in done
    assert "chunks: 0" in done
    (line,) = [line for line in out.splitlines() if line.startswith("cleanup_orphans")]
    assert line.rstrip().endswith("ok")


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"]])
async def test_a_job_has_to_be_named(tmp_path: Path, arguments: list[str]) -> None:
    """Nothing is started for a command that says too little."""
    status, out, err = await run_cli("jobs", *arguments, data=tmp_path / "data")

    assert status == 1
    assert "vecloom jobs run NAME" in err
    assert not (tmp_path / "data").exists()
    if "--json" in arguments:
        assert json.loads(out)["error"]["code"] == "missing_argument"

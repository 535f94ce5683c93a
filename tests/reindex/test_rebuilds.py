"""Whole rebuilds of Cranfield by the operation itself: each passes its gate, or fails it, for the right reason."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.validation import render_report
from app.evaluation.report import read_report
from app.settings import Settings
from tests.harness import Api
from tests.integration.test_reindex import reindex, roll_back, serving
from tests.reindex.generations import CRANFIELD, ProjectedServer, first_numbers
from tests.reindex.test_honest import lifted

DOCUMENTS = 120
SAMPLE = 0.3

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def api(settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    """A part of Cranfield, indexed, and models of other dimensions that can be asked for."""
    if not CRANFIELD.exists():
        pytest.skip("the dataset is not shipped with the project")
    lines = (CRANFIELD / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"".join(lines[:DOCUMENTS]))
    models = (
        ProjectedServer("wide", lifted(384), dimension=384),
        ProjectedServer("widest", lifted(1024), dimension=1024),
        ProjectedServer("crude", first_numbers(8), dimension=8),
    )
    with models[0].running(), models[1].running(), models[2].running():
        async with serving(settings, *models, reindex_gate_sample=SAMPLE) as client:
            created = await client.wait(await client.create("cranfield", corpus))
            assert created["state"] == "completed", created
            yield client


async def test_each_rebuild_passes_or_fails_for_the_right_reason(api: Api) -> None:
    """Nothing, chunks, dimensions up, dimensions down, extraction; the reports are printed."""
    wishes: dict[str, dict[str, Any]] = {
        "no change": {},
        "other chunks": {"chunk_size": 100},
        "384 dimensions": {"model": "wide"},
        "1024 dimensions": {"model": "widest"},
        "a model that knows little": {"model": "crude"},
        "extracted again": {"extract": True},
    }
    reports: dict[str, Any] = {}
    for name, body in wishes.items():
        ended = await api.wait(await reindex(api, "cranfield", **body), seconds=300)
        reports[name] = read_report(ended["result"]["validation"])
        sys.stdout.write(f"\n{name}\n{render_report(ended['result']['validation'])}\n")
        refused = name == "a model that knows little"
        assert (ended["state"], ended["error_code"]) == (
            ("failed", "validation_failed") if refused else ("completed", None)
        ), (name, ended["error_message"])
        if not refused:
            assert (await api.wait(await roll_back(api, "cranfield")))["state"] == "completed"

    overlap = {name: report.check("search_overlap").value for name, report in reports.items()}
    assert overlap["no change"] > 0.95
    assert overlap["extracted again"] > 0.95
    # where chunks or models are others hits may move, and the gate says so
    for name in ("other chunks", "384 dimensions"):
        assert "hits may move" in reports[name].check("search_overlap").summary
    assert reports["other chunks"].check("vector_count").passed
    assert reports["other chunks"].check("vector_count").value > 1.5
    assert reports["1024 dimensions"].check("uniformity").summary.count("1024") == 2
    assert reports["a model that knows little"].failed == ["search_quality"]

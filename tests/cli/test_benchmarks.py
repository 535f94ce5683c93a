"""Measuring a collection from the command line."""

import asyncio
from html.parser import HTMLParser
from pathlib import Path

import ir_measures
import orjson
import pytest
from ir_measures import nDCG

from tests.cli.test_commands import started
from tests.harness import run_cli, wait_until

pytestmark = pytest.mark.timeout(240)

QUERIES = {"1": "large mammals of the ocean", "2": "fuel to leave the atmosphere", "3": "bake dough"}
ANSWERS = {"1": "whales", "2": "rockets", "3": "bread"}


def write_beir(root: Path) -> Path:
    """A dataset in BEIR's layout, whose corpus is not needed."""
    (root / "qrels").mkdir(parents=True)
    lines = [orjson.dumps({"_id": number, "text": text}) for number, text in QUERIES.items()]
    (root / "queries.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    rows = [f"{number}\t{answer}\t1" for number, answer in ANSWERS.items()]
    (root / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return root


async def test_a_collection_is_measured(folder: Path, tmp_path: Path) -> None:
    """With a dataset that lies here; each command keeps the contract of exit codes and JSON."""
    data, dataset, into = tmp_path / "data", write_beir(tmp_path / "judged"), tmp_path / "out"

    async def is_up() -> bool:
        return await asyncio.to_thread((data / "server.json").exists)

    async with started("up", "--port", "0", data=data):
        await wait_until(is_up)
        await run_cli("index", str(folder), "--collection", "notes", data=data)

        first = await run_cli("bench", "notes", "--dataset", str(dataset), "--json", data=data)
        baseline = orjson.loads(first[1])["benchmark_id"]
        told = await run_cli(
            "bench", "notes", "--dataset", "judged", "--modes", "bm25,hybrid", "--out", str(into), data=data
        )
        held = await run_cli(
            *("bench", "notes", "--dataset", str(dataset), "--modes", "hybrid", "--baseline", baseline),
            *("--fail-if", "ndcg@10 < baseline - 0.01", "--json"),
            data=data,
        )
        broken = await run_cli(
            *("bench", "notes", "--dataset", "judged", "--runs", '[{"mode": "bm25", "score_threshold": 1e6}]'),
            *("--fail-if", "ndcg@10 < 0.5"),
            data=data,
        )
        made = await run_cli("bench", "notes", "--synthetic", "3", "--modes", "hybrid", data=data)
        wrong = [
            await run_cli(*("bench", "notes", "--json", *more), data=data)
            for more in (
                (),
                ("--dataset", str(tmp_path / "nowhere")),
                ("--dataset", "nobody"),
                ("--dataset", "judged", "--matrix", "{"),
                ("--dataset", "judged", "--modes", "best"),
                ("--dataset", "judged", "--fail-if", "good"),
            )
        ]
        listed = await run_cli("benchmarks", "list", "notes", data=data)
        markdown = await run_cli("benchmarks", "report", baseline, data=data)
        attached = await run_cli(
            *("benchmarks", "attach", "notes", "--dataset", "judged", "--every-hours", "24"), data=data
        )
        removed = await run_cli("benchmarks", "remove", baseline, data=data)

    answer = orjson.loads(first[1])
    assert (first[0], first[1].count("\n")) == (0, 1)
    assert (answer["state"], answer["best"] in {"dense", "bm25", "hybrid"}) == ("completed", True)
    assert [run["mode"] for run in answer["runs"]] == ["dense", "bm25", "hybrid"]
    assert set(answer["runs"][0]["latency_ms"]) >= {"p50", "p95", "p99"}
    low, high = answer["runs"][0]["ci95"]["ndcg@10"]
    assert low <= answer["runs"][0]["metrics"]["ndcg@10"] <= high
    assert (answer["coverage"]["judged"], answer["coverage"]["mapped"]) == (3, 3)
    assert (told[0], "bm25" in told[1], "ndcg@10" in told[1], "measuring" in told[2]) == (0, True, True, True)
    # three queries are too few to say that nothing was lost
    verdict = orjson.loads(held[1])["verdicts"][0]
    assert (held[0], verdict["outcome"], verdict["queries_needed"]) == (1, "cannot_tell", 10)
    assert (broken[0], "failed" in broken[1]) == (1, True)
    assert (made[0], "nobody has judged" in made[1]) == (0, True)
    assert {one[0] for one in wrong} == {1}
    assert [orjson.loads(one[1])["error"]["code"] for one in wrong] == [
        "invalid_usage",
        "source_not_found",
        "benchmark_dataset_not_found",
        "invalid_usage",
        "invalid_search_settings",
        "invalid_condition",
    ]
    assert (listed[0], listed[1].count("completed")) == (0, 5)
    assert (markdown[0], markdown[1].startswith("# ")) == (0, True)
    assert (attached[0], "every 24 h" in attached[1]) == (0, True)
    assert removed[0] == 0
    await asyncio.to_thread(assert_written, into)


def assert_written(into: Path) -> None:
    """Fail unless the folder has a report in three forms, and runs that TREC's tools score as it does."""
    report = orjson.loads((into / "report.json").read_bytes())
    HTMLParser().feed((into / "report.html").read_text())
    assert (into / "report.md").read_text().startswith("# ")
    qrels = list(ir_measures.read_trec_qrels((into / "qrels.trec").read_text()))  # type: ignore[no-untyped-call]
    for number, run in enumerate(report["runs"], 1):
        found = list(ir_measures.read_trec_run((into / f"run-{number}.trec").read_text()))  # type: ignore[no-untyped-call]
        expected = ir_measures.calc_aggregate([nDCG @ 10], qrels, found)[nDCG @ 10]
        assert run["metrics"]["ndcg@10"] == pytest.approx(expected, abs=1e-9)

"""What benchmarks say of settings that are worse, and of those that are not, on a real judged dataset."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.bootstrap import configured_endpoints, open_parts, running_worker
from app.domain.benchmark_datasets import DatasetContent
from app.evaluation.datasets.parse import parse_dataset
from app.settings import Settings
from tests.harness import Api, open_client
from tests.integration.test_benchmarks import add_dataset, measure
from tests.integration.test_reindex import reindex

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"
REPETITIONS = 10
QUERIES = 100
LEVEL = 0.05

pytestmark = [
    pytest.mark.skipif(not CRANFIELD.exists(), reason="the dataset is not shipped with the project"),
    pytest.mark.timeout(600),
]


def read_content() -> DatasetContent:
    """All of it."""
    names = ("queries.jsonl", "qrels/test.tsv")
    return parse_dataset({name: (CRANFIELD / name).read_bytes() for name in names}, split=None)


async def test_worse_is_told_from_equal(settings: Settings) -> None:
    """Half of the points gone, or too few candidates, is significantly worse; the same generation twice is not."""
    settings = settings.model_copy(update={"reindex_gate_sample": 0.05})
    content = read_content()
    async with (
        open_parts(settings, configured_endpoints(settings)) as parts,
        open_client(parts) as api,
        running_worker(parts),
    ):
        await api.wait(await api.create("cranfield", CRANFIELD / "corpus.jsonl"), seconds=240)
        rebuilt = await api.wait(await reindex(api, "cranfield", gate="report-only"), seconds=240)
        both = [rebuilt["result"]["to"], rebuilt["result"]["from"]]
        alarms = [await _count_alarms(api, number, content, both) for number in range(REPETITIONS)]
        await add_dataset(api, "cranfield", content)
        shallow: list[dict[str, Any]] = [{"mode": "hybrid"}, {"mode": "hybrid", "candidates": 5}]
        few = await _compare(api, runs=shallow, dataset="cranfield", primary="recall@100")
        await _drop_half(api, both[1])
        halved = await _compare(api, runs=[{"mode": "hybrid"}], dataset="cranfield", generations=both)

    assert sum(alarms) <= LEVEL * REPETITIONS + 1
    assert (few["run"], few["other"], few["significant"]) == ("hybrid", "hybrid candidates=5", True)
    assert halved["run"].endswith(both[0])
    assert halved["significant"]
    assert halved["ci95"][0] > 0


async def _count_alarms(api: Api, number: int, content: DatasetContent, generations: list[str]) -> int:
    """How many comparisons of two equal generations are significant, over a hundred queries by chance."""
    chosen = random.Random(number).sample(content.queries, QUERIES)  # noqa: S311 — the same ones every time
    part = DatasetContent(format=content.format, queries=tuple(chosen))
    await add_dataset(api, f"part {number}", part)
    found = await _compare(api, runs=[{"mode": "hybrid"}], dataset=f"part {number}", generations=generations)
    return int(found["significant"])


async def _compare(api: Api, **body: Any) -> dict[str, Any]:
    """The one comparison of two runs."""
    ended = await api.wait(await measure(api, "cranfield", **body), seconds=120)
    assert ended["state"] == "completed", ended
    report = (await api.client.get(f"/api/v1/benchmarks/{ended['result']['benchmark_id']}/report")).json()
    comparison: dict[str, Any] = report["comparisons"][0]
    return comparison


async def _drop_half(api: Api, generation: str) -> None:
    """Every other point of a generation, from the store and from what searches know of it."""
    async with api.parts.database.begin() as connection:
        rows = await connection.execute(
            text(
                """DELETE FROM chunks c USING generations g WHERE g.name = :name AND c.generation_id = g.id
                   AND c.collection_id = g.collection_id AND right(md5(c.id::text), 1) < '8' RETURNING c.id"""
            ),
            {"name": generation},
        )
        gone = [row.id for row in rows]
    assert len(gone) > 300
    await api.parts.store.delete_points(generation, gone)

"""Search quality on a real judged dataset, when it lies beside the project."""

from pathlib import Path

import ir_measures
import orjson
import pytest
from ir_measures import nDCG

from tests.harness import Api

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"

pytestmark = pytest.mark.skipif(not CRANFIELD.exists(), reason="the dataset is not shipped with the project")


@pytest.mark.timeout(600)
async def test_hybrid_finds_more_than_either_alone(api: Api, worker: None) -> None:
    """All 1 400 documents are completed, and nDCG@10 of hybrid beats dense and bm25."""
    ended = await api.wait(await api.create("cranfield", CRANFIELD / "corpus.jsonl"))
    collection = (await api.client.get("/api/v1/collections/cranfield")).json()
    queries = [orjson.loads(line) for line in (CRANFIELD / "queries.jsonl").read_bytes().splitlines()]
    rows = [line.split("\t") for line in (CRANFIELD / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    qrels = [ir_measures.Qrel(query, document, int(float(grade))) for query, document, grade in rows]

    scores = {}
    for mode in ("dense", "bm25", "hybrid"):
        run = []
        for query in queries:
            hits = await api.search("cranfield", query["text"], mode=mode, limit=10)
            run += [
                ir_measures.ScoredDoc(query["_id"], hit["uri"].rpartition("#")[2], -float(hit["rank"])) for hit in hits
            ]
        scores[mode] = ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]
    print({mode: round(score, 4) for mode, score in scores.items()})  # noqa: T201 — the figures are the point

    assert ended["state"] == "completed"
    assert collection["documents"] == {"completed": 1400}
    assert scores["hybrid"] > max(scores["dense"], scores["bm25"])

"""``vecloom search`` with its settings."""

from pathlib import Path

import orjson

from tests.harness import run_cli
from tests.reranker_server import FakeReranker

TEXTS = {"whales.txt": "Whales sing in the ocean.", "ships.txt": "Ships cross the ocean.", "bread.txt": "Bread rises."}


async def test_settings_reach_the_search(tmp_path: Path) -> None:
    """Each changes the answer; what does not go together, or has no server, is one error with a code."""
    folder, data = tmp_path / "notes", tmp_path / "data"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    code, _, said = await run_cli("index", str(folder), "-c", "notes", data=data)
    assert code == 0, said

    async def ask(*options: str, **variables: str) -> tuple[int, object]:
        status, out, _ = await run_cli(
            "search", "notes", "ships of the ocean", "--json", *options, data=data, **variables
        )
        answer = orjson.loads(out)
        if status:
            return status, answer["error"]["code"]
        return status, [(hit["uri"].rpartition("/")[2], round(hit["score"], 3)) for hit in answer["hits"]]

    with FakeReranker().running() as server:
        reranked = await ask("--rerank", "--score-threshold", "0.5", VECLOOM_RERANKER_URL=server.url)
    weighed = await ask("--fusion-k", "1", "--dense-weight", "0", "--limit", "2")
    by_scores = await ask("--fusion", "dbsf", "--candidates", "3", "--limit", "1")
    diverse = await ask("--mode", "dense", "--diversity", "0.9")
    missing = await ask("--rerank")
    contradiction = await ask("--mode", "bm25", "--fusion", "dbsf")
    beyond = await ask("--diversity", "2")

    assert reranked == (0, [("ships.txt", 0.75), ("whales.txt", 0.5)])
    assert weighed == (0, [("ships.txt", 1.0), ("whales.txt", 0.5)])
    assert (by_scores[0], isinstance(by_scores[1], list) and by_scores[1][0][0]) == (0, "ships.txt")
    assert (diverse[0], isinstance(diverse[1], list) and [name for name, _ in diverse[1]][:2]) == (
        0,
        ["ships.txt", "bread.txt"],
    )
    assert missing == (1, "reranker_missing")
    assert contradiction == (1, "invalid_search_settings")
    assert beyond == (1, "invalid_request")

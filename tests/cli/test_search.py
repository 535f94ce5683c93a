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


async def test_the_language_of_a_collection_is_given_on_the_command_line(tmp_path: Path) -> None:
    """For a new one, which another language is a conflict for, and by a rebuild of what is there."""
    folder, data = tmp_path / "garden", tmp_path / "data"
    folder.mkdir()
    (folder / "cherries.txt").write_text("Der Anbau vieler Kirschen.")
    index = ("index", str(folder), "-c", "garden", "--json", "--sparse")

    code, _, said = await run_cli(*index, '{"language": "english"}', data=data)
    _, conflict, _ = await run_cli(*index, '{"language": "german"}', data=data)
    _, garbage, _ = await run_cli(*index, "german", data=data)
    changed, rebuilt, told = await run_cli("reindex", "garden", "--sparse", '{"language": "german"}', data=data)
    _, found, _ = await run_cli("search", "garden", "Kirsche", "--mode", "bm25", "--json", data=data)

    assert (code, changed) == (0, 0), said + told
    assert orjson.loads(conflict)["error"]["code"] == "option_conflict"
    assert orjson.loads(garbage)["error"]["code"] == "invalid_sparse_settings"
    assert "from the stored chunks" in rebuilt
    assert len(orjson.loads(found)["hits"]) == 1

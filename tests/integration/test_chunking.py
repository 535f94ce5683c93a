"""What collections of each strategy hold and show."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.domain.documents import ChunkingStrategy
from tests.harness import Api

GUIDE = "# Whales\n\nAbout whales.\n\n## Songs\n\n{songs}\n\n## Food\n\nThey eat {food}.\n"
SONGS = "\n\n".join(f"Song {number} lasts for hours, and nobody knows what it is about." for number in range(40))


def _write(folder: Path) -> Path:
    folder.mkdir()
    (folder / "whales.md").write_text(GUIDE.format(songs=SONGS, food="krill in the cold sea"))
    (folder / "cook.py").write_text("\n\n".join(f"def cook_{n}():\n    return 'soup {n}' * {n}" for n in range(60)))
    (folder / "bread.txt").write_text("Bread rises slowly. " * 120)
    return folder


async def _verify(api: Api, name: str) -> dict[str, Any]:
    path = f"/api/v1/collections/{name}/operations"
    answer = await api.client.post(path, json={"kind": "VERIFY", "config": {"deep": True, "repair": True}})
    result: dict[str, Any] = (await api.wait(answer.json()))["result"]
    return result


@pytest.mark.parametrize("strategy", ChunkingStrategy)
async def test_every_strategy_is_consistent(api: Api, worker: None, tmp_path: Path, strategy: ChunkingStrategy) -> None:
    """All documents are completed, and a deep verification finds every chunk's vector to be that of its text."""
    folder = _write(tmp_path / "files")

    ended = await api.wait(await api.create(strategy.value, folder, chunk_strategy=strategy.value, chunk_size=64))
    verified = await _verify(api, strategy.value)

    assert ended["state"] == "completed"
    assert ended["result"]["documents"] == 3
    assert await api.assert_consistent(strategy.value) > 10
    assert verified["missing_count"] == verified["extra_count"] == verified["wrong_count"] == 0


async def test_a_chunk_is_found_by_the_headings_over_it(api: Api, worker: None, tmp_path: Path) -> None:
    """The last song names no whale, but stands under a heading that does; its own text and place stay exact."""
    folder = _write(tmp_path / "files")
    await api.wait(await api.create("whales", folder, chunk_size=64))

    hit = (await api.search("whales", "whales songs 39", mode="bm25"))[0]

    whole = (folder / "whales.md").read_text()
    assert "Song 39" in hit["text"]
    assert "Whales" not in hit["text"]
    assert hit["headings"] == ["Whales", "Songs"]
    assert hit["text"] == whole[hit["start"] : hit["end"]]
    assert hit["parent"] is None


async def test_a_small_chunk_is_found_and_its_parent_shown(api: Api, worker: None, tmp_path: Path) -> None:
    """A hit of a hierarchical collection has the text around the chunk, as it is in the document."""
    folder = _write(tmp_path / "files")
    await api.wait(await api.create("whales", folder, chunk_size=32, chunk_strategy="hierarchical"))

    hits = await api.search("whales", "song 17 lasts for hours", mode="bm25")

    whole, hit = (folder / "whales.md").read_text(), hits[0]
    parent = hit["parent"]
    assert hit["text"] == whole[hit["start"] : hit["end"]]
    assert parent["text"] == whole[parent["start"] : parent["end"]]
    assert parent["start"] <= hit["start"] < hit["end"] <= parent["end"]
    assert len(parent["text"]) > 2 * len(hit["text"])
    assert len({found["document_id"] for found in hits}) == len(hits)


async def test_lost_points_are_made_again_with_their_headings(
    api: Api, parts: Parts, worker: None, tmp_path: Path
) -> None:
    """A repair embeds from Postgres what the file's chunks were embedded with."""
    await api.wait(await api.create("whales", _write(tmp_path / "files"), chunk_size=64))
    async with parts.database.begin() as connection:
        rows = (await connection.execute(text("SELECT id, document_id FROM chunks WHERE headings IS NOT NULL"))).all()
        names = (await connection.execute(text("SELECT name FROM generations"))).scalars().all()
    for name in names:
        await parts.store.delete_points(name, [UUID(str(row.id)) for row in rows])

    repaired = await _verify(api, "whales")
    again = await _verify(api, "whales")

    assert len(rows) > 5
    assert repaired["missing_count"] == repaired["repaired"] == len(rows)
    assert again["missing_count"] == again["wrong_count"] == again["extra_count"] == 0
    assert (await api.search("whales", "whales songs 39", mode="bm25"))[0]["headings"] == ["Whales", "Songs"]


async def test_an_unknown_strategy_is_refused(api: Api, tmp_path: Path) -> None:
    """The answer names the field and what it may be."""
    source = {"url": tmp_path.as_uri()}

    answer = await api.client.post(
        "/api/v1/collections", json={"name": "x", "sources": [source], "chunk_strategy": "magic"}
    )

    assert answer.status_code == 422
    assert "chunk_strategy" in answer.text
    assert "hierarchical" in answer.text

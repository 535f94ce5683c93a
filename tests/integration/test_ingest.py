"""INDEX and APPEND over real folders."""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.documents import ChunkRow, DocumentRepository
from tests.harness import Api

pytestmark = pytest.mark.usefixtures("worker")


async def test_a_folder_is_indexed_and_found(api: Api, folder: Path) -> None:
    """Each search mode finds the document that talks about the query."""
    ended = await api.wait(await api.create("notes", folder))

    found = {
        mode: (await api.search("notes", "mammals of the ocean", mode=mode))[0]["path"]
        for mode in ("dense", "bm25", "hybrid")
    }

    assert ended["state"] == "completed"
    assert ended["result"]["documents_added"] == 3
    assert set(found.values()) == {"guides/whales.md"}
    assert await api.assert_consistent("notes") == ended["result"]["chunks"]


async def test_a_second_run_embeds_nothing(api: Api, folder: Path) -> None:
    """Unchanged files are recognised without being read."""
    await api.wait(await api.create("notes", folder))

    again = await api.wait(await api.append("notes"))

    assert again["result"]["tokens"] == 0
    assert again["result"]["unchanged"] == 3
    assert again["result"]["stages"]["read"]["items"] == 0


async def test_touched_files_are_read_but_not_embedded(api: Api, folder: Path) -> None:
    """A new modification time with the same content costs one read and no tokens."""
    await api.wait(await api.create("notes", folder))
    os.utime(folder / "bread.html", ns=(1, 1))

    again = await api.wait(await api.append("notes"))

    assert again["result"]["tokens"] == 0
    assert again["result"]["stages"]["read"]["items"] == 1
    assert (again["result"]["unchanged"], again["result"]["documents_changed"]) == (3, 0)


async def test_changed_added_and_deleted_files_are_followed(api: Api, folder: Path) -> None:
    """After an APPEND, search answers from what the folder holds now, and nothing else is stored."""
    await api.wait(await api.create("notes", folder))
    (folder / "guides" / "whales.md").write_text("# Volcanoes\n\nLava flows down the slope of a volcano.\n")
    (folder / "new.txt").write_text("A glacier is a slow river of ice.")
    (folder / "bread.html").unlink()

    again = await api.wait(await api.append("notes"))
    lava = await api.search("notes", "lava volcano")
    everything = await api.search("notes", "whales bread ocean dough", limit=10)

    assert again["result"]["documents_changed"] == 1
    assert again["result"]["documents_added"] == 1
    assert again["result"]["documents_removed"] == 1
    assert lava[0]["path"] == "guides/whales.md"
    assert not any("mammals" in hit["text"] or "dough" in hit["text"] for hit in everything)
    await api.assert_consistent("notes")


async def test_changing_one_paragraph_embeds_only_its_chunk(api: Api, tmp_path: Path) -> None:
    """Chunks whose text is still there keep their points."""
    root = tmp_path / "book"
    root.mkdir()
    paragraphs = [f"Chapter {n}. " + f"The story of number {n} goes on and on. " * 60 for n in range(12)]
    (root / "book.txt").write_text("\n\n".join(paragraphs))
    first = await api.wait(await api.create("book", root, chunk_size=200, chunk_overlap=0))
    (root / "book.txt").write_text("\n\n".join([*paragraphs[:-1], "The end was never like this."]))

    again = await api.wait(await api.append("book"))

    assert first["result"]["chunks"] > 12
    assert again["result"]["chunks"] - again["result"]["reused_chunks"] <= 3
    assert 0 < again["result"]["tokens"] < first["result"]["tokens"] / 4
    await api.assert_consistent("book")


async def test_records_of_a_jsonl_file_are_documents(api: Api, tmp_path: Path) -> None:
    """Each line is a document whose URI ends with its id; a changed line is re-indexed alone."""
    path = tmp_path / "corpus.jsonl"
    lines = [{"_id": str(n), "title": f"Report {n}", "text": f"About subject number {n}."} for n in range(30)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    first = await api.wait(await api.create("corpus", path))
    lines[7]["text"] = "Penguins walk on ice."
    path.write_text("\n".join(json.dumps(line) for line in lines))

    again = await api.wait(await api.append("corpus"))
    hits = await api.search("corpus", "penguins on the ice")

    assert first["result"]["documents_added"] == 30
    assert again["result"]["documents_changed"] == 1
    assert again["result"]["unchanged"] == 29
    assert hits[0]["uri"] == path.as_uri() + "#7"
    await api.assert_consistent("corpus")


def write_tar(path: Path, files: dict[str, str], *, modified: int = 1_600_000_000) -> None:
    """A ``.tar.gz``."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), modified
            archive.addfile(info, io.BytesIO(content.encode()))


async def test_members_of_archives_are_followed_like_files(api: Api, tmp_path: Path) -> None:
    """New, changed, unchanged and gone members; an archive that breaks loses nothing."""
    root = tmp_path / "archived"
    root.mkdir()
    (root / "note.md").write_text("A harbour at night.")
    write_tar(
        root / "b.tar.gz", {"sea/whales.md": "Whales sing.", "sea/old.md": "Old maps.", "same.md": "Bread and dough."}
    )
    first = await api.wait(await api.create("archived", root))
    again = await api.wait(await api.append("archived"))
    write_tar(
        root / "b.tar.gz",
        {"new.md": "A glacier of ice.", "sea/whales.md": "Lava flows.", "same.md": "Bread and dough."},
    )
    changed = await api.wait(await api.append("archived"))
    found = await api.search("archived", "lava")
    (root / "b.tar.gz").write_bytes((root / "b.tar.gz").read_bytes()[:60])
    broken = await api.wait(await api.append("archived"))

    assert (first["result"]["documents_added"], first["result"]["documents_failed"]) == (4, 0)
    assert (again["result"]["unchanged"], again["result"]["stages"]["read"]["items"]) == (4, 0)
    names = ("documents_added", "documents_changed", "documents_removed", "unchanged")
    assert [changed["result"][name] for name in names] == [1, 1, 1, 2]
    assert found[0]["path"] == "b.tar.gz/sea/whales.md"
    assert found[0]["uri"] == f"{(root / 'b.tar.gz').as_uri()}!/sea/whales.md"
    assert (broken["result"]["documents_failed"], broken["result"]["documents_removed"]) == (1, 0)
    assert (await api.search("archived", "lava"))[0]["path"] == "b.tar.gz/sea/whales.md"
    await api.assert_consistent("archived")


async def test_bad_files_cost_one_document_each(api: Api, folder: Path) -> None:
    """Every bad file becomes a document with a stable code; the good ones are searchable."""
    (folder / "empty.txt").write_bytes(b"")
    (folder / "truncated.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog")
    (folder / "picture.md").write_bytes(b"GIF89a" + bytes(64))
    (folder / "latin.txt").write_bytes(
        "Gr\xfc\xdfe aus K\xf6ln, das Wetter ist sch\xf6n und der Himmel blau.".encode("latin-1")
    )
    (folder / "dangling.txt").symlink_to(folder / "nothing")
    (folder / "new\nline.txt").write_text("A path with a new line in it talks about lighthouses.")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    with (folder / "huge.txt").open("wb") as huge:
        huge.truncate(1024**3)

    ended = await api.wait(await api.create("notes", folder))
    documents = await api.documents("notes")
    codes = {path: document["error_code"] for path, document in documents.items()}
    lighthouse = await api.search("notes", "lighthouses")

    assert ended["state"] == "completed"
    assert codes["empty.txt"] == "empty_document"
    assert codes["truncated.pdf"] == "corrupt_document"
    assert codes["picture.md"] == "unsupported_format"
    assert codes["dangling.txt"] == "unreadable_file"
    assert codes["huge.txt"] == "document_too_large"
    assert documents["latin.txt"]["state"] == "completed"
    assert "lighthouses" in lighthouse[0]["text"]
    assert ended["result"]["documents_failed"] == 5


async def test_a_mostly_emptied_folder_removes_nothing(api: Api, tmp_path: Path) -> None:
    """The mass-deletion guard stops and says what to do; everything stays searchable."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(30):
        (root / f"{number}.txt").write_text(f"Entry {number} of the long list of comets.")
    await api.wait(await api.create("many", root))
    for number in range(25):
        (root / f"{number}.txt").unlink()

    ended = await api.wait(await api.append("many"))

    assert ended["error_code"] == "mass_deletion_guard"
    assert await api.assert_consistent("many") == 30


async def test_an_unfinished_removal_is_finished_by_the_next_run(api: Api, parts: Parts, folder: Path) -> None:
    """A worker that died after it had dropped a document's rows leaves no points behind for good."""
    await api.wait(await api.create("notes", folder))
    (folder / "bread.html").unlink()
    async with parts.database.begin() as connection:
        query = text("SELECT id, collection_id FROM documents WHERE path = 'bread.html'")
        document = (await connection.execute(query)).one()
        await DocumentRepository(connection, document.collection_id).remove([document.id], operation_id=uuid4())

    before = await api.search("notes", "dough oven")
    await api.wait(await api.append("notes"))

    assert "bread.html" not in {hit["path"] for hit in before}
    assert await api.assert_consistent("notes") == 2


async def test_a_folder_that_disappears_loses_nothing(api: Api, folder: Path) -> None:
    """With its folder gone, an APPEND fails with a code and the collection still answers."""
    await api.wait(await api.create("notes", folder))
    shutil.rmtree(folder)

    ended = await api.wait(await api.append("notes"))

    assert ended["state"] == "failed"
    assert ended["error_code"] == "source_not_found"
    assert await api.search("notes", "whales")


async def test_filters_restrict_a_search(api: Api, folder: Path) -> None:
    """Folder and file type filters leave only what they name."""
    await api.wait(await api.create("notes", folder))

    guides = await api.search("notes", "the", filter={"folders": ["guides"]})
    pages = await api.search("notes", "dough", filter={"file_types": ["html"]})

    assert {hit["path"] for hit in guides} <= {"guides/whales.md", "guides/rockets.txt"}
    assert [hit["path"] for hit in pages] == ["bread.html"]


async def test_a_hit_marks_the_words_of_the_query(api: Api, folder: Path) -> None:
    """Highlights are spans of the hit's text."""
    await api.wait(await api.create("notes", folder))

    hit = (await api.search("notes", "whale oceans"))[0]

    assert {hit["text"][start:end].lower() for start, end in hit["highlights"]} >= {"whales", "ocean"}


async def test_copies_are_embedded_once(api: Api, tmp_path: Path, worker: None) -> None:
    """The same content under many URIs, at once and later, costs its tokens once, and every copy is found."""
    root = tmp_path / "copies"
    root.mkdir()
    (root / "other.md").write_text("Rockets burn fuel and oxidiser.\n")
    text = "".join(f"Whales of pod {number} sing in the deep ocean for hours.\n\n" for number in range(60))
    for number in range(250):
        (root / f"copy-{number}.md").write_text(text)

    first = await api.wait(await api.create("copies", root))
    single = tmp_path / "single"
    single.mkdir()
    (single / "one.md").write_text(text)
    (single / "other.md").write_text("Rockets burn fuel and oxidiser.\n")
    alone = await api.wait(await api.create("single", single))
    (root / "late.md").write_text(text)
    late = await api.wait(await api.append("copies"))
    points = await api.assert_consistent("copies")

    assert first["result"]["tokens"] == alone["result"]["tokens"] > 500
    assert late["result"]["documents_added"] == 1
    assert late["result"]["tokens"] == 0
    assert points == 251 * (alone["result"]["chunks"] - 1) + 1
    found = await api.search("copies", "whales", limit=100)
    assert len({hit["uri"] for hit in found}) == 100


async def test_a_chunk_that_moves_is_counted_anew(api: Api, parts: Parts, folder: Path) -> None:
    """The same text at another place may have another number of tokens; the row says what is true there."""
    await api.wait(await api.create("notes", folder))
    async with parts.database.begin() as connection:
        row = (await connection.execute(text("SELECT * FROM chunks ORDER BY id LIMIT 1"))).mappings().one()
        moved = ChunkRow(
            id=row["id"], document_id=row["document_id"], ordinal=7, start=10, end=20, tokens=99, text=row["text"]
        )
        manifest = DocumentRepository(connection, row["collection_id"])
        await manifest.replace_chunks(row["generation_id"], added=[], moved=[moved], gone=[])

    async with parts.database.begin() as connection:
        found = await connection.execute(
            text("SELECT ordinal, start_char, end_char, tokens FROM chunks WHERE id = :id"), {"id": row["id"]}
        )

    assert tuple(found.one()) == (7, 10, 20, 99)

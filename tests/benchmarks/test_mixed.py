"""The folder of many formats that benchmarks ingest."""

from pathlib import Path
from uuid import UUID

from app.domain.documents import Chunking, PrepareRequest
from app.domain.identity import document_id, locator_of
from app.pipeline.prepare import prepare_documents
from benchmarks.mixed import WEIGHTS, change, count_kinds, write_mixed

FILES = 150


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_folder_is_the_same_every_time(tmp_path: Path) -> None:
    """Office files too, whose libraries would write the time into them; another seed is another folder."""
    first = write_mixed(tmp_path / "first", FILES)
    write_mixed(tmp_path / "second", FILES)
    write_mixed(tmp_path / "other", FILES, seed=7)

    assert _contents(tmp_path / "first") == _contents(tmp_path / "second")
    assert len(_contents(tmp_path / "first").keys() & _contents(tmp_path / "other").keys()) < FILES / 10
    assert sum(path.stat().st_size for path in first.paths) == first.bytes


def test_every_file_of_every_format_has_its_text(tmp_path: Path) -> None:
    """No format is written in a way that extraction cannot read, and none of them is missing."""
    corpus = write_mixed(tmp_path, FILES)
    uris = {path.as_uri(): path for path in corpus.paths}
    requests = [
        PrepareRequest(
            document_id=document_id(UUID(int=0), uri),
            uri=uri,
            path=path.name,
            locator=locator_of(uri),
            known_hash=None,
            max_bytes=2**30,
        )
        for uri, path in uris.items()
    ]

    prepared = prepare_documents(requests, Chunking())

    assert set(count_kinds(corpus)) == set(WEIGHTS)
    for path, document in zip(corpus.paths, prepared, strict=True):
        words = path.stem.rpartition("-")[0].split("-")
        whole = " ".join(chunk.text for chunk in document.chunks).lower().replace("-", " ")
        assert document.error_code is None, path
        assert path.suffix in {".csv", ".xlsx"} or words[0] in f"{document.title} {whole}".lower(), path


def test_a_change_touches_its_share_of_the_files(tmp_path: Path) -> None:
    """What it says it did is what is different in the folder, and an inserted paragraph leaves the rest of the text."""
    corpus = write_mixed(tmp_path, FILES)
    before = _contents(tmp_path)

    changes = change(corpus, share=0.1)

    after = _contents(tmp_path)
    assert len(changes) == FILES // 10
    assert before.keys() - after.keys() == set(changes.delete)
    assert after.keys() - before.keys() == set(changes.add)
    differing = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert differing == {*changes.insert, *changes.rewrite}
    plain = [name for name in changes.insert if name.endswith((".md", ".txt", ".html"))]
    assert plain
    for name in plain:
        assert set(before[name].splitlines()) < set(after[name].splitlines())

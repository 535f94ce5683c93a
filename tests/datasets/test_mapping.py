"""Judged documents are found in a collection by what the dataset calls them."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.dataset_mapping import CANDIDATES, map_documents
from app.domain.benchmark_datasets import DatasetContent, DatasetFormat, DatasetQuery, JudgedDocument
from app.domain.dataset_mapping import DatasetMapping, MatchStep, MissReason
from app.domain.identity import document_id
from app.evaluation.datasets.coverage import list_docs, measure_coverage
from app.evaluation.datasets.parse import parse_dataset
from tests.harness import Api

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"
NAMES = ("queries.jsonl", "qrels/test.tsv")


async def collection_of(api: Api, name: str, folder: Path) -> UUID:
    """Index a folder; gives the collection's id."""
    await api.wait(await api.create(name, folder))
    return UUID((await api.client.get(f"/api/v1/collections/{name}")).json()["id"])


async def find(parts: Parts, collection: UUID, docs: Sequence[str]) -> DatasetMapping:
    """Map some documents."""
    async with parts.database.begin() as connection:
        return await map_documents(connection, collection, docs)


async def uris_of(parts: Parts, collection: UUID) -> dict[UUID, str]:
    """All documents of a collection."""
    async with parts.database.begin() as connection:
        rows = await connection.execute(
            text("SELECT id, uri FROM documents WHERE collection_id = :collection"), {"collection": collection}
        )
        return {row.id: row.uri for row in rows}


async def found(parts: Parts, collection: UUID, docs: Sequence[str]) -> dict[str, tuple[MatchStep, str]]:
    """How each was found, and the end of the URI of what was."""
    mapping = await find(parts, collection, docs)
    uris = await uris_of(parts, collection)
    return {doc: (match.step, uris[match.document_id].rpartition("/")[2]) for doc, match in mapping.matches.items()}


async def missed(parts: Parts, collection: UUID, docs: Sequence[str]) -> dict[str, MissReason]:
    """Why each was not found."""
    return {doc: miss.reason for doc, miss in (await find(parts, collection, docs)).misses.items()}


async def change(parts: Parts, name: str, **columns: object) -> None:
    """Change the row of a document by its path."""
    assigned = ", ".join(f"{column} = :{column}" for column in columns)
    async with parts.database.begin() as connection:
        statement = text(f"UPDATE documents SET {assigned} WHERE path = :path")  # noqa: S608 — columns of the test
        assert (await connection.execute(statement, {"path": name, **columns})).rowcount == 1


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Files of which some have the same name, or the same content."""
    root = tmp_path / "shelf"
    files = {
        "184.txt": "Whales are large mammals.",
        "185.txt": "Rockets burn fuel.",
        "a b/über.tar.md": "Bread is baked.",
        "one/same.txt": "Ships cross the ocean.",
        "two/same.txt": "Planes cross the sky.",
        "one/copy.md": "Twice the same content.",
        "two/other.md": "Twice the same content.",
        "one/README": "No ending at all.",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "records.jsonl").write_text(
        '{"_id": "184", "text": "A record of whales."}\n{"_id": "a/b #1", "text": "A record of ships."}\n'
        '{"text": "A record without an id."}\n'
    )
    return root


async def test_each_way_of_naming_a_document_leads_to_it(api: Api, parts: Parts, worker: None, shelf: Path) -> None:
    """Id, URI, hash, path, id of a record, name of a file, name without its ending."""
    collection = await collection_of(api, "shelf", shelf)
    uri = (shelf / "a b" / "über.tar.md").as_uri()
    by_id = str(document_id(collection, (shelf / "185.txt").as_uri()))
    by_hash = hashlib.sha256(b"Rockets burn fuel.").hexdigest()
    ways = await found(
        parts,
        collection,
        [
            by_id, by_id.upper(), uri, by_hash, by_hash.upper(), "one/same.txt", "184", "a/b #1", "records.jsonl#184",
            "@3", "185.txt", "185", "über.tar.md", "über.tar", "README", "a b/über.tar.md",
        ],
    )  # fmt: skip

    assert ways == {
        by_id: (MatchStep.ID, "185.txt"),
        by_id.upper(): (MatchStep.ID, "185.txt"),
        uri: (MatchStep.URI, "%C3%BCber.tar.md"),
        by_hash: (MatchStep.CONTENT_HASH, "185.txt"),
        by_hash.upper(): (MatchStep.CONTENT_HASH, "185.txt"),
        "one/same.txt": (MatchStep.PATH, "same.txt"),
        # the record goes before the file of that name
        "184": (MatchStep.NAME, "records.jsonl#184"),
        "a/b #1": (MatchStep.NAME, "records.jsonl#a%2Fb%20%231"),
        "records.jsonl#184": (MatchStep.PATH, "records.jsonl#184"),
        "185.txt": (MatchStep.PATH, "185.txt"),
        "185": (MatchStep.NAME, "185.txt"),
        "über.tar.md": (MatchStep.NAME, "%C3%BCber.tar.md"),
        "über.tar": (MatchStep.NAME, "%C3%BCber.tar.md"),
        "README": (MatchStep.NAME, "README"),
        "a b/über.tar.md": (MatchStep.PATH, "%C3%BCber.tar.md"),
    }


async def test_what_is_nowhere_or_anywhere_is_said(api: Api, parts: Parts, worker: None, shelf: Path) -> None:
    """Several of the same name or content are ambiguous, with the documents they may be; ids of others are nobody's."""
    collection = await collection_of(api, "shelf", shelf)
    other = await collection_of(api, "other", shelf)
    twice = hashlib.sha256(b"Twice the same content.").hexdigest()
    foreign = str(document_id(other, (shelf / "185.txt").as_uri()))
    docs = ["same.txt", "same", twice, foreign, "186", "%", "", "records.jsonl", "@3", "a/b%20%231"]
    mapping = await find(parts, collection, docs)

    assert mapping.matches == {}
    assert {doc: miss.reason for doc, miss in mapping.misses.items()} == {
        **dict.fromkeys(docs, MissReason.UNMAPPED),
        **dict.fromkeys(docs[:3], MissReason.AMBIGUOUS),
    }
    same, copies = mapping.misses["same.txt"], mapping.misses[twice]
    assert (same.step, same.count) == (MatchStep.NAME, 2)
    assert [candidate.uri for candidate in same.candidates] == [
        (shelf / folder / "same.txt").as_uri() for folder in ("one", "two")
    ]
    assert (copies.step, [candidate.uri.rpartition("/")[2] for candidate in copies.candidates]) == (
        MatchStep.CONTENT_HASH,
        ["copy.md", "other.md"],
    )


async def test_documents_that_cannot_be_searched_are_told_apart(
    api: Api, parts: Parts, worker: None, shelf: Path
) -> None:
    """Failed, needs OCR, removed, not indexed yet; one that is only to be read again is there."""
    collection = await collection_of(api, "shelf", shelf)
    await change(parts, "184.txt", state="failed")
    await change(parts, "185.txt", state="needs_ocr")
    await change(parts, "one/same.txt", state="removed")
    await change(parts, "one/copy.md", state="pending", chunk_count=0)
    await change(parts, "a b/über.tar.md", state="pending")
    docs = ["184.txt", "185", "one/same.txt", "copy", "über.tar.md", "same.txt", "184"]
    mapping = await find(parts, collection, docs)

    assert {doc: miss.reason for doc, miss in mapping.misses.items()} == {
        "184.txt": MissReason.DOCUMENT_FAILED,
        "185": MissReason.NEEDS_OCR,
        "one/same.txt": MissReason.REMOVED,
        "copy": MissReason.NOT_INDEXED,
    }
    # of two with this name only one can be searched, and what fails does not hide the record with the same id
    assert mapping.matches.keys() == {"über.tar.md", "same.txt", "184"}


async def test_a_document_that_fails_at_one_step_may_be_found_at_the_next(
    api: Api, parts: Parts, worker: None, shelf: Path
) -> None:
    """The path of one that was removed is the name of another one that was not."""
    (shelf / "deep").mkdir()
    (shelf / "deep" / "185.txt").write_text("The one that was moved.")
    collection = await collection_of(api, "shelf", shelf)
    await change(parts, "185.txt", state="removed")

    assert await found(parts, collection, ["185.txt"]) == {"185.txt": (MatchStep.NAME, "185.txt")}
    assert await missed(parts, collection, ["185.txt", "184x"]) == {"184x": MissReason.UNMAPPED}


async def test_many_of_the_same_name_are_counted(api: Api, parts: Parts, worker: None, tmp_path: Path) -> None:
    """Of the documents that it may be only the first are shown."""
    for number in range(CANDIDATES + 3):
        (tmp_path / "many" / str(number)).mkdir(parents=True)
        (tmp_path / "many" / str(number) / "index.md").write_text(f"Page {number} of many.")
    collection = await collection_of(api, "many", tmp_path / "many")
    miss = (await find(parts, collection, ["index.md"])).misses["index.md"]

    assert (miss.reason, miss.count) == (MissReason.AMBIGUOUS, CANDIDATES + 3)
    assert [candidate.uri.split("/")[-2] for candidate in miss.candidates] == ["0", "1", "2", "3", "4"]


async def test_many_documents_are_mapped_at_once(api: Api, parts: Parts, worker: None, folder: Path) -> None:
    """The largest dataset on a collection of thousands, without holding the event loop up."""
    collection = await collection_of(api, "large", folder)
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """INSERT INTO documents (id, collection_id, source_id, uri, path, size, modified_ns, position, state)
                   SELECT gen_random_uuid(), d.collection_id, d.source_id, 'file:///x/' || n || '.txt', n || '.txt',
                          1, 1, n, 'completed'
                   FROM generate_series(1, 50000) n, (SELECT * FROM documents LIMIT 1) d"""
            )
        )
    docs = [f"{number}" for number in range(100_000)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    taking = asyncio.create_task(take_turns())
    mapping = await find(parts, collection, docs)
    taking.cancel()

    assert len(mapping.matches) == 50_000
    assert {match.step for match in mapping.matches.values()} == {MatchStep.NAME}
    assert mapping.misses.keys() == {"0", *(str(number) for number in range(50_001, 100_000))}
    assert turns > 10


# --- coverage -----------------------------------------------------------------------------------


def dataset_of(*judged: dict[str, int]) -> DatasetContent:
    """Queries by their grades."""
    queries = (
        DatasetQuery(
            query_id=f"q{number}",
            text="whales",
            relevant=tuple(JudgedDocument(doc=doc, grade=grade) for doc, grade in grades.items()),
        )
        for number, grades in enumerate(judged, start=1)
    )
    return DatasetContent(format=DatasetFormat.JSON, queries=tuple(queries))


async def test_coverage_says_how_much_is_there(api: Api, parts: Parts, worker: None, shelf: Path) -> None:
    """Documents count once; queries that cannot be answered are named; where two are one the higher grade holds."""
    collection = await collection_of(api, "shelf", shelf)
    content = dataset_of(
        {"184": 2, "185": 1, "185.txt": 3, "gone": 1, "same": 0},
        {"gone": 2, "185": 0, "lost": -1},
        {"184": -1},
    )
    mapping = await find(parts, collection, list_docs(content))
    coverage = measure_coverage(content, mapping)
    of_185 = document_id(collection, (shelf / "185.txt").as_uri())

    assert (coverage.judged, coverage.mapped, coverage.merged) == (6, {MatchStep.NAME: 2, MatchStep.PATH: 1}, 1)
    assert coverage.missed == {MissReason.UNMAPPED: 2, MissReason.AMBIGUOUS: 1}
    assert (coverage.relevant, coverage.relevant_mapped) == (4, 3)
    assert (coverage.judged_share, coverage.relevant_share) == (0.5, 0.75)
    assert [missed.doc for missed in coverage.ambiguous] == ["same"]
    assert [missed.doc for missed in coverage.unmapped] == ["gone", "lost"]
    assert (coverage.queries, coverage.lost_queries, coverage.lost_query_ids) == (3, 2, ("q2", "q3"))
    assert mapping.grades_of(content.queries[0])[of_185] == 3
    assert mapping.grades_of(content.queries[1]) == {of_185: 0}


async def test_nothing_is_covered_by_an_unknown_collection(parts: Parts) -> None:
    """Shares are numbers also where nothing is relevant."""
    content = dataset_of({"184": 0})
    coverage = measure_coverage(content, await find(parts, uuid4(), list_docs(content)))

    assert (coverage.judged_share, coverage.relevant_share, coverage.lost_queries) == (0.0, 0.0, 1)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not CRANFIELD.exists(), reason="the dataset is not shipped with the project")
async def test_a_real_dataset_is_mapped(api: Api, parts: Parts, worker: None, tmp_path: Path) -> None:
    """Cranfield finds all of its records by their ids, and the same documents as files by their names."""
    content = parse_dataset({name: (CRANFIELD / name).read_bytes() for name in NAMES})
    docs = list_docs(content)
    for doc in docs:
        (tmp_path / "files" / doc[-1]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / doc[-1] / f"{doc}.txt").write_text(f"Text of document {doc}.")
    (tmp_path / "files" / "0" / f"{docs[0]}.txt").write_text("Another one of this name.")
    records = await collection_of(api, "records", CRANFIELD / "corpus.jsonl")
    files = await collection_of(api, "files", tmp_path / "files")
    of_records, of_files = await find(parts, records, docs), await find(parts, files, docs)
    uris = await uris_of(parts, records)

    whole = measure_coverage(content, of_records)
    assert (whole.judged, whole.judged_share, whole.relevant_share, whole.lost_queries) == (len(docs), 1, 1, 0)
    assert {doc: uris[match.document_id].rpartition("#")[2] for doc, match in of_records.matches.items()} == {
        doc: doc for doc in docs
    }
    part = measure_coverage(content, of_files)
    assert part.missed == {MissReason.AMBIGUOUS: 1}
    assert part.mapped == {MatchStep.NAME: len(docs) - 1}

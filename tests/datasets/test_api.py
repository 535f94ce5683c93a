"""Judged queries over HTTP: sent, listed, written out, deleted, compared with a collection."""

import io
import zipfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.domain.benchmark_datasets import LARGEST_BYTES, MOST_FILES
from app.operations.collections import IdentityService
from tests.harness import Api

CRANFIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cranfield"
PATH = "/api/v1/benchmark-datasets"
QUERIES = b'{"_id": "1", "text": "whales"}\n{"_id": "2", "text": "rockets"}\n'
QRELS = b"query-id\tcorpus-id\tscore\n1\twhales.md\t2\n2\tguides/rockets.txt\t1\n2\tgone.md\t1\n"
FILES = {"queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}


async def send(api: Api, name: str = "small", files: dict[str, bytes] = FILES, **query: Any) -> tuple[int, Any]:
    """Send the files of a dataset: status and answer."""
    form = [("file", (path, content)) for path, content in files.items()]
    answer = await api.client.post(PATH, params={"name": name, **query}, files=form)
    return answer.status_code, answer.json()


async def read(api: Api, path: str, **query: Any) -> Any:
    """The answer to a request that is granted."""
    answer = await api.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_dataset_is_sent_and_kept(api: Api) -> None:
    """What it has, under its id and its name; the same again is the same one."""
    status, dataset = await send(api)
    again, same = await send(api)

    assert (status, again) == (201, 200)
    assert same == dataset
    assert {name: dataset[name] for name in ("name", "format", "is_synthetic", "queries", "judgments", "notes")} == {
        "name": "small",
        "format": "beir",
        "is_synthetic": False,
        "queries": 2,
        "judgments": 3,
        "notes": [],
    }
    assert len(dataset["fingerprint"]) == 64
    assert await read(api, PATH) == {"datasets": [dataset]}
    assert await read(api, f"{PATH}/small") == await read(api, f"{PATH}/{dataset['id']}") == dataset


async def test_a_dataset_is_sent_as_json(api: Api) -> None:
    """As the body of the request; the same content is the same dataset, however it came."""
    await send(api)
    query = [{"query_id": "1", "text": "whales", "relevant": [{"doc": "whales.md", "grade": 2}]}]
    rockets = [{"doc": "guides/rockets.txt", "grade": 1}, {"doc": "gone.md", "grade": 1}]
    same = {"schema_version": 1, "queries": [*query, {"query_id": "2", "text": "rockets", "relevant": rockets}]}
    taken = await api.client.post(PATH, params={"name": "small"}, json=same)
    refused = await api.client.post(PATH, params={"name": "small"}, json={"schema_version": 1, "queries": query})

    assert (taken.status_code, taken.json()["format"]) == (200, "beir")
    assert (refused.status_code, refused.json()["code"]) == (409, "benchmark_dataset_exists")


async def test_queries_come_in_pages(api: Api) -> None:
    """In their order, with their judgments."""
    await send(api)
    first = await read(api, f"{PATH}/small/queries", limit=1)
    second = await read(api, f"{PATH}/small/queries", limit=1, after=first["next"])
    beyond = await read(api, f"{PATH}/small/queries", after=2)

    whales = {"query_id": "1", "text": "whales", "relevant": [{"doc": "whales.md", "grade": 2}]}
    assert first == {"queries": [whales], "next": 1}
    assert ([query["query_id"] for query in second["queries"]], second["next"]) == (["2"], None)
    assert beyond == {"queries": [], "next": None}


async def test_a_split_and_a_part_are_chosen(api: Api) -> None:
    """Which judgments, and how many of the queries."""
    files = {**FILES, "qrels/dev.tsv": b"1\tdev.md\t1\n2\tdev.md\t1\n"}
    _, dev = await send(api, "dev", files, split="dev")
    _, part = await send(api, "part", files, limit_queries=1)
    status, unknown = await send(api, "x", files, split="train")

    assert (dev["source"], dev["judgments"]) == ("queries.jsonl, qrels/dev.tsv", 2)
    assert (part["queries"], part["notes"]) == (1, ["1 of 2 queries were left out by chance"])
    assert (status, unknown["code"]) == (422, "invalid_benchmark_dataset")
    assert "qrels/dev.tsv, qrels/test.tsv" in unknown["detail"]


@pytest.mark.parametrize("wanted", ["beir", "trec", "json"])
async def test_what_is_written_out_can_be_sent_again(api: Api, wanted: str) -> None:
    """Under its name it is the one there is."""
    _, dataset = await send(api)
    answer = await api.client.get(f"{PATH}/small/export", params={"format": wanted})
    files = {"dataset.json": answer.content}
    if wanted != "json":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}

    assert answer.headers["content-type"] == ("application/json" if wanted == "json" else "application/zip")
    assert await send(api, files=files) == (200, dataset)


async def test_a_dataset_is_deleted(api: Api) -> None:
    """It is gone from all lists; that it was there stays in the audit log."""
    await send(api)
    deleted = await api.client.delete(f"{PATH}/small")
    gone = [
        await api.client.delete(f"{PATH}/small"),
        await api.client.get(f"{PATH}/small"),
        await api.client.get(f"{PATH}/small/queries"),
        await api.client.get(f"{PATH}/small/export"),
    ]
    audit = (await read(api, "/api/v1/audit"))["entries"]

    assert deleted.status_code == 204
    assert {(answer.status_code, answer.json()["code"]) for answer in gone} == {(404, "benchmark_dataset_not_found")}
    assert await read(api, PATH) == {"datasets": []}
    assert [entry["action"] for entry in audit[:2]] == ["benchmark_dataset.deleted", "benchmark_dataset.added"]
    assert audit[1]["subject"]["name"] == "small"
    assert audit[1]["after"] == {"format": "beir", "queries": 2, "judgments": 3}


async def test_datasets_are_their_owners_alone(api: Api, folder: Path) -> None:
    """Somebody else does not learn that there is one."""
    await api.create("notes", folder)
    await send(api)
    key = await IdentityService(api.parts.database).issue_key("somebody else", name="test")
    headers = {"Authorization": f"Bearer {key}"}
    listed = await api.client.get(PATH, headers=headers)
    answers = [
        await api.client.get(f"{PATH}/small", headers=headers),
        await api.client.get(f"{PATH}/small/queries", headers=headers),
        await api.client.get(f"{PATH}/small/export", headers=headers),
        await api.client.delete(f"{PATH}/small", headers=headers),
        await api.client.get("/api/v1/collections/notes/benchmark-datasets/small/coverage", headers=headers),
    ]

    assert listed.json() == {"datasets": []}
    assert [answer.status_code for answer in answers] == [404] * 5
    assert answers[-1].json()["code"] == "collection_not_found"


@pytest.mark.parametrize(
    ("files", "query", "status", "code"),
    [
        ({"queries.jsonl": b"{"}, {}, 422, "invalid_benchmark_dataset"),
        ({"readme.md": b"x"}, {}, 422, "invalid_benchmark_dataset"),
        ({"../queries.jsonl": QUERIES}, {}, 422, "invalid_upload_path"),
        ({f"{number}.tsv": b"" for number in range(MOST_FILES + 1)}, {}, 413, "benchmark_dataset_too_large"),
        ({"queries.jsonl": b"x" * (LARGEST_BYTES + 1)}, {}, 413, "benchmark_dataset_too_large"),
        ({"corpus.jsonl": b"x" * (5 * LARGEST_BYTES)}, {}, 413, "request_too_large"),
        (FILES, {"name": "../x"}, 422, "invalid_request"),
        (FILES, {"limit_queries": 0}, 422, "invalid_request"),
        (FILES, {"limit_queries": 1001}, 422, "invalid_request"),
        (FILES, {"split": ""}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_taken_is_refused(
    api: Api, files: dict[str, bytes], query: dict[str, Any], status: int, code: str
) -> None:
    """Nothing of it is kept."""
    answered, body = await send(api, **{"name": "small", **query}, files=files)

    assert (answered, body["code"]) == (status, code)
    assert await read(api, PATH) == {"datasets": []}


async def test_a_body_that_is_no_dataset_is_refused(api: Api) -> None:
    """Neither a form nor JSON; JSON that is too large, or none; no name."""
    query = {"name": "small"}
    kind = {"Content-Type": "application/json; charset=utf-8"}
    text = await api.client.post(PATH, params=query, content=b"x", headers={"Content-Type": "text/plain"})
    large = await api.client.post(PATH, params=query, content=b" " * (LARGEST_BYTES + 1), headers=kind)
    broken = await api.client.post(PATH, params=query, content=b'{"queries": \n!', headers=kind)
    nameless = await api.client.post(PATH, files=[("file", ("queries.jsonl", QUERIES))])

    assert (text.status_code, text.json()["code"]) == (422, "invalid_upload")
    assert (large.status_code, large.json()["code"]) == (413, "benchmark_dataset_too_large")
    assert (broken.status_code, broken.json()["code"]) == (422, "invalid_benchmark_dataset")
    assert "dataset.json:2" in broken.json()["detail"]
    assert (nameless.status_code, nameless.json()["code"]) == (422, "invalid_request")


async def test_a_corpus_is_passed_over(api: Api) -> None:
    """It may be larger than a dataset, and hold anything."""
    status, dataset = await send(api, files={"corpus.jsonl": b"\xff" * (LARGEST_BYTES + 1), **FILES})

    assert (status, dataset["source"]) == (201, "queries.jsonl, qrels/test.tsv")


async def test_a_collection_says_how_much_it_has(api: Api, worker: None, folder: Path) -> None:
    """How documents were found, what is missing, and which queries are lost with it."""
    await api.wait(await api.create("notes", folder))
    await send(api)
    path = "/api/v1/collections/notes/benchmark-datasets"
    coverage = await read(api, f"{path}/small/coverage")
    unknown = await api.client.get(f"{path}/other/coverage")

    assert (coverage["dataset"], coverage["judged"], coverage["mapped"]) == ("small", 3, {"name": 1, "path": 1})
    assert (coverage["missed"], coverage["lost_queries"]) == ({"unmapped": 1}, 0)
    assert coverage["unmapped"] == [
        {"doc": "gone.md", "reason": "unmapped", "step": None, "count": 0, "candidates": []}
    ]
    assert coverage["relevant_share"] == pytest.approx(2 / 3)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "benchmark_dataset_not_found")


@pytest.mark.skipif(not CRANFIELD.exists(), reason="the dataset is not shipped with the project")
async def test_a_real_dataset_goes_there_and_back(api: Api) -> None:
    """Cranfield, as it lies in its folder."""
    files = {name: (CRANFIELD / name).read_bytes() for name in ("queries.jsonl", "qrels/test.tsv")}
    status, dataset = await send(api, "cranfield", files)
    document = orjson.loads((await api.client.get(f"{PATH}/cranfield/export")).content)

    assert (status, dataset["queries"], dataset["judgments"]) == (201, 225, 1837)
    assert document["queries"][0]["relevant"][0] == {"doc": "184", "grade": 2}


async def test_a_dataset_is_made_of_documents(api: Api, worker: None, folder: Path) -> None:
    """Marked as synthetic; the same seed makes the same one, and the collection has all that it asks for."""
    path = "/api/v1/collections/notes/benchmark-datasets"
    await api.wait(await api.create("notes", folder))
    made = await api.client.post(path, json={"name": "made"})
    again = await api.client.post(path, json={"name": "made"})
    seeds = [await api.client.post(path, json={"name": f"s{n}", "documents": 1, "seed": n}) for n in range(9)]
    coverage = await read(api, f"{path}/made/coverage")
    queries = (await read(api, f"{PATH}/made/queries"))["queries"]
    whales = (await api.documents("notes"))["guides/whales.md"]["id"]

    dataset = made.json()
    assert (made.status_code, again.status_code, again.json()) == (201, 200, dataset)
    assert (dataset["format"], dataset["is_synthetic"]) == ("synthetic", True)
    assert dataset["source"] == "titles, first sentences and rare words of documents (3 documents) of notes"
    assert (coverage["mapped"], coverage["judged_share"], coverage["lost_queries"]) == ({"id": 3}, 1.0, 0)
    assert {"doc": whales, "grade": 1} in [judged for query in queries for judged in query["relevant"]]
    # three documents, of which each seed chooses one: the same by chance once in 6 561 times
    assert len({answer.json()["fingerprint"] for answer in seeds}) > 1


async def test_a_dataset_cannot_be_made_of_nothing(api: Api, folder: Path) -> None:
    """Of a collection without a generation; of too many documents; of a collection of somebody else."""
    path = "/api/v1/collections/notes/benchmark-datasets"
    none = await api.client.post(path, json={"name": "made"})
    await api.create("notes", folder)
    early = await api.client.post(path, json={"name": "made"})
    many = await api.client.post(path, json={"name": "made", "documents": 331})

    assert (none.status_code, none.json()["code"]) == (404, "collection_not_found")
    assert (early.status_code, early.json()["code"]) == (409, "collection_not_ready")
    assert (many.status_code, many.json()["code"]) == (422, "invalid_request")


async def test_a_dataset_cannot_be_made_of_documents_without_words(api: Api, worker: None, tmp_path: Path) -> None:
    """Numbers lead to nothing."""
    (tmp_path / "numbers").mkdir()
    (tmp_path / "numbers" / "1.txt").write_text("1 2 3")
    await api.wait(await api.create("numbers", tmp_path / "numbers"))
    answer = await api.client.post("/api/v1/collections/numbers/benchmark-datasets", json={"name": "made"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_benchmark_dataset")

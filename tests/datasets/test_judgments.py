"""People who search say how good the documents were, and that becomes a dataset."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.domain.benchmark_datasets import MOST_JUDGMENTS as MOST_OF_A_QUERY
from app.domain.judgments import MOST_JUDGMENTS, query_id_of
from app.operations.collections import IdentityService
from tests.harness import Api

PATH = "/api/v1/collections/notes/judgments"


@pytest.fixture
async def notes(api: Api, worker: None, folder: Path) -> dict[str, str]:
    """A small collection; gives ids of its documents by path."""
    await api.wait(await api.create("notes", folder))
    return {path: document["id"] for path, document in (await api.documents("notes")).items()}


async def judge(api: Api, query: str, document: str, grade: int | None) -> httpx.Response:
    """Say how good a document is."""
    return await api.client.put(PATH, json={"query": query, "document_id": document, "grade": grade})


async def read(api: Api, **query: Any) -> Any:
    """A page of judgments."""
    answer = await api.client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_last_judgment_counts(api: Api, notes: dict[str, str]) -> None:
    """One for each query and document; a null takes it back, also twice."""
    whales = notes["guides/whales.md"]
    first = await judge(api, " large mammals ", whales, 3)
    second = await judge(api, "large mammals", whales, 0)
    other = await judge(api, "oceans", whales, 1)
    page = await read(api)
    back = [await judge(api, "large mammals", whales, None) for _ in range(2)]
    left = await read(api)

    assert (first.status_code, first.json()["query"], first.json()["grade"]) == (200, "large mammals", 3)
    assert first.json()["uri"].endswith("/guides/whales.md")
    assert second.json()["id"] == first.json()["id"]
    assert [(row["query"], row["grade"]) for row in page["judgments"]] == [("oceans", 1), ("large mammals", 0)]
    assert page["judgments"][0] == other.json()
    assert [answer.status_code for answer in back] == [204, 204]
    assert [row["query"] for row in left["judgments"]] == ["oceans"]


async def test_judgments_come_in_pages(api: Api, notes: dict[str, str]) -> None:
    """Those made first come last."""
    for number in range(3):
        await judge(api, f"query {number}", notes["bread.html"], number)
    first = await read(api, limit=2)
    second = await read(api, limit=2, after=first["next"])

    assert [row["query"] for row in first["judgments"]] == ["query 2", "query 1"]
    assert ([row["query"] for row in second["judgments"]], second["next"]) == (["query 0"], None)


async def test_judgments_are_qrels(api: Api, notes: dict[str, str]) -> None:
    """All of them, in the columns of TREC: a query goes by its hash, a document by its URI."""
    none = await api.client.get(PATH, params={"format": "trec"})
    shown = [
        (await judge(api, "large mammals", notes["guides/whales.md"], 2)).json(),
        (await judge(api, "large mammals", notes["bread.html"], 0)).json(),
    ]
    answer = await api.client.get(PATH, params={"format": "trec"})

    assert (none.status_code, none.json()["code"]) == (422, "no_judgments")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "".join(f"{row['query_id']} 0 {row['uri']} {row['grade']}\n" for row in shown)
    assert {row["query_id"] for row in shown} == {query_id_of("large mammals")}


async def test_a_dataset_is_made_of_judgments(api: Api, notes: dict[str, str]) -> None:
    """It is as they were then, and the collection has all of it."""
    path = f"{PATH}/dataset"
    none = await api.client.post(path, json={"name": "thumbs"})
    await judge(api, "large mammals", notes["guides/whales.md"], 1)
    await judge(api, "baking", notes["bread.html"], 1)
    await judge(api, "baking", notes["guides/whales.md"], 0)
    made = await api.client.post(path, json={"name": "thumbs"})
    again = await api.client.post(path, json={"name": "thumbs"})
    await judge(api, "baking", notes["guides/whales.md"], None)
    changed = await api.client.post(path, json={"name": "thumbs"})
    queries = (await api.client.get("/api/v1/benchmark-datasets/thumbs/queries")).json()["queries"]
    coverage = (await api.client.get("/api/v1/collections/notes/benchmark-datasets/thumbs/coverage")).json()

    assert (none.status_code, none.json()["code"]) == (422, "no_judgments")
    assert (made.status_code, again.status_code, again.json()) == (201, 200, made.json())
    assert (changed.status_code, changed.json()["code"]) == (409, "benchmark_dataset_exists")
    assert {name: made.json()[name] for name in ("format", "is_synthetic", "queries", "judgments", "source")} == {
        "format": "judgments",
        "is_synthetic": False,
        "queries": 2,
        "judgments": 3,
        "source": "judgments of collection notes",
    }
    assert [(query["text"], [judged["grade"] for judged in query["relevant"]]) for query in queries] == [
        ("large mammals", [1]),
        ("baking", [1, 0]),
    ]
    assert (coverage["mapped"], coverage["lost_queries"]) == ({"uri": 2}, 0)


@pytest.mark.parametrize(
    "body",
    [
        {"query": " "},
        {"query": "a\0b"},
        {"query": "x" * 4097},
        {"grade": 4},
        {"grade": -1},
        {"grade": True},
        {"grade": 1.5},
        {"document_id": "x"},
        {"more": 1},
    ],
)
async def test_a_wrong_judgment_is_refused(api: Api, folder: Path, body: dict[str, object]) -> None:
    """Before anything is looked up."""
    await api.create("notes", folder)
    right = {"query": "whales", "document_id": str(uuid4()), "grade": 1}
    answer = await api.client.put(PATH, json={**right, **body})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_document_must_be_there(api: Api, parts: Parts, notes: dict[str, str], tmp_path: Path) -> None:
    """In this collection, and not removed; what was said of one that is removed later stays, and can be changed."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.md").write_text("Another collection.")
    await api.wait(await api.create("more", tmp_path / "more"))
    (foreign,) = (await api.documents("more")).values()
    refused = [await judge(api, "whales", document, 1) for document in (str(uuid4()), foreign["id"])]
    await judge(api, "whales", notes["bread.html"], 1)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE documents SET state = 'removed'"))
    refused.append(await judge(api, "whales", notes["guides/whales.md"], 1))
    changed = await judge(api, "whales", notes["bread.html"], 0)

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(404, "document_not_found")}
    assert (changed.status_code, changed.json()["grade"]) == (200, 0)


async def fill(parts: Parts, count: int, *, query: str) -> None:
    """Judgments of documents that are gone; ``query`` may use their number, n."""
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                f"""INSERT INTO search_judgments (collection_id, user_id, query, document_id, uri, grade)
                    SELECT id, user_id, {query}, gen_random_uuid(), 'file:///gone/' || n, 1
                    FROM collections, generate_series(1, :count) n"""  # noqa: S608 — of the test
            ),
            {"count": count},
        )


@pytest.mark.parametrize(
    ("count", "query"), [(MOST_JUDGMENTS, "'query ' || n"), (MOST_OF_A_QUERY, "'whales'")], ids=["collection", "query"]
)
async def test_judgments_have_an_end(api: Api, parts: Parts, notes: dict[str, str], count: int, query: str) -> None:
    """A collection keeps so many, and a query; one that is there can be changed. Two at once are not both the last."""
    whales, bread = notes["guides/whales.md"], notes["bread.html"]
    await fill(parts, count - 1, query=query)
    async with asyncio.TaskGroup() as group:
        judging = [group.create_task(judge(api, "whales", document, 1)) for document in (whales, bread)]
    answers = [task.result() for task in judging]
    last = min(answers, key=lambda answer: answer.status_code).json()
    changed = await judge(api, "whales", last["document_id"], 2)
    made = await api.client.post(f"{PATH}/dataset", json={"name": "all"})

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "too_many_judgments"}
    assert (changed.status_code, changed.json()["grade"]) == (200, 2)
    assert (made.status_code, made.json()["queries"]) == (201, 1000 if count == MOST_JUDGMENTS else 1)


async def test_judgments_are_their_owners_alone(api: Api, notes: dict[str, str]) -> None:
    """Somebody else does not learn that there is such a collection."""
    key = await IdentityService(api.parts.database).issue_key("somebody else", name="test")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"query": "whales", "document_id": notes["bread.html"], "grade": 1}
    answers = [
        await api.client.put(PATH, json=body, headers=headers),
        await api.client.put(PATH, json={**body, "grade": None}, headers=headers),
        await api.client.get(PATH, headers=headers),
        await api.client.get(PATH, params={"format": "trec"}, headers=headers),
        await api.client.post(f"{PATH}/dataset", json={"name": "thumbs"}, headers=headers),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "collection_not_found")}


async def test_judgments_go_with_their_collection(api: Api, parts: Parts, notes: dict[str, str]) -> None:
    """A dataset that was made of them stays."""
    await judge(api, "whales", notes["guides/whales.md"], 1)
    await api.client.post(f"{PATH}/dataset", json={"name": "thumbs"})
    deleted = await api.client.delete("/api/v1/collections/notes")
    await api.wait({"operation_id": deleted.json()["operation_id"]})
    async with parts.database.begin() as connection:
        left = await connection.scalar(text("SELECT count(*) FROM search_judgments"))

    assert left == 0
    assert (await api.client.get("/api/v1/benchmark-datasets/thumbs")).json()["judgments"] == 1


async def test_the_judgments_of_one_query_are_those_of_who_asks(api: Api, parts: Parts, notes: dict[str, str]) -> None:
    """A page shows them again when somebody asks the same; how much was judged is counted over all."""
    whales, rockets = notes["guides/whales.md"], notes["guides/rockets.txt"]
    await judge(api, "large mammals", whales, 1)
    await judge(api, "large mammals", rockets, 0)
    await judge(api, "oceans", whales, 1)
    async with parts.database.begin() as connection:
        other = await connection.scalar(
            text("INSERT INTO users (id, name) VALUES (gen_random_uuid(), 'o') RETURNING id")
        )
        await connection.execute(
            text(
                """INSERT INTO search_judgments (collection_id, user_id, query, document_id, uri, grade)
                   SELECT collection_id, :other, query, document_id, uri, 3 FROM search_judgments"""
            ),
            {"other": other},
        )

    answer = await api.client.post(f"{PATH}/mine", json={"query": " large mammals "})
    counts = (await api.client.get(f"{PATH}/counts")).json()

    found = [(row["document_id"], row["grade"]) for row in answer.json()["judgments"]]
    assert found == [(rockets, 0), (whales, 1)]
    assert counts == {"judgments": 6, "queries": 2}

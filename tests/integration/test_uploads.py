"""Files that are sent to a collection: indexed, replaced, deleted."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Api

WHALES = b"# Whales\n\nWhales are large mammals that live in the ocean.\n"
ROCKETS = b"Rockets burn fuel and oxidiser to leave the atmosphere.\n"


async def create(api: Api, name: str = "sent") -> None:
    """An empty collection, ready to be searched."""
    response = await api.client.post("/api/v1/collections", json={"name": name})
    assert response.status_code == 202, response.text
    await api.wait(response.json()["operation"])


async def send(api: Api, files: dict[str, bytes], name: str = "sent", **query: str) -> dict[str, Any]:
    """Send files in one form; the answer."""
    parts = [("file", (path, content)) for path, content in files.items()]
    response = await api.client.post(f"/api/v1/collections/{name}/documents", files=parts, params=query)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def stored_files(api: Api) -> list[Path]:
    """All files in the folder of uploads."""
    folder = api.parts.settings.upload_folder
    assert folder is not None
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("worker")
async def test_sent_files_are_indexed_and_found(api: Api) -> None:
    """One form, two documents, one operation."""
    await create(api)

    answer = await send(api, {"guides/whales.md": WHALES, "rockets.txt": ROCKETS})
    ended = await api.wait(answer["operation"])
    hits = await api.search("sent", "mammals of the ocean")

    assert (ended["state"], ended["result"]["documents_added"]) == ("completed", 2)
    assert [upload["sha256"] for upload in answer["uploads"]] == [
        hashlib.sha256(content).hexdigest() for content in (WHALES, ROCKETS)
    ]
    assert (hits[0]["uri"], hits[0]["document_id"]) == (
        "upload:///guides/whales.md",
        answer["uploads"][0]["document_id"],
    )
    await api.assert_consistent("sent")


@pytest.mark.usefixtures("worker")
async def test_the_same_path_again_replaces(api: Api) -> None:
    """What was there is gone, from the search and from the disk; the same bytes again embed nothing."""
    await create(api)
    await api.wait((await send(api, {"a.md": WHALES}))["operation"])

    changed = await api.wait((await send(api, {"a.md": ROCKETS}))["operation"])
    same = await api.wait((await send(api, {"a.md": ROCKETS}))["operation"])
    hits = await api.search("sent", "whales")

    assert (changed["result"]["documents_changed"], same["result"]["unchanged"], same["result"]["tokens"]) == (1, 1, 0)
    assert same["result"]["stages"]["read"]["items"] == 0
    assert [hit["text"].strip() for hit in hits] == [ROCKETS.decode().strip()]
    assert [path.read_bytes() for path in stored_files(api)] == [ROCKETS]


@pytest.mark.usefixtures("worker")
async def test_a_deleted_upload_leaves_the_collection(api: Api) -> None:
    """Also most of many, one by one: nobody has to confirm what somebody has asked for."""
    await create(api)
    sent = await send(api, {f"{number}.txt": f"number {number}".encode() for number in range(24)})
    await api.wait(sent["operation"])

    for upload in sent["uploads"][1:]:
        gone = await api.client.delete(f"/api/v1/collections/sent/uploads/{upload['id']}")
        assert gone.status_code == 202, gone.text
    ended = await api.wait(gone.json())

    assert ended["state"] == "completed"
    documents = await api.documents("sent")
    assert {path for path, document in documents.items() if document["state"] != "removed"} == {"0.txt"}
    assert len(stored_files(api)) == 1
    await api.assert_consistent("sent")

"""Documents that failed and are tried again, without a scan."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.pipeline.retry import find_outside, settled_codes
from tests.harness import Api

FAILURES = {
    "whales.md": ("failed", "embedder_unavailable"),
    "rockets.txt": ("failed", "unsupported_format"),
    "bread.html": ("needs_ocr", "needs_ocr"),
}


async def _retry(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/api/v1/collections/notes/documents/retry", json=body)
    assert answer.status_code == 202, answer.text
    return await api.wait(answer.json())


async def _break(parts: Parts, *, attempts: int = 1) -> None:
    """Have each document failed in its own way, as if it had never been indexed."""
    async with parts.database.begin() as connection:
        for name, (state, code) in FAILURES.items():
            await connection.execute(
                text(
                    """UPDATE documents SET state = :state, error_code = :code, error_message = 'x',
                       attempts = :attempts, content_hash = NULL WHERE path LIKE '%' || :name"""
                ),
                {"state": state, "code": code, "name": name, "attempts": attempts},
            )


def _states(documents: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {Path(path).name: document["state"] for path, document in documents.items()}


@pytest.fixture
async def notes(api: Api, parts: Parts, folder: Path, worker: None) -> Api:
    """A collection whose three documents have failed, each in its own way."""
    await api.wait(await api.create("notes", folder))
    await _break(parts)
    return api


async def test_what_may_be_better_now_is_tried_again(notes: Api) -> None:
    """A code that stays true as long as the document does is left alone, and so are scans."""
    ended = await _retry(notes)

    assert ended["state"] == "completed", ended
    result = ended["result"]
    assert (result["documents_retried"], result["documents"], result["documents_failed"]) == (1, 1, 0)
    assert (result["documents_added"], result["documents_removed"], result["needs_ocr"]) == (0, 0, 0)
    assert _states(await notes.documents("notes")) == {
        "whales.md": "completed",
        "rockets.txt": "failed",
        "bread.html": "needs_ocr",
    }
    assert ended["progress"]["documents"]["total"] == 1
    await notes.assert_consistent("notes")


async def test_scans_are_tried_again_when_that_is_said(notes: Api) -> None:
    """As after Tesseract was installed."""
    ended = await _retry(notes, include_needs_ocr=True)

    assert ended["result"]["documents_retried"] == 2
    assert _states(await notes.documents("notes"))["bread.html"] == "completed"


async def test_attempts_run_out_but_not_for_those_that_are_named(notes: Api, parts: Parts) -> None:
    """An id overrules attempts and code; other documents stay as they are."""
    await _break(parts, attempts=3)
    document = (await notes.documents("notes"))["guides/rockets.txt"]["id"]

    none = await _retry(notes)
    named = await _retry(notes, ids=[document])

    assert none["result"]["documents_retried"] == 0
    assert named["result"]["documents_retried"] == named["result"]["documents"] == 1
    assert _states(await notes.documents("notes")) == {
        "whales.md": "failed",
        "rockets.txt": "completed",
        "bread.html": "needs_ocr",
    }


async def test_unknown_document_is_not_found(notes: Api) -> None:
    """Nothing is queued for it."""
    path = "/api/v1/collections/notes/documents/retry"

    answer = await notes.client.post(path, json={"ids": ["7d1f9f2e-30c4-5b8e-9d0c-4f1f5b8a2c33"]})

    assert (answer.status_code, answer.json()["code"]) == (404, "document_not_found")


async def test_file_that_is_gone_fails_as_such(notes: Api, folder: Path) -> None:
    """The source is there and its file is not: that costs one document."""
    (folder / "guides" / "whales.md").unlink()

    ended = await _retry(notes)

    assert (ended["state"], ended["result"]["documents_failed"]) == ("completed", 1)
    assert (await notes.documents("notes"))["guides/whales.md"]["error_code"] == "file_vanished"


async def test_source_that_is_gone_is_the_operations_error(notes: Api, folder: Path) -> None:
    """Nothing is said about its documents, which the next APPEND decides on."""
    await asyncio.to_thread(folder.rename, folder.with_name("elsewhere"))

    ended = await _retry(notes)

    assert (ended["state"], ended["error_code"]) == ("failed", "source_not_found")
    assert _states(await notes.documents("notes"))["whales.md"] == "pending"


async def test_link_out_of_the_source_is_not_followed(notes: Api, folder: Path, tmp_path: Path) -> None:
    """No scan has looked at what the file is now."""
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody may find this")
    (folder / "guides" / "whales.md").unlink()
    (folder / "guides" / "whales.md").symlink_to(secret)

    ended = await _retry(notes)

    assert ended["result"]["documents_failed"] == 1
    assert (await notes.documents("notes"))["guides/whales.md"]["error_code"] == "symlink_outside_source"
    assert all("nobody" not in hit["text"] for hit in await notes.search("notes", "nobody may find this"))


async def test_what_fails_again_stays_failed(notes: Api, folder: Path) -> None:
    """It is tried once an operation, and its attempts go on counting."""
    file = folder / "guides" / "whales.md"
    file.write_bytes(b"")

    ended = await _retry(notes)
    again = await _retry(notes)

    assert ended["result"]["documents_failed"] == 1
    assert again["result"]["documents_retried"] == 0
    document = (await notes.documents("notes"))["guides/whales.md"]
    assert (document["error_code"], document["attempts"]) == ("empty_document", 2)


def test_codes_that_stay_true() -> None:
    """A document's own faults and refusals stay; outages, time limits and what nobody knows do not."""
    codes = settled_codes()

    assert {"encrypted_document", "embedder_rejected", "symlink_outside_source"} <= codes
    assert not codes & {"embedder_unavailable", "document_timeout", "extraction_failed", "from_the_future"}


def test_places_outside_of_the_source(tmp_path: Path) -> None:
    """A folder whose name only begins as the root's is outside."""
    root = tmp_path / "root"
    for folder in (root, tmp_path / "root-2"):
        folder.mkdir()
        (folder / "a.md").write_text("x")
    (root / "link.md").symlink_to(tmp_path / "root-2" / "a.md")
    inside, beside, linked = uuid4(), uuid4(), uuid4()
    places = {inside: root / "a.md", beside: tmp_path / "root-2" / "a.md", linked: root / "link.md"}

    found = find_outside(str(root), [(document, path.as_uri()) for document, path in places.items()])

    assert found == [beside, linked]

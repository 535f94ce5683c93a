"""Folders whose ``.gitignore`` files are honoured."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Api
from tests.integration.test_plan import figures, planned

pytestmark = pytest.mark.usefixtures("worker")

HONOURED = {"options": {"gitignore": True}}


async def test_what_it_leaves_out_is_no_document(api: Api, folder: Path) -> None:
    """A dry run, a test of the source and the operation agree, and a change of the file is followed."""
    (folder / ".gitignore").write_text("*.txt\n")
    said = await planned(api, "notes", folder, source=HONOURED)
    first = await api.wait(await api.create("notes", folder, source=HONOURED))
    tested = await look(api, folder)
    (folder / ".gitignore").write_text("/bread.html\n")
    said_again = await planned(api, "notes", folder)
    again = await api.wait(await api.append("notes"))

    assert figures(said) == figures(first["result"])
    assert (first["result"]["documents_added"], first["result"]["skipped"]) == (2, 2)
    assert tested["skipped"] == {"hidden": 1, "gitignore": 1}
    assert figures(said_again) == figures(again["result"])
    assert (again["result"]["documents_added"], again["result"]["documents_removed"]) == (1, 1)
    assert await api.search("notes", "rocket fuel", mode="bm25")
    assert not await api.search("notes", "dough", mode="bm25")
    await api.assert_consistent("notes")


async def look(api: Api, folder: Path) -> dict[str, Any]:
    """What a test of the source says."""
    body = {"source": {"url": folder.as_uri(), **HONOURED}}
    answer = await api.client.post("/api/v1/collections/notes/sources/test", json=body)
    assert answer.status_code == httpx.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_without_the_option_it_is_a_hidden_file(api: Api, folder: Path) -> None:
    """Nobody loses documents to a file that was written for git."""
    (folder / ".gitignore").write_text("*\n")

    ended = await api.wait(await api.create("notes", folder))

    assert ended["result"]["documents_added"] == 3


async def test_nothing_is_removed_while_nobody_knows_what_it_says(api: Api, folder: Path) -> None:
    """A file that cannot be followed is a document with an error until it can; it is not read again without a scan."""
    guides = folder / "guides" / ".gitignore"
    await api.wait(await api.create("notes", folder, source=HONOURED))
    guides.write_text("a" * 5000)
    broken = await api.wait(await api.append("notes"))
    failed = (await api.documents("notes"))["guides/.gitignore"]
    guides.unlink()
    mended = await api.wait(await api.append("notes"))

    assert (broken["state"], broken["result"]["documents_failed"]) == ("completed", 1)
    assert (broken["result"]["documents_removed"], broken["result"]["documents"]) == (0, 3)
    assert failed["error_code"] == "unreadable_gitignore"
    assert (mended["result"]["documents_failed"], mended["result"]["unchanged"]) == (0, 3)
    assert await api.search("notes", "rocket fuel", mode="bm25")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gitignore": "yes"}, "gitignore is true or false"), ({"depth": 2}, "a folder has no option 'depth'")],
)
async def test_what_is_no_option_is_refused(api: Api, folder: Path, options: dict[str, Any], message: str) -> None:
    """With what could be said instead."""
    body = {"name": "notes", "sources": [{"url": folder.as_uri(), "options": options}]}

    answer = await api.client.post("/api/v1/collections", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_source")
    assert message in answer.text

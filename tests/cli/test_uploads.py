"""``vecloom index --upload`` and ``vecloom uploads``, against a server of another machine."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from app.api.serving import serving
from app.bootstrap import Parts, open_api
from app.operations.collections import IdentityService
from tests.harness import run_cli, wait_until
from tests.tcp_proxy import BreakingProxy

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Away:
    """A server behind a line that can break, and how commands reach it."""

    proxy: BreakingProxy
    key: str
    folder: Path

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command against it."""
        return await run_cli(*arguments, data=self.folder, VECLOOM_URL=self.proxy.url, VECLOOM_API_KEY=self.key)


@pytest.fixture
async def away(parts: Parts, worker: None, tmp_path: Path) -> AsyncIterator[Away]:
    """A server with a worker."""
    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as url:
        key = await IdentityService(parts.database).issue_key("tester", name="test")
        async with BreakingProxy(url).running() as proxy:
            yield Away(proxy=proxy, key=key, folder=tmp_path / "nothing")


async def test_a_folder_is_sent_and_indexed(away: Away, folder: Path) -> None:
    """With what lies in folders; again, it sends only what has changed."""
    (folder / ".hidden").write_text("hidden")

    code, out, err = await away.run("index", str(folder), "-c", "sent", "--upload", "--json")
    (folder / "bread.html").write_text("<p>Bread is eaten.</p>")
    _, again, _ = await away.run("index", str(folder), "-c", "sent", "--upload", "--json")
    _, found, _ = await away.run("search", "sent", "mammals of the ocean", "--json")

    first, second = orjson.loads(out), orjson.loads(again)
    assert code == 0, err
    assert (first["sent"], first["sent_before"], first["result"]["documents_added"]) == (3, 0, 3)
    assert (second["sent"], second["sent_before"], second["result"]["documents_changed"]) == (1, 2, 1)
    assert orjson.loads(found)["hits"][0]["uri"] == "upload:///documents/guides/whales.md"


async def test_a_large_file_goes_on_after_its_line_broke(away: Away, tmp_path: Path) -> None:
    """Parts that have come are not sent again; it is whole in the end."""
    words = b"Whales are large mammals. " + os.urandom(64).hex().encode() + b"\n"
    (tmp_path / "large.txt").write_bytes(words * (20 * MIB // len(words)))
    away.proxy.break_after = 12 * MIB

    code, out, err = await away.run("index", str(tmp_path / "large.txt"), "-c", "sent", "--upload", "--json")
    _, listed, _ = await away.run("uploads", "sent", "--json")

    assert code == 0, err
    assert orjson.loads(out)["sent"] == 1
    assert away.proxy.breaks == 1
    assert away.proxy.carried < 32 * MIB
    assert [item["path"] for item in orjson.loads(listed)["uploads"]] == ["large.txt"]


async def test_a_file_that_cannot_be_sent_does_not_stop_the_others(away: Away, folder: Path) -> None:
    """It is named, and the exit code is 3."""
    (folder / "back\\slash.txt").write_text("no document has such a name on every system")
    (folder / "nothing.txt").symlink_to("nowhere")

    code, out, err = await away.run("index", str(folder), "-c", "sent", "--upload", "--json")

    assert (code, orjson.loads(out)["sent"], orjson.loads(out)["not_sent"]) == (3, 3, 2), err
    assert "invalid_upload_path" in err
    assert "unreadable_file" in err


async def test_an_upload_is_deleted_by_its_path(away: Away, folder: Path) -> None:
    """And its document is found no more."""
    await away.run("index", str(folder), "-c", "sent", "--upload")

    code, out, err = await away.run("uploads", "sent", "--delete", "documents/guides/whales.md", "--json")
    missing, _, why = await away.run("uploads", "sent", "--delete", "documents/guides/whales.md")
    _, listed, _ = await away.run("uploads", "sent")

    assert (code, orjson.loads(out)["result"]["documents_removed"]) == (0, 1), err
    assert missing == 1
    assert "upload_not_found" in why
    assert [line.split()[0] for line in listed.splitlines()] == ["documents/bread.html", "documents/guides/rockets.txt"]


async def test_options_that_do_not_go_with_it_are_refused(away: Away, folder: Path) -> None:
    """Before anything is sent or created."""
    watch, _, _ = await away.run("index", str(folder), "-c", "sent", "--upload", "--watch")
    url, _, why = await away.run("index", "https://example.com/", "-c", "sent", "--upload")
    missing, _, gone = await away.run("index", str(folder / "missing"), "-c", "sent", "--upload")

    assert (watch, url, missing) == (1, 1, 1)
    assert "invalid_usage" in why
    assert "source_not_found" in gone


async def test_the_proxy_breaks(away: Away) -> None:
    """What the tests above rest on."""
    away.proxy.break_after = 0

    code, _, err = await away.run("ops", "list", "--json")

    async def has_broken() -> bool:
        return away.proxy.breaks == 1

    await wait_until(has_broken)
    assert (code, "server_unreachable" in err) == (1, True)

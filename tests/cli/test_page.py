"""``vecloom page``: an address that signs in, once."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from rich.console import Console

from app.api.serving import serving
from app.bootstrap import Parts, open_api
from app.cli.client import Client
from app.cli.page_command import announce
from app.operations.collections import IdentityService
from tests.harness import run_cli


@pytest.fixture
async def url(parts: Parts) -> AsyncIterator[str]:
    """A server."""
    async with open_api(parts) as application, serving(application, host="127.0.0.1", port=0) as served:
        yield served


async def test_the_address_signs_in_once(parts: Parts, url: str, tmp_path: Path) -> None:
    """It has no key in it, and its code is in the fragment, which browsers do not send."""
    key = await IdentityService(parts.database).issue_key("someone", name="test")

    status, out, _ = await run_cli("page", "--json", data=tmp_path, VECLOOM_URL=url, VECLOOM_API_KEY=key)

    address = urlsplit(json.loads(out)["address"])
    name, _, code = address.fragment.partition("=")
    async with httpx.AsyncClient(base_url=url) as browser:
        answers = [await browser.post("/api/v1/session", json={"code": code}) for _ in range(2)]
    assert status == 0
    assert (f"{address.scheme}://{address.netloc}", address.path, address.query, name) == (url, "/", "", "code")
    assert key not in out
    assert [answer.status_code for answer in answers] == [201, 401]


async def test_without_a_server_there_is_no_page(tmp_path: Path) -> None:
    """The command starts none: that would end with it."""
    status, out, _ = await run_cli("page", "--json", data=tmp_path / "data")

    assert status == 1
    assert json.loads(out)["error"]["code"] == "server_unreachable"
    assert "vecloom up" in json.loads(out)["error"]["detail"]
    assert not (tmp_path / "data").exists()


async def test_only_a_terminal_is_told_a_code(parts: Parts, url: str, tmp_path: Path) -> None:
    """What is not one may be a log."""
    key = await IdentityService(parts.database).issue_key("someone", name="test")
    master, terminal = os.openpty()
    with os.fdopen(terminal, "w") as screen, (tmp_path / "log").open("w") as log:
        async with aclosing(Client(url, key)) as client:
            await announce(client, Console(file=screen, highlight=False))
            await announce(client, Console(file=log, force_terminal=True))
        screen.flush()
        seen = os.read(master, 4096).decode()
    os.close(master)

    written = (tmp_path / "log").read_text()
    assert f"{url}/#code=" in seen
    assert url in written
    assert "code=" not in written
    assert key not in seen + written

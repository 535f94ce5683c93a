"""``vecloom page``: an address that signs in, once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.serving import serving
from app.bootstrap import Parts, open_api
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

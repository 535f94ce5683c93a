"""A caller of the API who goes on asking while it is away, as a patient program would."""

import asyncio
from typing import Any

import httpx

from tests.chaos.journal import Journal

PATIENCE_SECONDS = 120.0
REQUEST_SECONDS = 10.0
PAUSE_SECONDS = 0.25


HONEST = frozenset({"embedder_changed"})
"""Codes of a 500 that is no bug: a model that answers vectors of another length is another model."""


def _code_of(answer: httpx.Response) -> str | None:
    """The stable code of a problem document."""
    if "json" not in answer.headers.get("content-type", ""):
        return None
    code: str | None = answer.json().get("code")
    return code


class GaveUpError(Exception):
    """The API gave no usable answer for too long."""


class Client:
    """HTTP through whichever API process answers.

    Attributes:
        urls: base address of each API process.
        headers: what authenticates.
    """

    def __init__(self, urls: list[str], *, key: str, journal: Journal) -> None:
        self.urls = urls
        self.headers = {"Authorization": f"Bearer {key}"}
        self._journal = journal
        self._turn = 0
        self._http = httpx.AsyncClient(headers=self.headers, timeout=REQUEST_SECONDS)

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    def next_url(self) -> str:
        """The API processes in turn."""
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]

    async def call(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, key: str | None = None
    ) -> tuple[httpx.Response, int]:
        """The first answer that is not about an outside system being away, and how many tries it took.

        A 500 is a bug of ours and noted as one.

        Raises:
            GaveUpError: if there is none for ``PATIENCE_SECONDS``.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        last = "nothing"
        tries = 0
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            tries += 1
            url = f"{self.next_url()}/api/v1{path}"
            try:
                answer = await self._http.request(method, url, json=body, headers=headers)
            except httpx.TransportError as error:
                last = type(error).__name__
            else:
                if answer.status_code < 500:
                    return answer, tries
                last = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code == 500 and _code_of(answer) not in HONEST:
                    self._journal.violate(f"{method} {path} was answered with 500 {_code_of(answer)}")
            await asyncio.sleep(PAUSE_SECONDS)
        raise GaveUpError(f"{method} {path}: no usable answer for {PATIENCE_SECONDS:.0f} s, last {last}")

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON of a resource that must exist."""
        answer, _ = await self.call("GET", path)
        if answer.status_code != 200:
            raise GaveUpError(f"GET {path} was answered with {answer.status_code} {answer.text[:300]}")
        body: dict[str, Any] = answer.json()
        return body

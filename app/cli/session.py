"""Finds the server a command talks to, or starts the embedded stack for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.cli.client import Client, CliError
from app.domain.errors import DataFolderBusyError, DomainError
from app.embedded.folder import DataFolder
from app.logs import log_nowhere, log_to_file
from app.settings import Settings

PATIENCE_SECONDS = 15.0


@asynccontextmanager
async def open_client(settings: Settings, *, worker: bool = True) -> AsyncIterator[Client]:
    """A client of ``VECLOOM_URL``, of the server on the data folder, or of a stack started for this command.

    ``worker`` says whether that stack shall execute operations; a command that only looks is faster without.
    """
    if settings.url is not None:
        if settings.api_key is None:
            raise CliError("missing_setting", "set VECLOOM_API_KEY, the key for the server at VECLOOM_URL")
        async with _client(settings.url, settings.api_key.get_secret_value()) as client:
            yield client
        return
    served = DataFolder(settings.data).read_server_file()
    if served is not None:
        async with _client(served["url"], served["api_key"], is_found=True) as client:
            yield client
        return
    async with _embedded(settings, worker=worker) as client:
        yield client


@asynccontextmanager
async def _client(url: str, api_key: str, *, is_found: bool = False) -> AsyncIterator[Client]:
    client = Client(url, api_key, is_found=is_found)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def _embedded(settings: Settings, *, worker: bool) -> AsyncIterator[Client]:
    # imported here: a client of a running server needs none of it
    from app.bootstrap import serve_embedded  # noqa: PLC0415 — see above

    try:
        log_nowhere()  # the folder of the log file is not ours before the stack has locked it
        async with serve_embedded(settings, worker=worker) as served, _client(served.url, served.api_key) as client:
            log_to_file(settings.log_level, DataFolder(settings.data).logs / "vecloom.log")
            yield client
    except DataFolderBusyError as busy:
        served_by_other = await _wait_for_server_file(settings, busy)
        async with _client(served_by_other["url"], served_by_other["api_key"], is_found=True) as client:
            yield client
    except DomainError as error:
        raise CliError(error.code, error.message) from error


async def _wait_for_server_file(settings: Settings, busy: DataFolderBusyError) -> dict[str, Any]:
    """The owner of the folder may still be starting."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        served = DataFolder(settings.data).read_server_file()
        if served is not None:
            return served
        await asyncio.sleep(0.1)
    raise CliError(busy.code, busy.message)

"""Everything in one process tree on one data folder."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.api.serving import serving
from app.bootstrap.api import open_api
from app.bootstrap.parts import LOCAL_USER, Endpoints, open_parts
from app.bootstrap.worker import replacing_worker
from app.db.migrate import migrate as migrate_database
from app.domain.users import ADMIN
from app.embedded.folder import DataFolder
from app.embedded.stack import EmbeddedStack
from app.operations.collections import IdentityService
from app.secrets_box import new_key
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server."""

    url: str
    api_key: str


@asynccontextmanager
async def serve_embedded(
    settings: Settings, *, port: int = 0, host: str = "127.0.0.1", worker: bool = True
) -> AsyncIterator[Served]:
    """Everything in one process tree on one data folder: stores, API and worker.

    Raises:
        DataFolderBusyError: if another process serves this folder.
    """
    async with AsyncExitStack() as stack:
        embedded = await stack.enter_async_context(EmbeddedStack(settings.data))
        endpoints = Endpoints(
            database_url=embedded.database_url,
            redis_url=embedded.redis_url,
            qdrant_url=embedded.qdrant_url,
            qdrant_api_key=embedded.qdrant_api_key,
        )
        await migrate_database(endpoints.database_url)
        DataFolder(settings.data).ensure_secret_key(new_key)
        parts = await stack.enter_async_context(open_parts(settings, endpoints))
        key = await IdentityService(parts.database).issue_key(LOCAL_USER, name="embedded", scopes=(ADMIN,))
        application = await stack.enter_async_context(open_api(parts))
        url = await stack.enter_async_context(serving(application, host=host, port=port))
        if worker:
            await parts.dispatcher.recover()
            await stack.enter_async_context(replacing_worker(parts))
        folder = DataFolder(settings.data)
        folder.write_server_file({"url": url, "api_key": key, "pid": os.getpid(), **_endpoint_file(endpoints)})
        stack.callback(folder.remove_server_file)
        yield Served(url=url, api_key=key)


def _endpoint_file(endpoints: Endpoints) -> dict[str, str | None]:
    """What `vecloom worker` on the same folder needs."""
    return {
        "database_url": endpoints.database_url,
        "redis_url": endpoints.redis_url,
        "qdrant_url": endpoints.qdrant_url,
        "qdrant_api_key": endpoints.qdrant_api_key,
    }

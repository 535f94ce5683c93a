"""The API as its own process: ``uvicorn --factory app.main:create_app``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.api.requests import NO_TELEMETRY
from app.bootstrap import LOCAL_USER, configured_endpoints, open_api, open_parts
from app.domain.users import ADMIN
from app.logs import log_to_stderr
from app.operations.collections import IdentityService
from app.processes.garbage import freeze_garbage
from app.settings import Settings, read_settings


class _Application:
    """Opens its parts when the server starts, so that they live on the server's event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._inner: FastAPI | None = None
        self._outer = FastAPI(lifespan=self._lifespan, **NO_TELEMETRY)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        parts_context = open_parts(self._settings, configured_endpoints(self._settings))
        async with parts_context as parts, open_api(parts) as application:
            if self._settings.api_key is not None:
                key = self._settings.api_key.get_secret_value()
                await IdentityService(parts.database).accept_key(LOCAL_USER, key, name="configured", scopes=(ADMIN,))
            self._inner = application
            freeze_garbage()
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: the lifespan goes to the outer application, everything else to the inner one."""
        application = self._outer if scope["type"] == "lifespan" or self._inner is None else self._inner
        await application(scope, receive, send)


def create_app() -> _Application:
    """The ASGI application for the settings of the environment."""
    settings = read_settings()
    log_to_stderr(settings.log_level)
    return _Application(settings)

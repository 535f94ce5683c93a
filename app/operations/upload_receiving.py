"""Writes what is sent to files, off the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import ParamSpec, TypeVar
from uuid import UUID

from app.domain.uploads import UploadBusyError, UploadTooLargeError
from app.sources.upload_folder import UploadFolder, UploadWriter

WRITE_BYTES = 1024 * 1024
"""How much is collected before a thread writes it."""
TAKEOVER_SECONDS = 10.0

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_thread(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call in a thread, and wait for its end even if nobody wants the answer any more: it has a file in hand."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait({call})
        raise


class FileReceiver:
    """One file that grows by what is sent, up to ``most`` bytes in all."""

    def __init__(self, folder: UploadFolder, writer: UploadWriter, *, most: int) -> None:
        self._folder = folder
        self._writer = writer
        self._most = most
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    @property
    def offset(self) -> int:
        """How many bytes have come."""
        return self._writer.offset + self._waiting_bytes

    async def take(self, content: bytes) -> None:
        """Add bytes.

        Raises:
            UploadTooLargeError: if they are more than may come.
            UploadDiskFullError: if there is no room.
        """
        if self.offset + len(content) > self._most:
            raise UploadTooLargeError(f"the file has more than {self._most} bytes")
        self._waiting.append(content)
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= WRITE_BYTES:
            await self._write()

    async def _write(self) -> None:
        content = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        await in_thread(self._writer.write, content)

    async def keep(self) -> int:
        """Have the disk keep all that has come; how much that is.

        Raises:
            UploadDiskFullError: if too little room is left.
        """
        await self._write()
        await in_thread(self._writer.sync)
        await in_thread(self._folder.require_room)
        return self._writer.offset

    async def cut(self, offset: int) -> None:
        """Forget what lies behind ``offset``."""
        self._waiting, self._waiting_bytes = [], 0
        await in_thread(self._writer.cut, offset)

    async def aclose(self) -> None:
        """Let others write to the file."""
        await in_thread(self._writer.close)


class Turn:
    """The right to send an upload, in this process. Who comes later has it from who came before."""

    def __init__(self) -> None:
        self.is_over = False
        self.released = asyncio.Event()
        self._patience: asyncio.Timeout | None = None

    def end(self) -> None:
        """Have the holder stop waiting for more."""
        self.is_over = True
        if self._patience is not None:
            with suppress(RuntimeError):
                self._patience.reschedule(asyncio.get_running_loop().time())

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What is sent, until the sender ends or somebody else takes over."""
        while not self.is_over:
            try:
                async with asyncio.timeout(None) as self._patience:
                    chunk = await anext(chunks, None)
            except TimeoutError:
                return
            finally:
                self._patience = None
            if chunk is None:
                return
            yield chunk


class Turns:
    """Who is sending what."""

    def __init__(self) -> None:
        self._held: dict[UUID, Turn] = {}

    @asynccontextmanager
    async def hold(self, upload_id: UUID) -> AsyncIterator[Turn]:
        """Send an upload while the block runs: a sender that came back does not wait for its own broken connection.

        Raises:
            UploadBusyError: if the other one does not stop.
        """
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                while (other := self._held.get(upload_id)) is not None:
                    other.end()
                    await other.released.wait()
        except TimeoutError:
            raise UploadBusyError(upload_id) from None
        turn = self._held[upload_id] = Turn()
        try:
            yield turn
        finally:
            del self._held[upload_id]
            turn.released.set()

    async def settle(self, upload_id: UUID) -> None:
        """Have whoever sends it now stop, so that its offset stays as it is."""
        async with self.hold(upload_id):
            pass

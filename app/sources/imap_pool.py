"""Connections to one IMAP server that are used again."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from app.sources.imap_client import ImapSession, RefusedError
from app.sources.imap_names import MailboxUrl
from app.sources.imap_wire import Patience

CONNECTIONS = 3
"""Servers that allow few give ten or more to a user, who has programs of his own."""


class ImapPool:
    """Connects when it has to, and keeps what still works.

    Args:
        place: the server.
        secrets: how we log in.
        plain: whether a server without encryption is talked to.
        trust: what TLS is verified with; what sites are without it.
    """

    def __init__(
        self,
        place: MailboxUrl,
        *,
        secrets: Mapping[str, str],
        plain: bool,
        allow_private: bool,
        patience: Patience,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._place = place
        self._secrets = secrets
        self._plain = plain
        self._allow_private = allow_private
        self._patience = patience
        self._trust = trust
        self._idle: list[ImapSession] = []
        self._used: set[ImapSession] = set()
        self._room = asyncio.Semaphore(CONNECTIONS)

    @asynccontextmanager
    async def use(self, folder: str | None = None) -> AsyncIterator[ImapSession]:
        """A connection for as long as a block runs; one that has opened ``folder`` if there is any.

        Raises:
            DomainError: see ``ImapSession.open``.
        """
        async with self._room:
            session = self._take(folder) or await self._open()
            self._used.add(session)
            try:
                yield session
            except RefusedError:
                self._idle.append(session)
                raise
            except BaseException:
                session.abort()
                raise
            else:
                self._idle.append(session)
            finally:
                self._used.discard(session)

    def _take(self, folder: str | None) -> ImapSession | None:
        self._idle = [session for session in self._idle if session.is_open]
        if not self._idle:
            return None
        opened = (session for session in self._idle if session.folder is not None and session.folder.name == folder)
        session = next(opened, self._idle[0])
        self._idle.remove(session)
        return session

    async def _open(self) -> ImapSession:
        session = ImapSession(
            self._place, allow_private=self._allow_private, patience=self._patience, trust=self._trust
        )
        await session.open(self._secrets, plain=self._plain)
        return session

    async def forget_idle(self) -> None:
        """Close connections that nobody uses; they may have been closed at the other end."""
        idle, self._idle = self._idle, []
        for session in idle:
            await session.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for session in self._used:
            session.abort()
        await self.forget_idle()

"""Signing in and out with a browser."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.audit import record
from app.db.database import Database
from app.db.sessions import SessionRepository
from app.db.users import UserRepository
from app.domain.audit import Subject, name_actor
from app.domain.sessions import BrowserSession, SignInCode

CODE_SECONDS = 900.0


class SessionService:
    """One method, one transaction."""

    def __init__(self, database: Database, *, lifetime_seconds: float) -> None:
        self._database = database
        self._lifetime_seconds = lifetime_seconds

    async def begin(self, key: str) -> tuple[BrowserSession, str]:
        """A session of a key, and its token. Raises NotAuthenticatedError."""
        async with self._database.begin() as connection:
            caller = await UserRepository(connection).authenticate(key)
            return await self._begin(connection, caller.key_id)

    async def begin_by_code(self, code: str) -> tuple[BrowserSession, str]:
        """A session of the key that the code was made with, and its token. Raises SignInCodeUnknownError."""
        async with self._database.begin() as connection:
            return await self._begin(connection, await SessionRepository(connection).use_code(code))

    async def get(self, token: str) -> BrowserSession:
        """Raises NotAuthenticatedError."""
        async with self._database.single() as connection:
            return await SessionRepository(connection).get(token)

    async def end(self, token: str) -> None:
        """End a session, if there is one."""
        async with self._database.begin() as connection:
            sessions = SessionRepository(connection)
            ended = await sessions.end(token)
            if ended is not None:
                await _note(connection, "session.ended", ended)

    async def issue_code(self, key_id: UUID) -> SignInCode:
        """A code that begins one session of this key within a quarter of an hour."""
        async with self._database.begin() as connection:
            return await SessionRepository(connection).add_code(key_id, seconds=CODE_SECONDS)

    async def _begin(self, connection: AsyncConnection, key_id: UUID) -> tuple[BrowserSession, str]:
        session, token = await SessionRepository(connection).begin(key_id, seconds=self._lifetime_seconds)
        await _note(connection, "session.begun", session)
        return session, token


async def _note(connection: AsyncConnection, action: str, session: BrowserSession) -> None:
    """Write it down; whoever signs in or out says with it who they are."""
    name_actor(session.caller)
    subject = Subject(kind="session", id=session.id, name=session.caller.key_name)
    await record(connection, action, subject, owner_id=session.caller.user_id)

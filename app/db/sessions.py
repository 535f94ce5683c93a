"""Rows of ``browser_sessions`` and ``sign_in_codes``."""

import secrets
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.statements import parsed
from app.db.users import hash_key
from app.domain.errors import NotAuthenticatedError
from app.domain.sessions import BrowserSession, SignInCode, SignInCodeUnknownError
from app.domain.users import Caller

MOST_SESSIONS = 100
MOST_CODES = 20
"""Of a key; older ones end."""


class SessionRepository:
    """Sessions by their tokens, of which only hashes are stored; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, key_id: UUID, *, seconds: float) -> tuple[BrowserSession, str]:
        """A new session of a valid key, and its token, the only time it can be seen."""
        await self._tidy("browser_sessions", key_id, most=MOST_SESSIONS)
        token = secrets.token_urlsafe(32)
        await self._connection.execute(
            parsed(
                """INSERT INTO browser_sessions (id, key_id, hash, expires_at)
                   VALUES (:id, :key, :hash, now() + make_interval(secs => :seconds))"""
            ),
            {"id": uuid4(), "key": key_id, "hash": hash_key(token), "seconds": seconds},
        )
        return await self.get(token), token

    async def get(self, token: str) -> BrowserSession:
        """Raises NotAuthenticatedError for one that has ended, or whose key is expired or revoked."""
        found = await self._connection.execute(
            parsed(
                """SELECT s.id, s.expires_at, k.id AS key_id, k.user_id, k.scopes, k.name, u.name AS user_name
                   FROM browser_sessions s JOIN api_keys k ON k.id = s.key_id JOIN users u ON u.id = k.user_id
                   WHERE s.hash = :hash AND s.expires_at > now() AND k.revoked_at IS NULL
                   AND (k.expires_at IS NULL OR k.expires_at > now())"""
            ),
            {"hash": hash_key(token)},
        )
        row = found.first()
        if row is None:
            raise NotAuthenticatedError("the session has ended; sign in again")
        caller = Caller(
            user_id=row.user_id,
            key_id=row.key_id,
            scopes=frozenset(row.scopes),
            user_name=row.user_name,
            key_name=row.name,
        )
        return BrowserSession(id=row.id, caller=caller, expires_at=row.expires_at)

    async def end(self, token: str) -> BrowserSession | None:
        """End a session; gives it, if there was one."""
        try:
            session = await self.get(token)
        except NotAuthenticatedError:
            return None
        await self._connection.execute(parsed("DELETE FROM browser_sessions WHERE id = :id"), {"id": session.id})
        return session

    async def add_code(self, key_id: UUID, *, seconds: float) -> SignInCode:
        """A code that begins a session of this key once."""
        await self._tidy("sign_in_codes", key_id, most=MOST_CODES)
        code = secrets.token_urlsafe(32)
        expires_at = await self._connection.scalar(
            parsed(
                """INSERT INTO sign_in_codes (hash, key_id, expires_at)
                   VALUES (:hash, :key, now() + make_interval(secs => :seconds)) RETURNING expires_at"""
            ),
            {"hash": hash_key(code), "key": key_id, "seconds": seconds},
        )
        return SignInCode(code=code, expires_at=expires_at)

    async def use_code(self, code: str) -> UUID:
        """The id of its key, which is valid; of two at once one gets it.

        Raises:
            SignInCodeUnknownError: if it was used, is too old, or its key is expired or revoked.
        """
        key_id: UUID | None = await self._connection.scalar(
            parsed(
                """DELETE FROM sign_in_codes c USING api_keys k WHERE c.hash = :hash AND c.expires_at > now()
                   AND k.id = c.key_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
                   RETURNING k.id"""
            ),
            {"hash": hash_key(code)},
        )
        if key_id is None:
            raise SignInCodeUnknownError
        return key_id

    async def _tidy(self, table: str, key_id: UUID, *, most: int) -> None:
        """Make room for one more of a key, and drop what is over."""
        await self._connection.execute(parsed(f"DELETE FROM {table} WHERE expires_at < now()"))
        await self._connection.execute(
            parsed(
                f"""DELETE FROM {table} WHERE hash IN
                    (SELECT hash FROM {table} WHERE key_id = :key ORDER BY created_at DESC OFFSET :most)"""
            ),
            {"key": key_id, "most": most - 1},
        )

"""Rows of ``users`` and ``api_keys``."""

import hashlib
import secrets
from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.direct import DirectStatement
from app.db.statements import TEXTS, UUIDS, parsed
from app.domain.errors import NotAuthenticatedError
from app.domain.users import Caller

KEY_PREFIX = "vcl_"
_AUTHENTICATE = DirectStatement(
    parsed(
        """SELECT k.id, k.user_id, k.scopes, k.name, u.name AS user_name
           FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.hash = :hash AND k.revoked_at IS NULL
               AND (k.expires_at IS NULL OR k.expires_at > now())"""
    )
)


def hash_key(key: str) -> bytes:
    """sha256 of a key; a key has 256 random bits, so it needs no slow hash."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class UserRepository:
    """Users and their API keys; never commits."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def ensure_user(self, name: str) -> UUID:
        """Id of the user of this name, who is created if missing."""
        row = await self._connection.execute(
            text(
                "INSERT INTO users (id, name) VALUES (:id, :name)"
                " ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id"
            ),
            {"id": uuid4(), "name": name},
        )
        return UUID(str(row.scalar_one()))

    async def add_key(self, user_id: UUID, *, name: str, scopes: Sequence[str] = ()) -> tuple[UUID, str]:
        """Make a key, store its hash and return its id and the key, the only time it can be seen."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        key_id = await self.store_key(user_id, key, name=name, scopes=scopes)
        if key_id is None:
            raise RuntimeError("a new key is known already")
        return key_id, key

    async def store_key(self, user_id: UUID, key: str, *, name: str, scopes: Sequence[str] = ()) -> UUID | None:
        """Store a key's hash and what it allows; a revoked one is valid again. None if nothing of it was to change."""
        stored = await self._connection.execute(
            parsed(
                "INSERT INTO api_keys AS k (id, user_id, name, hash, scopes)"
                " VALUES (:id, :user, :name, :hash, :scopes) ON CONFLICT (hash) DO UPDATE"
                " SET revoked_at = NULL, user_id = excluded.user_id, scopes = excluded.scopes"
                " WHERE k.revoked_at IS NOT NULL OR k.user_id <> excluded.user_id OR k.scopes <> excluded.scopes"
                " RETURNING id",
                scopes=TEXTS,
            ),
            {"id": uuid4(), "user": user_id, "name": name, "hash": hash_key(key), "scopes": list(scopes)},
        )
        return stored.scalar_one_or_none()

    async def revoke_keys(self, user_id: UUID, *, name: str, keep: str = "") -> list[UUID]:
        """Revoke a user's keys of this name, but not ``keep``, and end what was begun with them; their ids."""
        revoked = await self._connection.execute(
            text(
                "UPDATE api_keys SET revoked_at = now() WHERE user_id = :user AND name = :name AND revoked_at IS NULL"
                " AND hash <> :keep RETURNING id"
            ),
            {"user": user_id, "name": name, "keep": hash_key(keep)},
        )
        ids = list(revoked.scalars())
        for table in ("browser_sessions", "sign_in_codes"):
            # a key may become valid again, they do not
            await self._connection.execute(
                parsed(f"DELETE FROM {table} WHERE key_id = ANY(:ids)", ids=UUIDS), {"ids": ids}
            )
        return ids

    async def authenticate(self, key: str) -> Caller:
        """Raises NotAuthenticatedError for a key that is unknown, expired or revoked."""
        rows = await _AUTHENTICATE.fetch(self._connection, {"hash": hash_key(key)})
        if not rows:
            raise NotAuthenticatedError("the API key is unknown, expired or revoked")
        row = rows[0]
        return Caller(
            user_id=row["user_id"],
            key_id=row["id"],
            scopes=frozenset(row["scopes"]),
            user_name=row["user_name"],
            key_name=row["name"],
        )

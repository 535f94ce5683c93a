"""Sessions in memory, as far as the edge can tell them from the real ones."""

import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from app.domain.errors import NotAuthenticatedError
from app.domain.sessions import BrowserSession, SignInCode, SignInCodeUnknownError
from app.domain.users import Caller
from tests.api.doubles import FakeIdentity


class FakeSessions:
    """Keeps sessions by their tokens, and the keys of codes."""

    def __init__(self, identity: FakeIdentity) -> None:
        self._identity = identity
        self.sessions: dict[str, BrowserSession] = {}
        self.callers: dict[str, Caller] = {}

    async def begin(self, key: str) -> tuple[BrowserSession, str]:
        """Raises NotAuthenticatedError."""
        return self._begin(await self._identity.authenticate(key))

    async def begin_by_code(self, code: str) -> tuple[BrowserSession, str]:
        """Raises SignInCodeUnknownError."""
        if code not in self.callers:
            raise SignInCodeUnknownError
        return self._begin(self.callers.pop(code))

    async def get(self, token: str) -> BrowserSession:
        """Raises NotAuthenticatedError."""
        if token not in self.sessions:
            raise NotAuthenticatedError("the session has ended; sign in again")
        return self.sessions[token]

    async def end(self, token: str) -> None:
        """Forget it."""
        self.sessions.pop(token, None)

    async def issue_code(self, key_id: UUID) -> SignInCode:
        """A code for the only user there is."""
        code = secrets.token_urlsafe(8)
        self.callers[code] = Caller(user_id=self._identity.user_id, key_id=key_id, scopes=frozenset())
        return SignInCode(code=code, expires_at=datetime.now(UTC) + timedelta(minutes=15))

    def _begin(self, caller: Caller) -> tuple[BrowserSession, str]:
        token = secrets.token_urlsafe(8)
        expires_at = datetime.now(UTC) + timedelta(hours=12)
        self.sessions[token] = BrowserSession(id=uuid4(), caller=caller, expires_at=expires_at)
        return self.sessions[token], token

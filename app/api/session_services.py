"""What tells the routes who calls; part of ``app/api/services.py``."""

from typing import Protocol
from uuid import UUID

from app.domain.sessions import BrowserSession, SignInCode
from app.domain.users import Caller


class Identity(Protocol):
    """Says who calls."""

    async def authenticate(self, key: str) -> Caller:
        """Raises NotAuthenticatedError."""
        ...


class Sessions(Protocol):
    """Who is signed in with a browser."""

    async def begin(self, key: str) -> tuple[BrowserSession, str]:
        """A session of a key, and its token. Raises NotAuthenticatedError."""
        ...

    async def begin_by_code(self, code: str) -> tuple[BrowserSession, str]:
        """The same by a code that is used up with it. Raises SignInCodeUnknownError."""
        ...

    async def get(self, token: str) -> BrowserSession:
        """Raises NotAuthenticatedError."""
        ...

    async def end(self, token: str) -> None:
        """End a session, if there is one."""
        ...

    async def issue_code(self, key_id: UUID) -> SignInCode:
        """A code that begins one session of this key."""
        ...

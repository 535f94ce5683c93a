"""Who is signed in with a browser."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.errors import NotAuthenticatedError, PermissionDeniedError, TransientError
from app.domain.users import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """What a browser may do until ``expires_at``: what its caller's key may."""

    id: UUID
    caller: Caller
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInCode:
    """Begins one session in place of a key, as in an address that somebody opens."""

    code: str = field(repr=False)
    expires_at: datetime


class SignInCodeUnknownError(NotAuthenticatedError):
    """A code that was used already, is too old, or is none."""

    code = "sign_in_code_unknown"

    def __init__(self) -> None:
        super().__init__("this address was used already or is too old; `vecloom page` prints a new one")


class ForeignOriginError(PermissionDeniedError):
    """The page of another site uses the session of somebody's browser."""

    code = "foreign_origin"

    def __init__(self) -> None:
        super().__init__("with a session only the page of this server may ask for this; other programs send an API key")


class TooManyTriesError(TransientError):
    """Somebody tries keys or codes that are none."""

    code = "too_many_tries"

    def __init__(self, *, retry_after_seconds: float) -> None:
        super().__init__("too many failed tries to sign in; try again later", retry_after_seconds=retry_after_seconds)

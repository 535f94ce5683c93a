"""Who calls."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user behind a valid API key, and the names of both."""

    user_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    user_name: str = ""
    key_name: str = ""

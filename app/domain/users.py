"""Who calls."""

from dataclasses import dataclass
from uuid import UUID

ADMIN = "admin"
"""The scope of a key whose holder runs the server: its periodic jobs and its tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user behind a valid API key, and the names of both."""

    user_id: UUID
    key_id: UUID
    scopes: frozenset[str]
    user_name: str = ""
    key_name: str = ""

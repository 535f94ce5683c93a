"""Secrets of sources, encrypted at rest."""

from collections.abc import Mapping, Sequence

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.domain.errors import SecretKeyMissingError, SecretKeyWrongError


class SecretBox:
    """Encrypts and decrypts with keys that all servers and workers share.

    Args:
        keys: of Fernet, the newest first: it encrypts, all decrypt. Without any, nothing can be stored or read.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = [Fernet(key) for key in keys]

    def seal(self, secrets: Mapping[str, str]) -> bytes | None:
        """What is stored of secrets; None of none.

        Raises:
            SecretKeyMissingError: if there is no key.
        """
        return self._all().encrypt(orjson.dumps(dict(secrets))) if secrets else None

    def open(self, sealed: bytes | None) -> dict[str, str]:
        """Secrets that were stored.

        Raises:
            SecretKeyMissingError: if there is no key.
            SecretKeyWrongError: if none of the keys is the one that they were encrypted with.
        """
        if sealed is None:
            return {}
        try:
            opened: dict[str, str] = orjson.loads(self._all().decrypt(sealed))
        except InvalidToken:
            raise SecretKeyWrongError from None
        return opened

    def renew(self, sealed: bytes | None) -> bytes | None:
        """The same secrets under the newest key; None if they are already, or if there are none.

        Raises:
            SecretKeyMissingError, SecretKeyWrongError: as ``open``.
        """
        if sealed is None:
            return None
        keys = self._all()
        try:
            self._keys[0].decrypt(sealed)
        except InvalidToken:
            pass
        else:
            return None
        try:
            return keys.rotate(sealed)
        except InvalidToken:
            raise SecretKeyWrongError from None

    def _all(self) -> MultiFernet:
        if not self._keys:
            raise SecretKeyMissingError
        return MultiFernet(self._keys)


def new_key() -> str:
    """A key for ``VECLOOM_SECRET_KEYS``."""
    return Fernet.generate_key().decode()

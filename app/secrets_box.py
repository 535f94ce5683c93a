"""Secrets that rows hold, encrypted with ``VECLOOM_SECRET_KEYS``."""

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
        return self.seal_text(orjson.dumps(dict(secrets)).decode()) if secrets else None

    def seal_text(self, secret: str) -> bytes:
        """One secret as it is stored. Raises SecretKeyMissingError."""
        return self._all().encrypt(secret.encode())

    def open(self, sealed: bytes | None) -> dict[str, str]:
        """Secrets that were stored.

        Raises:
            SecretKeyMissingError: if there is no key.
            SecretKeyWrongError: if none of the keys is the one that they were encrypted with.
        """
        if sealed is None:
            return {}
        opened: dict[str, str] = orjson.loads(self.open_text(sealed))
        return opened

    def open_text(self, sealed: bytes) -> str:
        """One secret that was stored. Raises SecretKeyMissingError, SecretKeyWrongError."""
        try:
            return self._all().decrypt(sealed).decode()
        except InvalidToken:
            raise SecretKeyWrongError from None

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

"""Encrypts the secrets that rows hold, with ``VECLOOM_SECRET_KEYS``."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.domain.errors import InvalidInputError, PermanentError


class SecretKeysError(InvalidInputError):
    """There is no key that secrets could be kept under, or one of the keys is none."""

    code = "secret_keys"


class SecretUnreadableError(PermanentError):
    """A kept secret was encrypted with a key that is not among the keys any more."""

    code = "secret_unreadable"


class SecretsBox:
    """Seals with the first key and opens with any, so that keys can be replaced one after the other.

    Args:
        keys: Fernet keys, newest first. Without any, nothing can be sealed or opened.

    Raises:
        SecretKeysError: if a key is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None
        except ValueError:
            raise SecretKeysError(
                "VECLOOM_SECRET_KEYS holds something that is no key; a key is 32 random bytes in URL-safe base64"
            ) from None

    def seal(self, secret: bytes) -> bytes:
        """The secret as rows may hold it. Raises SecretKeysError if there is no key."""
        return self._open_box().encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        """The secret again. Raises SecretUnreadableError, or SecretKeysError if there is no key."""
        try:
            return self._open_box().decrypt(sealed)
        except InvalidToken:
            raise SecretUnreadableError(
                "a kept secret cannot be read with VECLOOM_SECRET_KEYS; add the key it was kept under, or set it again"
            ) from None

    def _open_box(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretKeysError(
                "this server has no key to keep secrets under; set VECLOOM_SECRET_KEYS for API and workers to what this"
                " prints: python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
            )
        return self._fernet


def split_keys(value: str) -> list[str]:
    """The keys of a setting, which are separated by commas."""
    return [key.strip() for key in value.split(",") if key.strip()]


def make_key() -> str:
    """A new key."""
    return Fernet.generate_key().decode()

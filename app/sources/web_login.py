"""How a site is told who we are."""

from base64 import b64encode
from collections.abc import Mapping

from app.domain.errors import InvalidSourceError

KNOWN = ("user", "password", "token")


def check_web_secrets(secrets: Mapping[str, str]) -> None:
    """Raises InvalidSourceError if they are not a user with a password, or a token."""
    for name, value in secrets.items():
        if name not in KNOWN:
            raise InvalidSourceError(f"a site has no secret {name!r}; it has {', '.join(KNOWN)}")
        if not value.isprintable():
            raise InvalidSourceError(f"the secret {name!r} has characters that no header can carry")
    if "token" in secrets and len(secrets) > 1:
        raise InvalidSourceError("a site takes a token, or a user and a password, not both")
    if "token" in secrets and not secrets["token"].isascii():
        raise InvalidSourceError("the secret 'token' has characters that no header can carry")


def make_login(secrets: Mapping[str, str]) -> dict[str, str]:
    """The headers that secrets become."""
    if "token" in secrets:
        return {"Authorization": f"Bearer {secrets['token']}"}
    if secrets:
        pair = f"{secrets.get('user', '')}:{secrets.get('password', '')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}

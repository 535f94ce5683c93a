"""Who calls: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``, never a query parameter; a browser by its cookie."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection, Request

from app.api.same_origin import require_same_origin
from app.api.services import ApiServices, services_of
from app.domain.audit import name_actor
from app.domain.errors import NotAuthenticatedError, PermissionDeniedError
from app.domain.users import ADMIN, Caller

LONGEST_KEY = 512
COOKIE = "vecloom_session"

# these two only describe the headers in the OpenAPI document
BEARER = HTTPBearer(auto_error=False, description="An API key.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")


async def authenticate(connection: HTTPConnection) -> Caller:
    """The caller of a request or a WebSocket; a key is what counts where there is one.

    Raises:
        NotAuthenticatedError: if there is neither a valid key nor a session.
        ForeignOriginError: if there is a session, and the page of another site uses it.
    """
    token = connection.cookies.get(COOKIE, "")
    if not token or any(name in connection.headers for name in ("authorization", "x-api-key")):
        return await authenticate_key(connection)
    require_same_origin(connection)
    return (await services_of(connection).sessions.get(require_token(connection))).caller


async def authenticate_key(connection: HTTPConnection) -> Caller:
    """The caller by the API key alone. Raises NotAuthenticatedError."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key", "").strip()
    if not key or len(key) > LONGEST_KEY:
        raise NotAuthenticatedError("send an API key: `Authorization: Bearer KEY`")
    return await services_of(connection).identity.authenticate(key)


def require_token(connection: HTTPConnection) -> str:
    """The token in the cookie of a browser. Raises NotAuthenticatedError."""
    token = connection.cookies.get(COOKIE, "")
    if not token or len(token) > LONGEST_KEY:
        raise NotAuthenticatedError("nobody is signed in with this browser")
    return token


async def require_caller(request: Request) -> Caller:
    """The caller of a request, in whose name it is done from now on. Raises as ``authenticate``."""
    caller = await authenticate(request)
    name_actor(caller)
    return caller


async def _require_caller(
    request: Request,
    _bearer: Annotated[object, Depends(BEARER)],
    _api_key: Annotated[object, Depends(API_KEY)],
) -> Caller:
    return await require_caller(request)


async def _require_key_caller(
    request: Request,
    _bearer: Annotated[object, Depends(BEARER)],
    _api_key: Annotated[object, Depends(API_KEY)],
) -> Caller:
    caller = await authenticate_key(request)
    name_actor(caller)
    return caller


async def _services(request: Request) -> ApiServices:
    return services_of(request)


CallerDep = Annotated[Caller, Depends(_require_caller)]
KeyCallerDep = Annotated[Caller, Depends(_require_key_caller)]
"""A caller with a key: a session cannot make itself last longer."""


async def _require_admin(caller: CallerDep) -> Caller:
    if ADMIN not in caller.scopes:
        raise PermissionDeniedError("this key has not the scope `admin`; use the key the server was set up with")
    return caller


AdminDep = Annotated[Caller, Depends(_require_admin)]
ServicesDep = Annotated[ApiServices, Depends(_services)]
"""None of these waits for anything, but FastAPI runs those that are no coroutines in another thread."""

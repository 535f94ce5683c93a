"""Who calls: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``, never a query parameter."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection, Request

from app.api.services import ApiServices, services_of
from app.domain.audit import name_actor
from app.domain.errors import NotAuthenticatedError, PermissionDeniedError
from app.domain.users import ADMIN, Caller

LONGEST_KEY = 512

# these two only describe the headers in the OpenAPI document
BEARER = HTTPBearer(auto_error=False, description="An API key.")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")


async def authenticate(connection: HTTPConnection) -> Caller:
    """The caller of a request or a WebSocket.

    Raises:
        NotAuthenticatedError: if there is no valid key.
    """
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else connection.headers.get("x-api-key", "").strip()
    if not key or len(key) > LONGEST_KEY:
        raise NotAuthenticatedError("send an API key: `Authorization: Bearer KEY`")
    return await services_of(connection).identity.authenticate(key)


async def _require_caller(
    request: Request,
    _bearer: Annotated[object, Depends(BEARER)],
    _api_key: Annotated[object, Depends(API_KEY)],
) -> Caller:
    caller = await authenticate(request)
    name_actor(caller)
    return caller


def _services(request: Request) -> ApiServices:
    return services_of(request)


CallerDep = Annotated[Caller, Depends(_require_caller)]


def _require_admin(caller: CallerDep) -> Caller:
    if ADMIN not in caller.scopes:
        raise PermissionDeniedError("this key has not the scope `admin`; use the key the server was set up with")
    return caller


AdminDep = Annotated[Caller, Depends(_require_admin)]
ServicesDep = Annotated[ApiServices, Depends(_services)]

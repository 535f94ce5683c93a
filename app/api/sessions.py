"""Sign in and out with a browser: a cookie that no script can read stands for an API key."""

from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from app.api.auth import COOKIE, KeyCallerDep, ServicesDep, require_token
from app.api.same_origin import is_from_here, require_same_origin
from app.api.tries import SignInTries
from app.domain.audit import current_actor
from app.domain.sessions import BrowserSession, ForeignOriginError, SignInCode

router = APIRouter(tags=["sessions"])

Secret = Annotated[SecretStr, Field(min_length=1, max_length=512)]


class SignIn(BaseModel):
    """An API key, or a code that stands for one once."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"api_key": "vcl_..."}]})

    api_key: Secret | None = None
    code: Secret | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.api_key is None) == (self.code is None):
            raise ValueError("say either api_key or code")
        return self


class SessionBody(BaseModel):
    """Who is signed in, and until when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"user": "local", "key": "embedded", "expires_at": "2026-03-01T21:30:00Z"}]}
    )

    user: str
    key: str
    expires_at: datetime

    @classmethod
    def of(cls, session: BrowserSession) -> Self:
        """Render a session."""
        return cls(user=session.caller.user_name, key=session.caller.key_name, expires_at=session.expires_at)


class SignInCodeBody(BaseModel):
    """A code to be opened as ``/#code=CODE``; it begins one session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "...", "expires_at": "2026-03-01T09:45:00Z"}]})

    code: str
    expires_at: datetime

    @classmethod
    def of(cls, made: SignInCode) -> Self:
        """Render a code."""
        return cls(code=made.code, expires_at=made.expires_at)


async def _tries(request: Request) -> SignInTries:
    tries: SignInTries = request.app.state.tries
    return tries


@router.post("/session", status_code=201)
async def sign_in(
    body: SignIn,
    request: Request,
    response: Response,
    services: ServicesDep,
    tries: Annotated[SignInTries, Depends(_tries)],
) -> SessionBody:
    """Begin a session by an API key or a code; the answer sets its cookie."""
    is_browser = "origin" in request.headers or "sec-fetch-site" in request.headers
    if is_browser and not is_from_here(request):
        raise ForeignOriginError
    address = current_actor().address or ""
    tries.begin(address)
    if body.code is not None:
        session, token = await services.sessions.begin_by_code(body.code.get_secret_value())
    else:
        key = body.api_key.get_secret_value() if body.api_key else ""
        session, token = await services.sessions.begin(key)
    tries.forgive(address)
    if former := request.cookies.get(COOKIE):
        await services.sessions.end(former)
    response.set_cookie(
        COOKIE, token, expires=session.expires_at, httponly=True, samesite="strict", secure=_is_secure(request)
    )
    return SessionBody.of(session)


@router.get("/session")
async def read_session(request: Request, services: ServicesDep) -> SessionBody:
    """Who is signed in with this browser."""
    return SessionBody.of(await services.sessions.get(require_token(request)))


@router.delete("/session", status_code=204)
async def sign_out(request: Request, response: Response, services: ServicesDep) -> None:
    """End the session of this browser."""
    require_same_origin(request)
    if token := request.cookies.get(COOKIE):
        await services.sessions.end(token)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_secure(request))


@router.post("/session/codes", status_code=201)
async def create_sign_in_code(caller: KeyCallerDep, services: ServicesDep) -> SignInCodeBody:
    """A code that begins one session of the key of this request, within a quarter of an hour."""
    return SignInCodeBody.of(await services.sessions.issue_code(caller.key_id))


def _is_secure(request: Request) -> bool:
    """Whether the browser came over https; it says so also behind a proxy that speaks http with us."""
    return request.url.scheme == "https" or urlsplit(request.headers.get("origin", "")).scheme == "https"

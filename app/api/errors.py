"""Errors as ``application/problem+json``: one shape, a stable code, nothing internal."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.domain.benchmark_datasets import DatasetTooLargeError
from app.domain.errors import (
    ConflictError,
    DomainError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    PermissionDeniedError,
    TooManyWatchersError,
    TransientError,
)
from app.domain.sanitising import sanitise
from app.domain.sessions import TooManyTriesError
from app.domain.uploads import (
    TooManyFilesError,
    TooManyUploadsError,
    TusVersionError,
    UploadBusyError,
    UploadDiskFullError,
    UploadQuotaError,
    UploadsOffError,
    UploadTooLargeError,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

STATUS_OF: tuple[tuple[type[DomainError], HTTPStatus], ...] = (
    (TooManyWatchersError, HTTPStatus.TOO_MANY_REQUESTS),
    (TooManyTriesError, HTTPStatus.TOO_MANY_REQUESTS),
    (TooManyUploadsError, HTTPStatus.TOO_MANY_REQUESTS),
    (UploadTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (TooManyFilesError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (DatasetTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UploadQuotaError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UploadDiskFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (UploadBusyError, HTTPStatus.LOCKED),
    (TusVersionError, HTTPStatus.PRECONDITION_FAILED),
    (UploadsOffError, HTTPStatus.NOT_IMPLEMENTED),
    (InvalidInputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotAuthenticatedError, HTTPStatus.UNAUTHORIZED),
    (PermissionDeniedError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (TransientError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""The first class that fits decides; any other domain error is a 500 with its own code and message."""

UNAVAILABLE: tuple[type[Exception], ...] = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    ConnectionError,
    TimeoutError,
)
"""What the services let through when an outside system does not answer."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


class BodyTooLargeError(HTTPException):
    """The body of a request has more bytes than are allowed.

    No domain error: fastapi hands on only its own kind of exception from reading a body.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request may have at most {max_bytes} bytes")


def problem(
    status: HTTPStatus,
    *,
    code: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    request_id: str | None = None,
) -> Response:
    """A problem document (RFC 9457) with a stable ``code``."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": sanitise(detail),
    }
    if errors is not None:
        body["errors"] = errors
    if request_id is not None:
        body["request_id"] = request_id
    content = orjson.dumps(body, default=str)
    return Response(content, status_code=status.value, media_type=MEDIA_TYPE, headers=headers)


def status_of(error: DomainError) -> HTTPStatus:
    """The HTTP status an error's class amounts to."""
    for kind, status in STATUS_OF:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _headers_of(error: DomainError, status: HTTPStatus) -> dict[str, str]:
    if status is HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, TransientError):
        return {"Retry-After": str(math.ceil(error.retry_after_seconds or RETRY_AFTER_SECONDS))}
    return {}


async def _answer_domain_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, DomainError):
        raise error
    return answer_domain_error(error)


def answer_domain_error(error: DomainError) -> Response:
    """The problem document of an error, with the status that its class amounts to."""
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_refused", code=error.code)
    return problem(status, code=error.code, detail=error.message, headers=_headers_of(error, status))


async def _answer_invalid_request(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        {"location": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()
    ]
    detail = "; ".join(f"{item['location']}: {item['message']}" for item in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, code="invalid_request", detail=detail, errors=errors)


async def _answer_http_exception(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    code = HTTP_CODES.get(status.value, status.phrase.lower().replace(" ", "_"))
    detail = error.detail if isinstance(error, BodyTooLargeError) else status.description or status.phrase
    return problem(status, code=code, detail=detail, headers=error.headers)


async def _answer_unavailable(_: Request, error: Exception) -> Response:
    log.warning("dependency_unavailable", error=type(error).__name__)
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        code="dependency_unavailable",
        detail="a service this one needs does not answer; try again",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def answer_bug(request_id: str) -> Response:
    """What a caller is told of a bug: where in the log to find it, and nothing of what it is."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal_error",
        detail="something went wrong here; the server's log has the details under this request id",
        request_id=request_id,
    )


def add_error_handlers(application: FastAPI) -> None:
    """Answer every error of this application but bugs, which ``FollowRequests`` answers, with a problem document."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        DomainError: _answer_domain_error,
        RequestValidationError: _answer_invalid_request,
        HTTPException: _answer_http_exception,
        **dict.fromkeys(UNAVAILABLE, _answer_unavailable),
    }
    for kind, handler in handlers.items():
        application.add_exception_handler(kind, handler)

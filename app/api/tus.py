"""Resumable uploads: the protocol tus 1.0 (https://tus.io) with creation, termination, expiration and checksums."""

import re
from base64 import b64decode
from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from app.api.auth import CallerDep, ServicesDep
from app.api.bodies import raise_body_limit
from app.api.errors import answer_domain_error
from app.api.operations import CollectionRef
from app.api.services import ApiServices
from app.api.uploads import VERSION, read_body
from app.domain.errors import DomainError
from app.domain.operations import Submission
from app.domain.uploads import Checksum, InvalidUploadError, TusVersionError, Upload, UploadChecksumError
from app.domain.users import Caller
from app.traces import current_trace_parent

EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
ALGORITHMS = ("sha1", "sha256", "sha512")
CONTENT_TYPE = "application/offset+octet-stream"
OPERATION_HEADER = "Vecloom-Operation"
"""Which operation indexes the upload that is complete now."""
PATH_KEYS = ("path", "relativePath", "filename", "name")
"""What clients call the path of a file, the best first."""
CHECKSUM_MISMATCH = 460
"""A status of the protocol's own."""
NUMBER = re.compile(r"[0-9]{1,18}")


class TusRoute(APIRoute):
    """A route whose answers say the version of the protocol, errors too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See the base."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except DomainError as error:
                response = answer_domain_error(error)
                if isinstance(error, UploadChecksumError):
                    response.status_code = CHECKSUM_MISMATCH
            response.headers["Tus-Resumable"] = VERSION
            response.headers["Tus-Version"] = VERSION
            return response

        return answer


router = APIRouter(tags=["uploads"], route_class=TusRoute)


def _require_version(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise TusVersionError(VERSION)


def _number(request: Request, name: str) -> int:
    said = request.headers.get(name, "")
    if NUMBER.fullmatch(said) is None:
        raise InvalidUploadError(f"the header {name} has to be a number of bytes")
    return int(said)


def read_metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata``: keys and values, these in base64.

    Raises:
        InvalidUploadError: if it is not written so.
    """
    said: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            said[key] = b64decode(value.strip(), validate=True).decode()
        except ValueError as error:
            raise InvalidUploadError("a value of Upload-Metadata is no base64 of UTF-8") from error
    return said


def _path_of(metadata: dict[str, str]) -> str:
    for key in PATH_KEYS:
        # some clients write that there is none
        if metadata.get(key, "null") not in {"", "null"}:
            return metadata[key]
    raise InvalidUploadError("Upload-Metadata has to say the `filename`, or the `path` with its folders")


def _sha256_of(metadata: dict[str, str]) -> bytes | None:
    said = metadata.get("sha256")
    if said is None:
        return None
    if re.fullmatch(r"[0-9a-fA-F]{64}", said) is None:
        raise InvalidUploadError("sha256 in Upload-Metadata has to be 64 hexadecimal digits")
    return bytes.fromhex(said)


def _checksum_of(request: Request) -> Checksum | None:
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, digest = header.partition(" ")
    if algorithm not in ALGORITHMS:
        raise InvalidUploadError(f"checksums may be {', '.join(ALGORITHMS)}")
    try:
        return Checksum(algorithm=algorithm, digest=b64decode(digest.strip(), validate=True))
    except ValueError as error:
        raise InvalidUploadError("the checksum is no base64") from error


def _headers_of(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.received), "Cache-Control": "no-store"}
    if upload.size is not None:
        headers["Upload-Length"] = str(upload.size)
    if upload.expires_at is not None:
        headers["Upload-Expires"] = format_datetime(upload.expires_at, usegmt=True)
    return headers


async def _receive(
    request: Request, caller: Caller, services: ApiServices, collection: str, upload_id: UUID, *, offset: int
) -> dict[str, str]:
    raise_body_limit(request, services.batches.limits.max_bytes)
    upload, operation = await services.uploads.receive(
        caller.user_id,
        collection,
        upload_id,
        read_body(request),
        offset=offset,
        checksum=_checksum_of(request),
        submission=Submission(trace_parent=current_trace_parent()),
    )
    asked = {} if operation is None else {OPERATION_HEADER: str(operation.id)}
    return {**_headers_of(upload), **asked}


@router.options("/collections/{collection}/uploads", status_code=204)
@router.options("/collections/{collection}/uploads/{upload_id}", status_code=204, include_in_schema=False)
async def describe_uploads(services: ServicesDep) -> Response:
    """What this server can do of the protocol."""
    headers = {
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(services.batches.limits.max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post("/collections/{collection}/uploads", status_code=201)
async def begin_upload(
    collection: CollectionRef, request: Request, caller: CallerDep, services: ServicesDep
) -> Response:
    """Begin an upload of ``Upload-Length`` bytes, whose path ``Upload-Metadata`` says; it goes on at ``Location``.

    ``index false`` in the metadata has it not indexed by itself, ``sha256`` has it refused unless it is that.
    """
    _require_version(request)
    metadata = read_metadata(request.headers.get("upload-metadata", ""))
    upload = await services.uploads.begin(
        caller.user_id,
        collection,
        path=_path_of(metadata),
        size=_number(request, "Upload-Length"),
        sha256=_sha256_of(metadata),
        indexes=metadata.get("index") != "false",
    )
    headers = _headers_of(upload)
    if upload.size == 0 or request.headers.get("content-type") == CONTENT_TYPE:
        headers = await _receive(request, caller, services, collection, upload.id, offset=0)
    headers["Location"] = f"{request.url.path}/{upload.id}"
    return Response(status_code=201, headers=headers)


@router.head("/collections/{collection}/uploads/{upload_id}")
async def ask_offset(collection: CollectionRef, upload_id: UUID, caller: CallerDep, services: ServicesDep) -> Response:
    """Where an upload goes on. Whoever is still sending it is stopped."""
    upload = await services.uploads.settle(caller.user_id, collection, upload_id)
    return Response(status_code=200, headers=_headers_of(upload))


@router.patch("/collections/{collection}/uploads/{upload_id}", status_code=204)
async def continue_upload(
    collection: CollectionRef, upload_id: UUID, request: Request, caller: CallerDep, services: ServicesDep
) -> Response:
    """Send what comes at ``Upload-Offset``. With its last byte the upload is complete."""
    _require_version(request)
    if request.headers.get("content-type") != CONTENT_TYPE:
        raise InvalidUploadError(f"the bytes of an upload have the content type {CONTENT_TYPE}")
    offset = _number(request, "Upload-Offset")
    return Response(
        status_code=204, headers=await _receive(request, caller, services, collection, upload_id, offset=offset)
    )

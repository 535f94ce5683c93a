"""The page and its files, as they lie in this package. All that it shows it asks of the API."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

FILES = Path(__file__).parent / "files"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'"
)
"""Scripts only from files of this server, and none of which makes HTML of a text: documents are texts of strangers."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    content: bytes
    media_type: str
    tag: str


@cache
def read_files() -> dict[str, _File]:
    """All files of the page by name."""
    found = {}
    for path in sorted(FILES.iterdir()):
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        found[path.name] = _File(content=content, media_type=MEDIA_TYPES[path.suffix], tag=tag)
    return found


@router.get("/")
async def show_page(request: Request) -> Response:
    """The page; whoever is not signed in is asked to."""
    return _answer(request, "index.html")


@router.get("/page/{name}")
async def show_file(name: str, request: Request) -> Response:
    """A file of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = read_files().get(name)
    if file is None:
        raise HTTPException(404)
    # asked for each time, and sent only after an upgrade: scripts of two versions would not fit together
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)

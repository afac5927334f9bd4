"""The live page: a few small files that show in a browser what REST tells.

They hold no data: whoever loads them is asked for a key, which is then sent as any client
sends it. Names and errors on the page are strangers' words, so the policy lets nothing run
but the page's own scripts, not even what a slip in them would make of a text.
"""

from importlib.resources import files
from pathlib import PurePath
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from components.errors import ActverseError, NotFound
from components.storage import Storage
from gateway.api.acting import storage_of

router = APIRouter(include_in_schema=False)

_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_FILES = {
    file.name: file.read_bytes()
    for file in (files("gateway") / "page").iterdir()
    if PurePath(file.name).suffix in _MEDIA_TYPES
}


@router.get("/")
def page(request: Request) -> Response:
    """The live page."""
    return _answer("index.html", request)


@router.get("/page/{name}")
def part(name: str, request: Request) -> Response:
    """A script or style sheet of the page."""
    if name not in _FILES:
        raise NotFound(f"The page has no part {name!r}.")
    return _answer(name, request)


def _answer(name: str, request: Request) -> Response:
    media = f"media-src blob: {_video_origin(storage_of(request))}".rstrip()
    return Response(
        _FILES[name],
        media_type=_MEDIA_TYPES[PurePath(name).suffix],
        headers={
            "Content-Security-Policy": "; ".join((*_POLICY, media)),
            "Cross-Origin-Opener-Policy": "same-origin",
            # Asked for again each time: pages and gateways of two releases do not mix.
            "Cache-Control": "no-cache",
        },
    )


def _video_origin(storage: Storage) -> str:
    """Where presigned links lead, so that a long video plays without being fetched first."""
    try:
        link = urlsplit(storage.link("inference_results/any", 1) or "")
    except ActverseError:
        return ""
    return f"{link.scheme}://{link.netloc}" if link.netloc else ""

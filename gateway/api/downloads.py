"""Answers that stream a stored file, or the range of it that was asked for."""

import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Header, Request
from fastapi.responses import StreamingResponse

from components.errors import NotFound
from components.storage import Storage, StoredFile
from gateway.problems import RangeNotSatisfiable

_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".mp4": "video/mp4",
    ".txt": "text/plain",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_HEADERS = {
    "Accept-Ranges": {"schema": {"type": "string"}},
    "ETag": {"schema": {"type": "string"}},
}
_BYTES = {"*/*": {"schema": {"type": "string", "format": "binary"}}}

RangeHeader = Annotated[
    str | None,
    Header(
        alias="Range",
        description="bytes=first-last, bytes=first- or bytes=-count; any other is ignored",
        examples=["bytes=0-1023"],
    ),
]
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "headers": _HEADERS, "content": _BYTES},
    206: {
        "description": "The bytes that Range asked for.",
        "headers": _HEADERS | {"Content-Range": {"schema": {"type": "string"}}},
        "content": _BYTES,
    },
}


def media_type(name: str) -> str:
    """The media type of a file, by its name."""
    dot = name.rfind(".")
    return _MEDIA_TYPES.get(name[dot:].lower() if dot >= 0 else "", "application/octet-stream")


def send_file(
    storage: Storage, key: str, request: Request, asked: str | None, missing: str
) -> StreamingResponse:
    """Answer with a stored file.

    Args:
        asked: the Range header.
        missing: what to say if there is none.

    Raises:
        NotFound: if there is no such file.
        RangeNotSatisfiable: if it ends before the range begins.
    """
    stored = storage.stat(key)
    if stored is None:
        raise NotFound(missing)
    etag = _etag(stored)
    if request.headers.get("if-range", etag) != etag:
        asked = None  # it has changed since: the whole of it, then
    start, length = _range(asked or "", stored.bytes)
    part = length is not None
    count = stored.bytes if length is None else length
    name = key.rpartition("/")[2]
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(count),
        "ETag": etag,
        # A page with scripts in it is saved, never shown as one of ours.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + count - 1}/{stored.bytes}"
    return StreamingResponse(
        storage.read(key, start=start, length=count),
        status_code=206 if part else 200,
        headers=headers,
        media_type=media_type(name),
    )


def _etag(stored: StoredFile) -> str:
    version = stored.checksum or f"{stored.modified.timestamp():.6f}-{stored.bytes}"
    return f'"{version}"'


def _range(asked: str, size: int) -> tuple[int, int | None]:
    """First byte and number of bytes; no number where all are meant."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match.groups() == ("", ""):
        return 0, None
    first, last = match.groups()
    if first == "":
        start, end = max(0, size - int(last)), size
        if int(last) == 0:
            start = size
    else:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return 0, None
    if start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes: ask for some of them.", size)
    return start, end - start

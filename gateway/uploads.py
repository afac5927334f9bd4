"""Bodies that are streamed to the storage, however large: a file alone, or one in a form."""

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from components.errors import BadInput, TooLarge
from components.storage import Storage, StoredFile

_PIECE = 2**20
_SILENCE_SECONDS = 60.0
# Threads of their own: slow uploads must not take those that everything else runs in.
_AT_A_TIME = 64
_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("uploads")


async def store_body(storage: Storage, key: str, request: Request, max_bytes: int) -> StoredFile:
    """Store a request's body as a file, whole or not at all.

    Raises:
        TooLarge: if it has more than ``max_bytes``.
        Unavailable: if the client breaks off, or sends nothing for a minute.
        BadInput, Refused, StorageFull: as ``Storage.write``.
    """
    pieces = _in_pieces(request.stream())
    return (await _store(storage, key, pieces, max_bytes))[0]


async def _store(
    storage: Storage, key: str, pieces: AsyncIterator[bytes], max_bytes: int
) -> tuple[StoredFile, str]:
    """Store pieces; also return the SHA-256 of them all."""
    digest = hashlib.sha256()

    def arriving() -> Iterator[bytes]:
        count = 0
        while piece := anyio.from_thread.run(_next, pieces):
            count += len(piece)
            if count > max_bytes:
                raise TooLarge(
                    f"The file is larger than the {max_bytes} bytes allowed: send a smaller one."
                )
            digest.update(piece)
            yield piece

    write = partial(storage.write, key, arriving(), max_bytes=max_bytes)
    stored = await anyio.to_thread.run_sync(write, limiter=_threads())
    return stored, digest.hexdigest()


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    """The next piece; empty at the end. Silence and a lost client are OSErrors."""
    try:
        with anyio.fail_after(_SILENCE_SECONDS):
            return await anext(pieces, b"")
    except ClientDisconnect as error:
        raise ConnectionResetError("the client broke off") from error
    except HTTPException as error:
        raise TooLarge(str(error.detail)) from error


async def _in_pieces(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather what comes, so that each way into the storing thread is worth it."""
    gathered = bytearray()
    async for part in stream:
        gathered += part
        if len(gathered) >= _PIECE:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _threads() -> anyio.CapacityLimiter:
    # One for each event loop, as anyio wants it.
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(anyio.CapacityLimiter(_AT_A_TIME))
        return _limiter.get()


@dataclass(frozen=True)
class Part:
    """The head of a form's part; ``file_name`` is empty where none was given."""

    name: str
    file_name: str


class Form:
    """A multipart/form-data body, read part by part as it comes, with nothing on disk.

    Its methods raise BadInput where it is malformed and TooLarge where it is too large.
    """

    def __init__(self, request: Request) -> None:
        _, options = parse_options_header(request.headers.get("content-type"))
        self._stream = request.stream()
        # What was parsed and not asked for yet: heads, data, and None at a part's end.
        self._parsed: deque[Part | bytes | None] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        try:
            self._parser = MultipartParser(
                options.get(b"boundary", b""),
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_field,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": lambda: self._parsed.append(None),
                },
            )
        except FormParserError as error:
            raise BadInput(f"The form cannot be read: {error}.") from error

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, file_name = (
            options.get(option, b"").decode("utf-8", "replace") for option in (b"name", b"filename")
        )
        self._parsed.append(Part(name, file_name))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._parsed.append(data[start:end])

    async def _parse_more(self) -> bool:
        """Parse what the client sends next; False at the body's end."""
        chunk = await anext(self._stream, b"")
        try:
            if chunk:
                self._parser.write(chunk)
            else:
                self._parser.finalize()
        except FormParserError as error:
            raise BadInput("The form is malformed: send multipart/form-data.") from error
        return bool(chunk)

    async def next_part(self) -> Part | None:
        """The head of the next part, whatever is left of the present one; None at the end."""
        while True:
            while self._parsed:
                if isinstance(what := self._parsed.popleft(), Part):
                    return what
            if not await self._parse_more():
                return None

    async def data(self) -> AsyncIterator[bytes]:
        """The present part's bytes, as they come."""
        while True:
            while self._parsed:
                what = self._parsed.popleft()
                if not isinstance(what, bytes):
                    return
                yield what
            if not await self._parse_more():
                raise BadInput("The form ends in the middle of a part: send it whole.")

    async def whole(self, max_bytes: int) -> bytes:
        """The present part, all of it."""
        gathered = bytearray()
        async for data in self.data():
            gathered += data
            if len(gathered) > max_bytes:
                raise TooLarge(f"The part has more than {max_bytes} bytes: shorten it.")
        return bytes(gathered)

    async def store(self, storage: Storage, key: str, max_bytes: int) -> tuple[StoredFile, str]:
        """Store the present part as a file, as ``store_body``; return it and its SHA-256."""
        return await _store(storage, key, _in_pieces(self.data()), max_bytes)

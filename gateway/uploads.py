"""Bodies that are streamed to the storage, however large: a file alone, or one in a form."""

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from components.errors import BadInput, TooLarge, Unavailable
from components.storage import Storage, StoredFile, Writing, end_writing
from gateway.at_once import AtOnce

_PIECE = 2**20
_SILENCE_SECONDS = 60.0
# Threads of their own: a slow disk or store must not take those that everything else runs in.
_AT_A_TIME = 64
_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("uploads")

_T = TypeVar("_T")


async def store_body(
    storage: Storage, key: str, request: Request, user_id: str, max_bytes: int
) -> StoredFile:
    """Store a request's body as a file, whole or not at all.

    Args:
        storage: to store it in.
        key: of the file.
        request: whose body it is.
        user_id: who sends it, and may send only so many at once.
        max_bytes: the largest file that is taken.

    Raises:
        TooManyRequests: if the user sends too many at once.
        TooLarge: if it has more than ``max_bytes``.
        Unavailable: if the client breaks off, or sends nothing for a minute.
        BadInput, Refused, StorageFull: as ``Storage.write``.
    """
    with _place(request, user_id):
        return (await _store(storage, key, received(request), max_bytes))[0]


def _place(request: Request, user_id: str) -> AbstractContextManager[None]:
    places: AtOnce = request.app.state.uploads
    return places.one_of(user_id)


async def received(request: Request) -> AsyncIterator[bytes]:
    """What a client sends, as it comes.

    Raises:
        TooLarge: if it is more than its endpoint takes.
        Unavailable: if the client breaks off, or sends nothing for a minute.
    """
    stream = request.stream()
    while True:
        try:
            # Any part of whatever size will do: who is slow is not silent.
            with anyio.fail_after(_SILENCE_SECONDS):
                part = await anext(stream, b"")
        except TimeoutError as error:
            raise Unavailable(
                f"The upload broke off, nothing came for {_SILENCE_SECONDS:g} s: send it again."
            ) from error
        except ClientDisconnect as error:
            raise Unavailable("The upload broke off: send it again.") from error
        except HTTPException as error:
            raise TooLarge(str(error.detail)) from error
        if not part:
            return
        yield part


async def _store(
    storage: Storage, key: str, parts: AsyncIterator[bytes], max_bytes: int
) -> tuple[StoredFile, str]:
    """Store what comes; also return the SHA-256 of it all.

    A thread is held only while a piece is written, never while the client is waited for.
    """
    writing, digest, count = storage.writing(key), hashlib.sha256(), 0
    try:
        await _in_thread(next, writing)
        async for piece in _in_pieces(parts):
            count += len(piece)
            if count > max_bytes:
                raise TooLarge(
                    f"The file is larger than the {max_bytes} bytes allowed: send a smaller one."
                )
            await _in_thread(_add, writing, digest, piece)
        stored = await _in_thread(end_writing, writing)
    finally:
        # Also when the request is cancelled: nothing of it is to stay.
        with anyio.CancelScope(shield=True):
            await _in_thread(writing.close)
    return stored, digest.hexdigest()


def _add(writing: Writing, digest: "hashlib._Hash", piece: bytes) -> None:
    digest.update(piece)
    writing.send(piece)


async def _in_thread(act: Callable[..., _T], *arguments: Any) -> _T:
    return await anyio.to_thread.run_sync(act, *arguments, limiter=_threads())


async def _in_pieces(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather what comes, so that each way into a thread is worth it."""
    gathered = bytearray()
    async for part in parts:
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
        self._request, self._stream = request, received(request)
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

    async def store(
        self, storage: Storage, key: str, user_id: str, max_bytes: int
    ) -> tuple[StoredFile, str]:
        """Store the present part as a file, as ``store_body``; return it and its SHA-256."""
        with _place(self._request, user_id):
            return await _store(storage, key, self.data(), max_bytes)

"""Files to and from a gateway: streamed, whole at their end, their sizes compared."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote

import httpx

from actverse.rest import UPLOAD_TIMEOUT, Connection
from components.errors import ActverseError, BadInput, BadLabels, TooManyRequests, Unavailable
from components.files import publish_folder, whole_file
from components.label_files import IMAGE_SUFFIXES, find_labels
from components.steps import Progress, no_progress
from components.storage_keys import checked_key, is_listed, path_of

_PIECE = 2**20
_AT_A_TIME = 4
_WAITS = (0.2, 0.5, 1.5, 4.0)
# Of what other tools write: their labels, and what lies beside these.
_LABEL_SUFFIXES = frozenset({".csv", ".json", ".slp", ".xml", ".yaml", ".yml"})
_SAME_SECONDS = 1.0
# Compressed, ranges and lengths would count something else.
_UNPACKED = {"Accept-Encoding": "identity"}
_PASSING = (httpx.TransportError, Unavailable, TooManyRequests)


@dataclass(frozen=True)
class Remote:
    """A file that can be fetched.

    Attributes:
        name: '/'-separated, relative to the folder it is to lie in.
        path: where the gateway has it.
        modified: ISO 8601.
        link: another place where it may be had without a key; empty if there is none.
    """

    name: str
    path: str
    bytes: int
    modified: str
    link: str = ""


def key_path(key: str) -> str:
    """The path of one of the user's own files at the gateway.

    Raises:
        Refused: if it can be no key.
    """
    return f"/files/{quote(checked_key(key))}"


def check_labels(path: Path, format: str | None = None) -> None:
    """See whether there are labels of a known format; an archive is not looked into.

    Raises:
        BadLabels: if there are none.
    """
    if path.is_dir():
        label_files(path, format)
        return
    # These bring numpy and more, which is not needed to ask a gateway.
    from components.labeling.archive import is_archive
    from components.labeling.opened import opened_labels

    if not (path.is_file() and is_archive(path)):
        with opened_labels(path, cast("Any", format)):
            pass


def label_files(folder: Path, format: str | None = None, *, images: bool = True) -> dict[str, Path]:
    """The files of a label folder that a task reads, by the names that they are to have.

    Args:
        format: of the labels; by default the first one that anything in the folder is of.
        images: with them, and with the names that the files have in the folder.

    Raises:
        BadLabels: if the folder is missing or holds no label, or two share a name.
    """
    if not folder.is_dir():
        raise BadLabels(f"There is no label folder at {folder}: give one that exists.")
    from components.labeling.formats.yolo import description
    from components.labeling.opened import opened_labels

    with opened_labels(folder, cast("Any", format)) as opened:
        found = list(opened.images.values()) if images else []
        if opened.format != "yolo":
            found += [
                path
                for name, path in folder_files(folder).items()
                if path.suffix.lower() in _LABEL_SUFFIXES and not _hidden(name)
            ]
            return {path.relative_to(folder).as_posix(): path for path in found}
        labels = find_labels(opened.path, opened.images).values()
        # Without the file that names the classes, their numbers would count by the task's.
        described = [path] if (path := description(opened.path)) else []
        if images:
            found += [*labels, *described]
            return {path.relative_to(folder).as_posix(): path for path in found}
        # Without images it is by this folder's name that they are known to be labels.
        return {f"labels/{path.name}": path for path in labels} | {
            path.relative_to(opened.path).as_posix(): path for path in described
        }


def folder_files(folder: Path) -> dict[str, Path]:
    """All files of a folder but the hidden ones, by their names in it.

    Raises:
        BadInput: if the folder is missing, or there is none.
    """
    if not folder.is_dir():
        raise BadInput(f"There is no folder at {folder}: give one that exists.")
    named = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    files = {name: path for name, path in named.items() if is_listed(name) and path.is_file()}
    if not files:
        raise BadInput(f"The folder {folder} holds no file: put some into it.")
    return files


def image_files(folder: Path, at_most: int) -> dict[str, Path]:
    """Images of a folder, evenly spread over it, by their names in it.

    Raises:
        BadInput: if there is none.
    """
    images = {
        name: path
        for name, path in folder_files(folder).items()
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    if not images:
        raise BadInput(f"The folder {folder} holds no image: give one with frames of your videos.")
    step = max(len(images) / at_most, 1)
    names = list(images)
    chosen = [names[int(place * step)] for place in range(min(len(names), at_most))]
    return {name: images[name] for name in chosen}


def fetch_archive(
    connection: Connection, path: str, target: Path, progress: Progress = no_progress
) -> None:
    """Download what the gateway packs for one request; it appears whole.

    Args:
        path: at the gateway, with its query.
        progress: told of bytes.

    Raises:
        Unavailable: if the gateway stays away.
        StorageFull: if the disk here is full.
    """
    waits = iter(_WAITS)
    with whole_file(target) as beside:
        while True:
            try:
                with (
                    connection.stream(path, _UNPACKED, UPLOAD_TIMEOUT) as answer,
                    beside.open("wb") as writing,
                ):
                    done, total = 0, int(answer.headers.get("Content-Length", 0))
                    for piece in answer.iter_bytes():
                        writing.write(piece)
                        progress(done := done + len(piece), total)
                return
            except _PASSING as error:
                # It is packed anew each time, so it cannot go on where it was.
                _pause(connection, error, next(waits, None))


def fetch_unpacked(
    connection: Connection, path: str, target: Path, progress: Progress = no_progress
) -> None:
    """As ``fetch_archive``, of a .zip whose files are to lie in a folder.

    Raises:
        BadInput: if the folder holds something, or the archive cannot be trusted.
    """
    from components.labeling.archive import unpacked

    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"{target} is there already: name a folder that is empty or not there yet.")
    with tempfile.TemporaryDirectory(prefix="actverse-") as folder:
        archive = Path(folder) / "archive.zip"
        fetch_archive(connection, path, archive, progress)
        with unpacked(archive) as files:
            publish_folder(files, target.resolve())


def send(
    connection: Connection,
    files: dict[str, Path],
    params: dict[str, str],
    progress: Progress,
) -> None:
    """Upload files, by the keys that they are to have; a few at a time.

    Args:
        progress: told of bytes, all files together.

    Raises:
        BadInput: if one is missing or changes meanwhile.
        TooLarge, StorageFull, Unavailable: as the gateway says.
    """
    for path in files.values():
        if not path.is_file():
            raise BadInput(f"There is no file at {path}: give a path that exists.")
    tell = _Sum(sum(path.stat().st_size for path in files.values()), progress)
    tell(0)
    stopped = threading.Event()

    def send_one(key: str, path: Path) -> None:
        try:
            if stopped.is_set():
                raise CancelledError
            _send_one(connection, path, key, params, tell, stopped)
        except BaseException:
            stopped.set()
            raise

    if len(files) == 1:
        send_one(*files.copy().popitem())
        return
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        sendings = [pool.submit(send_one, key, path) for key, path in files.items()]
        try:
            wait(sendings, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()  # also by Ctrl-C
    for sending in sendings:
        # Those that were stopped were so because of another one.
        if not isinstance(sending.exception(), CancelledError):
            sending.result()


def fetch(
    connection: Connection, files: Iterable[Remote], folder: Path, progress: Progress
) -> list[Path]:
    """Download files to a folder; those that are there, as they are to be, stay.

    Each appears whole, with the moment at which it was written there; a download that is cut
    off goes on where it was.

    Args:
        progress: told of bytes, all files together.

    Raises:
        Refused: if a name leads out of the folder.
        Unavailable: if the gateway stays away, or a file changes meanwhile.
        StorageFull: if the disk here is full.
    """
    files = list(files)
    tell = _Sum(sum(file.bytes for file in files), progress)
    tell(0)
    paths = []
    for file in files:
        target = path_of(folder, file.name)
        paths.append(target)
        if _is_there(file, target):
            tell(file.bytes)
            continue
        with whole_file(target) as beside, beside.open("wb") as writing:
            _Download(connection, file, writing, tell).run()
            writing.flush()
            moment = datetime.fromisoformat(file.modified).timestamp()
            os.utime(beside, (moment, moment))
    return paths


class _Sum:
    """Tells of bytes of several files together; called from several threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.done = total, 0
        self._progress, self._lock = progress, threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.done += count
            self._progress(self.done, self.total)


def _send_one(
    connection: Connection,
    path: Path,
    key: str,
    params: dict[str, str],
    tell: Callable[[int], None],
    stopped: threading.Event,
) -> None:
    size, told = path.stat().st_size, 0

    def pieces() -> Iterator[bytes]:
        nonlocal told
        tell(-told)  # what was sent before is sent again
        told = 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                if stopped.is_set():
                    raise CancelledError
                if told + len(piece) > size:
                    break
                yield piece
                told += len(piece)
                tell(len(piece))
        if piece or told < size:
            raise BadInput(f"{path} changes while it is sent: wait until it is finished.")

    answer = connection.call(
        "PUT",
        key_path(key),
        body=pieces,
        headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        params=params,
        timeout=UPLOAD_TIMEOUT,
    )
    if answer.get("bytes") != size:
        raise Unavailable(
            f"Of the {size} bytes of {path} {answer.get('bytes')} have arrived: send it again."
        )


def _is_there(file: Remote, target: Path) -> bool:
    """Whether it was fetched before and is the same still, by its size and moment."""
    if not target.is_file():
        return False
    found = target.stat()
    modified = datetime.fromisoformat(file.modified).timestamp()
    return found.st_size == file.bytes and abs(found.st_mtime - modified) < _SAME_SECONDS


def _pause(connection: Connection, error: Exception, wait: float | None) -> None:
    """Wait before a further attempt; without one left, raise what went wrong with the last."""
    if wait is None:
        if isinstance(error, ActverseError):
            raise error
        raise connection.away(error) from error
    asked = error.retry_after if isinstance(error, TooManyRequests) else 0.0
    time.sleep(max(wait, min(asked, 60.0)))


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in name.split("/"))


class _Download:
    """One file on its way into an open one."""

    def __init__(
        self, connection: Connection, file: Remote, writing: IO[bytes], tell: Callable[[int], None]
    ) -> None:
        self.connection, self.file, self.writing, self.tell = connection, file, writing, tell
        self.etag = ""

    def run(self) -> None:
        if not (self.file.link.startswith(("http://", "https://")) and self._by_link()):
            self._from_gateway()
        if (found := self.writing.tell()) != self.file.bytes:
            raise Unavailable(
                f"{self.file.name} has {found} bytes, not {self.file.bytes}: it has changed "
                "meanwhile, so fetch it again."
            )

    def _by_link(self) -> bool:
        """Fetch it by its link; False if that fails: not everybody reaches the store itself."""
        try:
            # The key is the gateway's business only.
            with (
                httpx.Client(trust_env=False, timeout=UPLOAD_TIMEOUT) as http,
                http.stream("GET", self.file.link, headers=self._headers()) as answer,
            ):
                if answer.is_success:
                    self._write(answer)
                    return self.writing.tell() == self.file.bytes
        except httpx.HTTPError:
            pass
        return False

    def _from_gateway(self) -> None:
        waits = iter(_WAITS)
        while True:
            at = self.writing.tell()
            if at and at == self.file.bytes:
                return  # it was cut off after its last byte
            try:
                with self.connection.stream(
                    self.file.path, self._headers(), UPLOAD_TIMEOUT
                ) as answer:
                    self._write(answer)
                    return
            except _PASSING as error:
                if self.writing.tell() > at:
                    waits = iter(_WAITS)  # it gets on
                _pause(self.connection, error, next(waits, None))

    def _headers(self) -> dict[str, str]:
        headers = dict(_UNPACKED)
        if self.etag and (at := self.writing.tell()):
            headers |= {"Range": f"bytes={at}-", "If-Range": self.etag}
        return headers

    def _write(self, answer: httpx.Response) -> None:
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            self.tell(-self.writing.tell())
            self.writing.seek(0)
            self.writing.truncate()
        self.etag = answer.headers.get("ETag", "")
        for piece in answer.iter_bytes():
            self.writing.write(piece)
            self.tell(len(piece))

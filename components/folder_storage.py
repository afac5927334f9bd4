"""A folder as the storage: what lies there is stored."""

import errno
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from components.errors import BadInput, NotFound, Refused, Unavailable, disk_errors
from components.files import whole_file
from components.steps import Progress, no_progress
from components.storage import Storage, StoredFile, Writing
from components.storage_keys import checked_key, is_listed, walk

_CHUNK = 2**20
_CHECK_BYTES = 2**18


@contextmanager
def folder_errors(root: Path) -> Iterator[None]:
    """Turn what the operating system says of a folder's disk into our errors.

    Raises:
        StorageFull: when the disk is full.
        Unavailable: for all else.
    """
    try:
        with disk_errors("the storage"):
            yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unavailable(
            f"The storage folder {root} cannot be used ({reason}): "
            "check its disk and its rights, and try again."
        ) from error


def check_folder(root: Path) -> None:
    """See that files can be made in a folder, and something be written to them.

    Raises:
        Unavailable: if it is gone or not writable.
        StorageFull: if its disk is full.
    """
    with (
        folder_errors(root),
        disk_errors(f"the folder {root}"),
        tempfile.TemporaryFile(dir=root, prefix=".check.", buffering=0) as file,
    ):
        # An empty file is made even where nothing fits; of a larger one a part may be written.
        if file.write(bytes(_CHECK_BYTES)) < _CHECK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FolderStorage(Storage):
    """Below ``layout.root``."""

    def working_in(self, folder: Path) -> Storage:
        return self

    def stat(self, key: str) -> StoredFile | None:
        path = self.path_of(key)
        with self._errors():
            return _stored(key, path.stat()) if path.is_file() else None

    def files(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> Iterator[StoredFile]:
        folder = self.path_of(prefix) if prefix else self.layout.root
        after = checked_key(after) if after else ""
        return itertools.islice(self._files(folder, prefix, after), limit)

    def _files(self, folder: Path, prefix: str, after: str) -> Iterator[StoredFile]:
        with self._errors():
            for key, entry in walk(folder, prefix, after):
                if is_listed(key) and not (entry.is_symlink() and self._leads_outside(key)):
                    with suppress(FileNotFoundError):
                        yield _stored(key, entry.stat())

    def _leads_outside(self, key: str) -> bool:
        try:
            self.path_of(key)
        except Refused:
            return True
        return False

    def bring(self, path: Path, progress: Progress = no_progress, *, exact: bool = False) -> Path:
        self._expect(path)
        return path

    def keep(self, path: Path, progress: Progress = no_progress) -> None:
        self._expect(path)

    def _expect(self, path: Path) -> None:
        key = self.key_of(path)
        with self._errors():
            if not self.path_of(key).exists():
                raise NotFound(f"The storage has nothing at {key}: check the name.")

    def writing(self, key: str) -> Writing:
        path = self.path_of(writable_key(key))
        with self._errors():
            if path.is_dir():
                raise BadInput(f"{key} is a folder: give the file another name.")
            try:
                with whole_file(path) as beside:
                    with beside.open("wb") as file:
                        while chunk := (yield):
                            file.write(chunk)
                    stored = _stored(key, beside.stat())
            except (NotADirectoryError, FileExistsError) as error:
                raise BadInput(f"A part of {key} is a file: give another name.") from error
        return stored

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        path = self.path_of(key)
        check_range(start, length)
        with self._errors():
            try:
                file = path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise NotFound(f"The storage has no file {key}: check the name.") from error
        return self._chunks(file, start, length)

    def _chunks(self, file: BinaryIO, start: int, length: int | None) -> Iterator[bytes]:
        with file, self._errors():
            file.seek(start)
            left = length
            while left is None or left > 0:
                chunk = file.read(_CHUNK if left is None else min(_CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def delete(self, key: str) -> int:
        path = self.path_of(key)
        with self._errors():
            count = 1 if path.is_file() else sum(1 for _ in self._files(path, key, ""))
            remove(path)
        return count

    def link(self, key: str, seconds: int) -> str | None:
        self.path_of(key)
        return None

    def check(self) -> None:
        check_folder(self.layout.root)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with folder_errors(self.layout.root):
            # Writing would make it again, perhaps below the mount point of a lost disk.
            if not self.layout.root.is_dir():
                raise FileNotFoundError(2, "it is gone")
            yield


def writable_key(key: str) -> str:
    """Return ``key`` if a client's file may have it.

    Raises:
        Refused: if it is malformed or a name in it begins with a dot.
    """
    if any(name.startswith(".") for name in checked_key(key).split("/")):
        raise Refused(f"{key!r} has a name that begins with a dot: give another name.")
    return key


def check_range(start: int, length: int | None) -> None:
    """Raise BadInput unless these can be a file's bytes."""
    if start < 0 or (length is not None and length < 0):
        raise BadInput("A range of bytes begins at 0 or later and has no negative length.")


def remove(path: Path) -> None:
    """Remove a local file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        # It goes at once; what is left if we are stopped here is a temporary.
        gone = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
        path.replace(gone)
        shutil.rmtree(gone)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def _stored(key: str, status: os.stat_result) -> StoredFile:
    return StoredFile(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

"""A prefix of an S3 bucket as the storage, worked on in a local copy.

A file that is brought is compared with the SHA-256 that it was stored with, and by the same
a file is known that need not be fetched or sent again. Objects of other origin are compared
by their MD5 where the store gives one; the others (multipart, encrypted with KMS) only by
size, and are fetched anew each time.
"""

import itertools
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from components.errors import BadInput, NotFound, Refused, Unavailable
from components.files import whole_file
from components.folder_storage import (
    check_folder,
    check_range,
    folder_errors,
    remove,
    writable_key,
)
from components.layout import Layout
from components.s3_errors import s3_errors
from components.s3_objects import FILES_AT_A_TIME, S3Objects, file_digest, s3_client
from components.settings import Settings
from components.side_by_side import Moved, run_side_by_side
from components.steps import Progress, no_progress
from components.storage import Storage, StoredFile, Writing
from components.storage_keys import checked_key, is_listed, walk

_SENDS = 3
_LONGEST_LINK = 7 * 24 * 3600
"""Seconds; signatures are valid no longer."""


def open_s3(settings: Settings) -> "S3Storage":
    """The storage of ``s3://bucket/prefix`` in ``settings.root``.

    Raises:
        BadInput: if it names no bucket, or a prefix that cannot be one.
        Unavailable: if boto3 cannot make a client of its configuration.
    """
    bucket, _, prefix = settings.root.removeprefix("s3://").partition("/")
    prefix = prefix.rstrip("/")
    if not bucket:
        raise BadInput("ACTVERSE_ROOT names no bucket: give s3://bucket/prefix.")
    try:
        checked_key(prefix or "none")
        with s3_errors(bucket):
            client = s3_client(settings.s3_endpoint, settings.s3_region)
    except Refused as error:
        raise BadInput(f"ACTVERSE_ROOT names no usable prefix. {error}") from error
    except ValueError as error:
        raise BadInput(
            "ACTVERSE_S3_ENDPOINT is no URL: give one like https://host:9000."
        ) from error
    return S3Storage(S3Objects(client, bucket, prefix), settings.layout)


class S3Storage(Storage):
    """``objects`` is the storage, ``layout`` its working copy on this machine."""

    is_copied = True

    def __init__(self, objects: S3Objects, layout: Layout) -> None:
        super().__init__(layout)
        self.objects = objects

    def working_in(self, folder: Path) -> Storage:
        with folder_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return S3Storage(self.objects, Layout(folder))

    def stat(self, key: str) -> StoredFile | None:
        return self.objects.find(key)

    def files(
        self, prefix: str, *, after: str = "", limit: int | None = None
    ) -> Iterator[StoredFile]:
        listed = self.objects.below(prefix, after=after, page=limit)
        return itertools.islice((one for one in listed if is_listed(one.key)), limit)

    def bring(self, path: Path, progress: Progress = no_progress, *, exact: bool = False) -> Path:
        key = self.key_of(path)
        one = self.stat(key)
        found = [one] if one else list(self.files(key))
        if not found:
            raise NotFound(f"The storage has nothing at {key}: check the name.")
        run_side_by_side(
            [partial(self._fetch, file.key) for file in found],
            total=sum(file.bytes for file in found),
            progress=progress,
            threads=FILES_AT_A_TIME,
        )
        if exact and not one:
            stored = {file.key for file in found}
            with folder_errors(self.layout.root):
                for local, entry in walk(path, key):
                    if local not in stored:
                        Path(entry.path).unlink(missing_ok=True)
        return path

    def _fetch(self, key: str, moved: Moved) -> None:
        path = self.path_of(key)
        content = self.objects.content(key)
        with folder_errors(self.layout.root):
            if path.is_file() and content.is_that_of(path):
                moved(content.bytes)
                return
            with whole_file(path) as beside:
                self.objects.download(key, beside, moved)
                same = content.is_that_of(beside) if content.digest else True
                if not same or beside.stat().st_size != content.bytes:
                    raise Unavailable(
                        f"{key} came with another checksum than it was stored with: "
                        "try again, and if it stays so, store it again."
                    )

    def keep(self, path: Path, progress: Progress = no_progress) -> None:
        key = self.key_of(path)
        path = self.path_of(key)
        stale: set[str] = set()
        with folder_errors(self.layout.root):
            if path.is_file():
                one = self.stat(key)
                local, stored = {key: path.stat().st_size}, {key} if one else set()
            elif path.is_dir():
                local = {checked_key(name): entry.stat().st_size for name, entry in walk(path, key)}
                stored = {file.key for file in self.files(key)}
                stale = stored - local.keys()
            else:
                raise NotFound(f"Nothing lies at {key} that could be kept: check the path.")
        run_side_by_side(
            [partial(self._send, name, name in stored) for name in local],
            total=sum(local.values()),
            progress=progress,
            threads=FILES_AT_A_TIME,
        )
        self.objects.delete(sorted(stale))

    def _send(self, key: str, stored: bool, moved: Moved) -> None:
        path = self.path_of(key)
        with folder_errors(self.layout.root):
            if stored and self._has(key, path):
                moved(path.stat().st_size)
                return
            for _ in range(_SENDS):
                before = _identity(path)
                self.objects.upload(key, path, file_digest(path, "sha256"), moved)
                if _identity(path) == before:
                    return
        raise Unavailable(f"{key} changes while it is sent: keep it once it is finished.")

    def _has(self, key: str, path: Path) -> bool:
        try:
            return self.objects.content(key).is_that_of(path)
        except NotFound:  # deleted since it was listed
            return False

    def writing(self, key: str) -> Writing:
        self.path_of(writable_key(key))
        # To the disk first: the checksum goes with the first byte, a slow client holds up
        # no upload, and one that breaks off leaves no parts in the store.
        with (
            folder_errors(self.layout.root),
            tempfile.NamedTemporaryFile(dir=self.layout.root, prefix=".upload.") as file,
        ):
            while chunk := (yield):
                file.write(chunk)
            file.flush()
            path = Path(file.name)
            self.objects.upload(key, path, file_digest(path, "sha256"), lambda count: None)
        stored = self.stat(key)
        if stored is None:
            raise Unavailable(f"{key} was deleted while it was written: send it again.")
        return stored

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        check_range(start, length)
        if length == 0:
            return itertools.islice(self.objects.read(key, 0, None), 0)
        return self.objects.read(key, start, length)

    def delete(self, key: str) -> int:
        path = self.path_of(key)
        one = [key] if self.stat(key) else []
        below = (file.key for file in self.objects.below(key))
        count = self.objects.delete(itertools.chain(one, below))
        with folder_errors(self.layout.root):
            remove(path)
        return count

    def link(self, key: str, seconds: int) -> str | None:
        if not 1 <= seconds <= _LONGEST_LINK:
            raise BadInput(f"A link is valid for 1 to {_LONGEST_LINK} seconds: give such a number.")
        return self.objects.link(key, seconds)

    def check(self) -> None:
        check_folder(self.layout.root)
        self.objects.check()


def _identity(path: Path) -> tuple[int, int, int]:
    """Changes with a file's content."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns

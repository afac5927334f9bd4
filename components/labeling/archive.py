"""Archives of labels, unpacked without trust in what they say of themselves."""

import errno
import gzip
import io
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

from components.errors import BadLabels, TooLarge, disk_errors

MAX_ENTRIES = 100_000
MAX_BYTES = 20 * 2**30
"""Of all files together, unpacked."""
MAX_RATIO = 100
"""Of unpacked to packed bytes, beyond what is small anyway."""

_SMALL_BYTES = 64 * 2**20
_CHUNK = 2**16
_DIRECTORY_ENTRY = b"PK\1\2"
_MAX_ENTRY_BYTES = 512  # in the directory of a zip, in the mean: 46 and the file's path
_MAX_HEADER = 2**20  # tarfile takes a header's text into memory whole
_SUFFIXES = (".zip", ".tar.gz", ".tgz")
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, ValueError, NotImplementedError, RuntimeError, RecursionError, OverflowError),
)


def is_archive(path: Path) -> bool:
    """Whether a file's name is one of an archive that ``unpacked`` takes."""
    return path.name.lower().endswith(_SUFFIXES)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give a temporary folder with the files of a .zip or .tar.gz; it is gone afterwards.

    Raises:
        BadLabels: if the archive is broken or encrypted, or holds a path that climbs out or
            is absolute, a link, a device or a file twice.
        TooLarge: for more than ``MAX_ENTRIES`` files, ``MAX_BYTES`` or ``MAX_RATIO``.
        StorageFull: when the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="actverse-labels-") as folder:
        target = _Target(path, Path(folder))
        with disk_errors(f"the files of {path.name}"):
            if path.name.lower().endswith(".zip"):
                _unzip(path, target)
            else:
                _untar(path, target)
        yield target.folder


@dataclass
class _Target:
    """The folder that an archive is unpacked to, and how much of it has been."""

    archive: Path
    folder: Path
    entries: int = 0
    total: int = 0

    def place(self, name: str) -> Path:
        """Where the member of a name belongs.

        Raises:
            BadLabels: if that is outside the folder.
            TooLarge: if it is one member too many.
        """
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise _too_many(self.archive)
        # Windows' rules are the stricter ones, and some tools write its paths.
        inside = PureWindowsPath(name)
        if inside.anchor or ".." in inside.parts:
            raise BadLabels(
                f"{self.archive.name} holds the path {name!r}, which leads out of it: pack the "
                "labels' folder anew."
            )
        return self.folder.joinpath(*inside.parts)

    def count(self, number: int) -> None:
        """Add unpacked bytes.

        Raises:
            TooLarge: if they are too many.
        """
        self.total += number
        allowed = _SMALL_BYTES + MAX_RATIO * self.archive.stat().st_size
        if self.total > min(MAX_BYTES, allowed):
            raise TooLarge(
                f"{self.archive.name} holds far more than its size lets expect: give one that "
                f"unpacks to at most {MAX_BYTES} bytes and {MAX_RATIO} times its own size."
            )

    def fill(self, path: Path, source: IO[bytes], *, counted: bool = False) -> None:
        """Write a member's file to its place."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            name = path.relative_to(self.folder)
            raise BadLabels(f"{self.archive.name} holds {name} twice: pack it anew.") from error
        with stream:
            while piece := source.read(_CHUNK):
                if not counted:
                    self.count(len(piece))
                stream.write(piece)

    def refuse(self, name: str, what: str) -> BadLabels:
        return BadLabels(
            f"{self.archive.name} holds {what}, {name!r}: pack plain files and folders only."
        )


def _unzip(path: Path, target: _Target) -> None:
    try:
        with _CountedZip(io.FileIO(path)) as stream, zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise target.refuse(member.filename, "a link or device")
                if member.flag_bits & 0x1:
                    raise BadLabels(f"{path.name} is encrypted: pack it without a password.")
                # Of these two alone the standard library unpacks no more than is asked for.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise target.refuse(member.filename, "a file that is packed in a rare way")
                place = target.place(member.filename)
                if not member.is_dir():
                    with archive.open(member) as source:
                        target.fill(place, source)
    except _BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:
        raise _unusable(path, error) from error


class _CountedZip(io.BufferedReader):
    """A zip of which nobody reads a directory of too many entries.

    The standard library reads the directory whole and makes an object of each entry there,
    whatever number of them the end of the file states (APPNOTE.TXT, 4.3.14 and 4.3.16). So what
    counts is what it reads.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_ENTRIES * _MAX_ENTRY_BYTES:
            raise _too_many(Path(self.name))
        piece = super().read(size)
        if piece.count(_DIRECTORY_ENTRY) > MAX_ENTRIES:
            raise _too_many(Path(self.name))
        return piece


def _untar(path: Path, target: _Target) -> None:
    try:
        with gzip.open(path) as stream:
            # Tarfile's own decompression would read headers of any length.
            counted = _Counted(stream, target)
            with tarfile.open(fileobj=counted, mode="r:") as archive:  # type: ignore[call-overload]
                for member in archive:
                    place = target.place(member.name)
                    if member.isdir():
                        continue
                    if not member.isreg() or member.issparse():
                        raise target.refuse(member.name, "a link or device")
                    tarfile.data_filter(member, str(target.folder))
                    source = archive.extractfile(member)
                    assert source is not None  # noqa: S101 it is a regular file
                    target.fill(place, source, counted=True)
            # To the checksum at the end.
            while counted.read(_CHUNK):
                pass
    except _BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:
        raise _unusable(path, error) from error


class _Counted:
    """A decompressed stream that counts what is read, and gives no more at once than it should."""

    def __init__(self, stream: gzip.GzipFile, target: _Target) -> None:
        self._stream, self._target = stream, target

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        piece = self._stream.read(size)
        self._target.count(len(piece))
        return piece

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        """Go forward by reading, so that what is passed over counts."""
        if whence or place < self.tell():
            raise tarfile.ReadError("a member that lies before another one's end")
        while (left := place - self.tell()) > 0 and self.read(min(left, _CHUNK)):
            pass
        return self.tell()


def _too_many(path: Path) -> TooLarge:
    return TooLarge(
        f"{path.name} holds more than {MAX_ENTRIES} files, or paths too long for as many: give it "
        "in parts."
    )


def _broken(path: Path, error: Exception) -> BadLabels:
    return BadLabels(f"{path.name} is a broken archive ({error}): pack it anew.")


def _unusable(path: Path, error: OSError) -> Exception:
    """Gzip's own errors have no number; a full disk, and what else is ours, stays what it is."""
    if error.errno in (None, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR):
        return _broken(path, error)
    return error
